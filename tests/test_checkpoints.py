import json
import random
import re
import shutil
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import concerto
from concerto import CheckpointError, Concerto, ConcertoConfig, ConfigError, HubError
from concerto.checkpoints import (
    config_from_published,
    config_to_published,
    tensor_names,
    write_published,
)
from concerto.known_models import find_model
from concerto.weight_files import read_weights
from conftest import SMALL, random_cloud

GOLDEN = Path(__file__).parent / "golden" / "data" / "official_tiny.pth"


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """A published file, to be spoilt."""
    return Path(shutil.copy(GOLDEN, tmp_path / "weights.pth"))


def rewrite(file: Path, change) -> Path:  # type: ignore[no-untyped-def]
    content = torch.load(file, weights_only=True)
    change(content)
    torch.save(content, file)
    return file


def same_features(one: Concerto, two: Concerto) -> bool:
    cloud = random_cloud(300)
    return torch.equal(one.encode(cloud), two.encode(cloud))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_saved_model_loads_as_it_was(tmp_path: Path, dtype: torch.dtype) -> None:
    config = SMALL.replace(grid_size=0.05, coord_scale=0.2, center="xy", default_stages=(1, 4))
    model = Concerto(config).to(dtype).eval()
    model.save_pretrained(tmp_path / "new" / "folder")
    again = concerto.from_pretrained(tmp_path / "new" / "folder", dtype="auto")
    assert again.config == config
    assert again.dtype == dtype
    assert not again.training
    assert same_features(model, again)
    assert sorted(p.name for p in (tmp_path / "new" / "folder").iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
    ]


def test_the_card_has_the_hubs_metadata(tmp_path: Path) -> None:
    Concerto(SMALL.replace(license="cc-by-nc-4.0")).save_pretrained(tmp_path)
    card = (tmp_path / "README.md").read_text()
    assert re.match(r"---\nlibrary_name: concerto\nlicense: cc-by-nc-4.0\n", card)


def test_saving_over_a_model_keeps_its_card(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("my words")
    Concerto(SMALL).save_pretrained(tmp_path)
    assert (tmp_path / "README.md").read_text() == "my words"


def test_a_loaded_model_can_be_saved_over_its_own_file(tmp_path: Path) -> None:
    Concerto(SMALL).save_pretrained(tmp_path)
    model = concerto.from_pretrained(tmp_path)
    model.save_pretrained(tmp_path)
    assert same_features(model, concerto.from_pretrained(tmp_path))


def test_published_weights_survive_both_conversions(tmp_path: Path) -> None:
    model = concerto.from_pretrained(GOLDEN)
    model.save_pretrained(tmp_path / "ours")
    ours = concerto.from_pretrained(tmp_path / "ours")
    write_published(tmp_path / "theirs.pth", ours.config, ours.state_dict())
    original = torch.load(GOLDEN, weights_only=True)
    theirs = torch.load(tmp_path / "theirs.pth", weights_only=True)
    assert theirs["config"] == original["config"]
    assert theirs["state_dict"].keys() == original["state_dict"].keys()
    for name, tensor in original["state_dict"].items():
        assert torch.equal(theirs["state_dict"][name], tensor), name


@pytest.mark.parametrize("size", ["small", "base", "large", "tiny"])
def test_every_tensor_of_a_preset_has_a_published_name(size: str) -> None:
    config = ConcertoConfig.preset(size)
    with torch.device("meta"):
        ours = set(Concerto(config).state_dict())
    pairs = list(tensor_names(config))
    assert {own for _, own in pairs} == ours
    assert len({theirs for theirs, _ in pairs}) == len(pairs)
    # A published file has no place for the preprocessing.
    own = {"grid_size": config.grid_size, "default_stages": config.default_stages}
    assert config_from_published(config_to_published(config)).replace(**own) == config


def training_state(file: Path, prefix: str = "module.student.backbone.") -> Path:
    """A whole training checkpoint of published shape: no config, heads, teacher, optimiser."""
    torch.manual_seed(0)
    config = SMALL.replace(heads=(1, 1, 2, 2, 2), channels=(16, 16, 32, 32, 32))
    config = config.replace(patch_size=(1024,) * 5)
    student, teacher = Concerto(config), Concerto(config)
    state = {"module.student.mask_head.weight": torch.zeros(3, 3)}
    for theirs, own in tensor_names(config):
        state[f"module.teacher.backbone.{theirs}"] = teacher.state_dict()[own]
        state[f"{prefix}{theirs}"] = student.state_dict()[own]
    torch.save({"epoch": 3, "state_dict": state, "optimizer": {"param_groups": []}}, file)
    student.eval().save_pretrained(file.parent / "student")
    return file


def test_a_training_state_gives_the_students_encoder_by_its_shapes(tmp_path: Path) -> None:
    model = concerto.from_pretrained(training_state(tmp_path / "state.pth"))
    student = concerto.from_pretrained(tmp_path / "student")
    # Which no tensor tells: trained and fine-tuned with it, as all that is published.
    assert model.config == student.config.replace(drop_path=0.3)
    assert same_features(model, student)


def test_a_file_of_a_published_name_gets_that_names_preprocessing(published: Path) -> None:
    outdoor = published.rename(published.with_name("concerto_large_outdoor.pth"))
    config = concerto.from_pretrained(outdoor).config
    assert (config.coord_scale, config.grid_size, config.center) == (0.2, 0.01, "xy")
    assert config.license == "cc-by-nc-4.0"
    assert config.channels == (8, 16, 16, 24, 32)


def test_weights_are_float32_unless_asked(tmp_path: Path) -> None:
    Concerto(SMALL).half().save_pretrained(tmp_path)
    assert concerto.from_pretrained(tmp_path).dtype == torch.float32
    assert concerto.from_pretrained(tmp_path, dtype="bfloat16").dtype == torch.bfloat16
    with pytest.raises(ConfigError, match=r"must be one of float64, float32"):
        concerto.from_pretrained(tmp_path, dtype="int8")


def test_the_packaged_model_loads_offline_without_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", concerto.ConcertoWarning)
        model = concerto.from_pretrained("concerto-tiny")
    assert model.config == find_model("concerto-tiny").config
    assert model.encode(random_cloud(200)).shape == (200, 544)


def test_untrained_weights_warn_once_that_they_are(tmp_path: Path) -> None:
    Concerto(SMALL.replace(untrained=True)).save_pretrained(tmp_path)
    with pytest.warns(concerto.ConcertoWarning, match="untrained") as caught:
        concerto.from_pretrained(tmp_path)
    assert len(caught) == 1
    assert "\n" not in str(caught[0].message)


# --- what is wrong with a file is said, and nothing is run -----------------------------------


@pytest.mark.parametrize("share", [0.0, 0.1, 0.9, 0.999])
def test_a_truncated_file_is_called_so(published: Path, share: float) -> None:
    content = published.read_bytes()
    published.write_bytes(content[: int(share * len(content))])
    with pytest.raises(CheckpointError, match=r"damaged or cut short"):
        concerto.from_pretrained(published)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.9])
def test_truncated_safetensors_are_called_so(tmp_path: Path, share: float) -> None:
    Concerto(SMALL).save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[: int(share * len(content))])
    with pytest.raises(CheckpointError, match=r"damaged or cut short"):
        concerto.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<html>Not found</html>", "looks like a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git lfs pull"),
        (b"ply\nformat ascii 1.0\n", "looks like a scan"),
        (b"\x80\x04garbage", "neither a torch file of plain tensors nor safetensors"),
        (b"", "neither a torch file"),
    ],
)
def test_a_file_that_is_no_checkpoint_is_called_what_it_is(
    tmp_path: Path, content: bytes, message: str
) -> None:
    file = tmp_path / "weights.pth"
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match=message) as refusal:
        concerto.from_pretrained(file)
    assert "weights_only" not in str(refusal.value)


def test_a_file_damaged_in_the_middle_is_called_so(published: Path) -> None:
    content = bytearray(published.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 4000] = bytes(4000)
    published.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"checksum of .* is wrong"):
        concerto.from_pretrained(published)


def test_loaded_weights_outlive_changes_to_their_file(published: Path) -> None:
    # In a process of its own: weights still mapped to the file would end it.
    script = (
        "import sys, concerto, torch\n"
        "model = concerto.from_pretrained(sys.argv[1])\n"
        "total = sum(float(p.double().sum()) for p in model.parameters())\n"
        "open(sys.argv[1], 'wb').close()\n"
        "assert total == sum(float(p.double().sum()) for p in model.parameters())\n"
    )
    subprocess.run([sys.executable, "-c", script, str(published)], check=True, timeout=120)


def test_a_file_of_torchs_older_format_loads(published: Path) -> None:
    content = torch.load(published, weights_only=True)
    torch.save(content, published, _use_new_zipfile_serialization=False)
    assert same_features(concerto.from_pretrained(published), concerto.from_pretrained(GOLDEN))


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("is_archive", [True, False])
def test_whatever_bytes_are_damaged_the_file_is_called_so(is_archive: bool, tmp_path: Path) -> None:
    content = {"state_dict": {f"w{number}": torch.zeros(2, 3) for number in range(4)}}
    file, chance = tmp_path / "weights.pth", random.Random(0)
    torch.save(content, file, _use_new_zipfile_serialization=is_archive)
    whole, refused = file.read_bytes(), 0
    for _ in range(300):
        damaged = bytearray(whole)
        damaged[chance.randrange(len(whole))] = chance.randrange(256)
        file.write_bytes(damaged)
        try:
            read_weights(file)
        except CheckpointError:
            refused += 1
    assert refused > 150


class Exploit:
    def __reduce__(self):  # type: ignore[no-untyped-def]
        return threading.Thread, ()


def test_code_in_a_pickle_is_refused_by_name(published: Path) -> None:
    rewrite(published, lambda content: content.update(extra=Exploit()))
    with pytest.raises(CheckpointError, match=r"asks to run threading\.Thread"):
        concerto.from_pretrained(published)


def test_code_in_a_pickle_of_torchs_older_format_is_refused_too(published: Path) -> None:
    torch.save({"extra": Exploit()}, published, _use_new_zipfile_serialization=False)
    with pytest.raises(CheckpointError, match=r"asks to run threading\.Thread"):
        concerto.from_pretrained(published)


def test_tensors_that_hold_no_real_numbers_are_named(published: Path) -> None:
    def round_off(content) -> None:  # type: ignore[no-untyped-def]
        name = "enc.enc0.block0.mlp.0.fc1.bias"
        content["state_dict"][name] = content["state_dict"][name].long()

    with pytest.raises(CheckpointError, match=r"no real numbers in 1 tensors: .*torch\.int64"):
        concerto.from_pretrained(rewrite(published, round_off))


def test_weights_in_float8_are_taken_as_another_dtype_alone(tmp_path: Path) -> None:
    Concerto(SMALL).to(torch.float8_e4m3fn).save_pretrained(tmp_path)
    with pytest.raises(
        CheckpointError, match=r"weights in torch\.float8_e4m3fn .*than \"auto\": one of float64"
    ):
        concerto.from_pretrained(tmp_path, dtype="auto")
    assert concerto.from_pretrained(tmp_path).encode(random_cloud(300)).dtype == torch.float32


@pytest.mark.parametrize("device", [3.5, ["cpu"], True, 10**30])
def test_what_is_no_device_is_refused(device: object) -> None:
    with pytest.raises(ConfigError, match=r"device is .*; it must be a text such as"):
        concerto.from_pretrained("concerto-tiny", device=device)


@pytest.mark.parametrize("name", ["weights.pth", "concerto_base.pth"])
def test_a_published_file_of_ours_keeps_the_preprocessing(name: str, tmp_path: Path) -> None:
    config = SMALL.replace(
        grid_size=0.01, coord_scale=0.2, center="xy", default_stages=(0, 4), license="mit"
    )
    model = Concerto(config)
    write_published(tmp_path / name, config, model.state_dict())
    assert concerto.from_pretrained(tmp_path / name).config == config


def test_heads_that_cannot_be_guessed_are_asked_for(published: Path) -> None:
    def forget(content) -> None:  # type: ignore[no-untyped-def]
        del content["config"]

    with pytest.raises(CheckpointError, match=r"weights\.pth has no config.*heads of 16"):
        concerto.from_pretrained(rewrite(published, forget))


@pytest.mark.parametrize(
    "change",
    [
        {"mlp_ratio": "4"},
        {"drop_path": None},
        {"qkv_bias": "false"},
        {"in_channels": 9.0},
        {"in_channels": 6},
        {"enc_depths": 2},
        {"enc_patch_size": 1024},
        {"enc_channels": (8, 16)},
        {"enc_num_head": (3, 2, 2, 3, 4)},
        {"stride": 4},
        {"stride": None},
    ],
)
def test_a_config_of_odd_values_is_refused_with_the_files_name(
    published: Path, change: dict[str, object]
) -> None:
    rewrite(published, lambda content: content["config"].update(change))
    with pytest.raises(ConfigError, match=r"weights\.pth: "):
        concerto.from_pretrained(published)


def test_missing_tensors_are_named(published: Path) -> None:
    rewrite(published, lambda c: c["state_dict"].pop("enc.enc1.down.proj.weight"))
    with pytest.raises(CheckpointError, match=r"lacks 1 tensors: encoder\.stages\.1\.down\.linear"):
        concerto.from_pretrained(published)


def test_misshaped_tensors_are_named_with_both_shapes(published: Path) -> None:
    def narrow(content) -> None:  # type: ignore[no-untyped-def]
        content["state_dict"]["enc.enc0.block0.mlp.0.fc1.bias"] = torch.zeros(5)

    with pytest.raises(CheckpointError, match=r"fc1\.bias is \(5,\) instead of \(32,\)"):
        concerto.from_pretrained(rewrite(published, narrow))


def test_tensors_without_a_place_are_named(published: Path) -> None:
    rewrite(published, lambda c: c["state_dict"].update({"dec.dec0.up.weight": torch.zeros(1)}))
    with pytest.raises(CheckpointError, match=r"no place for 1 tensors: dec\.dec0\.up\.weight"):
        concerto.from_pretrained(published)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("enable_rpe", True),
        ("pre_norm", False),
        ("layer_scale", 1e-5),
        ("enc_mode", False),
        ("order", ("z", "hilbert")),
        ("stride", (2, 2, 4, 2)),
        ("qk_scale", 0.3),
    ],
)
def test_config_keys_that_no_published_encoder_uses_are_refused_by_name(
    published: Path, key: str, value: object
) -> None:
    rewrite(published, lambda content: content["config"].update({key: value}))
    with pytest.raises(ConfigError, match=f"{key}="):
        concerto.from_pretrained(published)


def test_unknown_config_keys_are_refused_by_name(published: Path) -> None:
    rewrite(published, lambda content: content["config"].update(dec_depths=(1, 1)))
    with pytest.raises(ConfigError, match="no published encoder uses: dec_depths"):
        concerto.from_pretrained(published)


def test_a_segmentation_head_is_not_taken_for_an_encoder(tmp_path: Path) -> None:
    head = {"seg_head.weight": torch.zeros(20, 1728), "seg_head.bias": torch.zeros(20)}
    torch.save({"config": {"num_classes": 20}, "state_dict": head}, tmp_path / "head.pth")
    with pytest.raises(CheckpointError, match="segmentation head without its encoder"):
        concerto.from_pretrained(tmp_path / "head.pth")


def test_our_config_with_an_unknown_key_or_kind_is_refused(tmp_path: Path) -> None:
    Concerto(SMALL).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"window": 3}))
    with pytest.raises(ConfigError, match=r"window.*newer version"):
        concerto.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config | {"model_type": "bert"}))
    with pytest.raises(CheckpointError, match="model_type='bert'"):
        concerto.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config | {"model_type": ["x"]}))
    with pytest.raises(CheckpointError, match=r"model_type=\['x'\]"):
        concerto.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text('{"a": ' * 100_000)
    with pytest.raises(CheckpointError, match="too deeply"):
        concerto.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match="JSON"):
        concerto.from_pretrained(tmp_path)
    (tmp_path / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"no config\.json beside it"):
        concerto.from_pretrained(tmp_path)


def test_published_names_in_safetensors_load_with_a_published_config(tmp_path: Path) -> None:
    content = torch.load(GOLDEN, weights_only=True)
    save_file(content["state_dict"], tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(content["config"]))
    loaded = concerto.from_pretrained(tmp_path)
    assert same_features(loaded, concerto.from_pretrained(GOLDEN))


def test_a_folder_of_several_files_asks_which(tmp_path: Path) -> None:
    for name in ("a.pth", "b.pth"):
        shutil.copy(GOLDEN, tmp_path / name)
    with pytest.raises(HubError, match=r"pass filename=, one of a\.pth, b\.pth"):
        concerto.from_pretrained(tmp_path)
    assert concerto.from_pretrained(tmp_path, filename="b.pth").config.channels[0] == 8
    with pytest.raises(HubError, match=r"has no c\.pth. It has: a\.pth, b\.pth"):
        concerto.from_pretrained(tmp_path, filename="c.pth")


def test_saved_weights_are_in_the_format_that_other_tools_read(tmp_path: Path) -> None:
    model = Concerto(SMALL)
    model.save_pretrained(tmp_path)
    stored = load_file(tmp_path / "model.safetensors")
    assert all(torch.equal(stored[k], v) for k, v in model.state_dict().items())
