"""Words understood through the names that were taught."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from concerto.translator.alternatives import as_asked, share_out, through_names

HEAT = 0.05


def unit(rows: int, width: int = 200, seed: int = 0) -> torch.Tensor:
    """Unit vectors that have much in common, as texts have."""
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(rows, width, generator=generator) + 1.5, dim=1)


@given(texts=st.integers(1, 40), names=st.integers(2, 12), seed=st.integers(0, 9))
def test_every_text_is_a_whole_mixture_of_names(texts: int, names: int, seed: int) -> None:
    share = share_out(unit(texts, seed=seed), unit(names, seed=seed + 10), HEAT)
    assert share.shape == (texts, names)
    torch.testing.assert_close(share.sum(1), torch.ones(texts))
    assert (share >= 0).all()


def test_as_many_texts_as_names_share_them_out_almost_evenly() -> None:
    names = unit(12)
    # All lean to the first name.
    asked = F.normalize(names + 1.1 * names[0], dim=1)
    assert share_out(asked, names, HEAT).sum(0).max() < 1.5
    alone = sum(share_out(text[None], names, HEAT)[0] for text in asked)
    assert alone.max() > 3


def test_a_name_that_was_taught_is_itself() -> None:
    names = unit(8)
    torch.testing.assert_close(share_out(names, names, HEAT), torch.eye(8), atol=0.01, rtol=0)


def test_texts_asked_together_share_a_name_out() -> None:
    names = unit(6)
    # The second text is a little nearer to name 0 than to name 1, and the first text is name 0.
    torn = F.normalize(0.52 * names[0] + 0.48 * names[1], dim=0)
    alone = share_out(torn[None], names, HEAT)[0]
    together = share_out(torch.stack([names[0], torn]), names, HEAT)[1]
    assert alone[0] > alone[1]
    assert together[1] > together[0]


def test_the_order_of_texts_and_names_does_not_matter() -> None:
    asked, names = unit(7, seed=3), unit(9)
    turned, mixed = torch.randperm(7), torch.randperm(9)
    share = share_out(asked, names, HEAT)
    given = share_out(asked[turned], names[mixed], HEAT)
    torch.testing.assert_close(given, share[turned][:, mixed])


def test_other_words_are_told_apart_where_their_own_vectors_mislead() -> None:
    names = unit(10)
    asked = F.normalize(names + 3 * unit(10, seed=1), dim=1)
    # A word for anything, such as "object", is near to all.
    asked[4] = F.normalize(names.mean(0) + 0.1 * names[4], dim=0)
    voxels, right = names, torch.arange(10)
    plain = (as_asked(asked).cosines(voxels).argmax(1) == right).float().mean()
    through = through_names(asked, names, names, HEAT).cosines(voxels).argmax(1) == right
    assert plain < 0.8
    assert through.all()


def test_names_are_asked_in_the_sentences_of_the_texts() -> None:
    names, moved = unit(5), unit(1, seed=8)[0]
    sentence = F.normalize(names + moved, dim=1)
    found = through_names(sentence, sentence, names, HEAT).cosines(names)
    assert torch.equal(found.argmax(1), torch.arange(5))
