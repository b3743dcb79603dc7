"""Checkpoints load as they were saved, ours and published ones."""

import json
import re
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn.utils.parametrizations import weight_norm

import concerto
from concerto import CheckpointError, Concerto, ConcertoConfig, ConfigError, HubError
from concerto.checkpoints import (
    config_from_published,
    config_to_published,
    tensor_names,
    write_published,
)
from concerto.known_models import find_model
from conftest import GOLDEN, SMALL, random_cloud


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


@pytest.mark.parametrize(
    "change",
    [
        lambda model: setattr(model, "head", torch.nn.Linear(3, 3)),
        lambda model: weight_norm(model.encoder.embedding.linear),
        lambda model: setattr(model.encoder.embedding, "linear", torch.nn.Linear(9, 9)),
        lambda model: setattr(model.encoder.embedding.linear, "bias", None),
    ],
    ids=["added", "weight norm", "shape", "taken away"],
)
def test_what_could_not_be_loaded_again_is_not_saved(
    tmp_path: Path, change: Callable[[Concerto], None]
) -> None:
    model = Concerto(SMALL)
    change(model)
    with pytest.raises(CheckpointError, match="Concerto could not be loaded again"):
        model.save_pretrained(tmp_path / "model")
    assert not (tmp_path / "model").exists()


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


def test_a_compiled_encoder_is_saved_by_the_names_of_the_plain_one(tmp_path: Path) -> None:
    model = Concerto(SMALL).eval()
    names = set(model.state_dict())
    model.encoder.stages[1] = torch.compile(model.encoder.stages[1], backend="eager")
    model.encoder = torch.compile(model.encoder, backend="eager")
    model.save_pretrained(tmp_path)
    assert set(load_file(tmp_path / "model.safetensors")) == names
    again = concerto.from_pretrained(tmp_path)
    wanted = model.encoder.embedding.linear.weight
    assert torch.equal(again.encoder.embedding.linear.weight, wanted)


@pytest.mark.parametrize("wrapped", ["module.encoder.", "_orig_mod.encoder.", "encoder._orig_mod."])
def test_weights_that_were_kept_wrapped_load_all_the_same(wrapped: str, tmp_path: Path) -> None:
    model = Concerto(SMALL).eval()
    model.save_pretrained(tmp_path)
    state = {k.replace("encoder.", wrapped, 1): t for k, t in model.state_dict().items()}
    torch.save(state, tmp_path / "wrapped.pth")
    save_file(state, tmp_path / "wrapped.safetensors")
    for file in ("wrapped.pth", "wrapped.safetensors"):
        assert same_features(concerto.from_pretrained(tmp_path, filename=file), model)


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
