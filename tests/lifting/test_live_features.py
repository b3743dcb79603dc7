"""Features that keep up with a camera are those of encoding everything, nearly, for less."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from concerto import Concerto, Frame, Stream
from concerto.encoder.partial import AROUND, REGION, cell_keys, encode_changed, encode_whole
from concerto.errors import InputError
from concerto.lifting.alignment import Alignment
from conftest import SMALL, relative_l2
from recordings import VIEWS, frames, record

FRAMES = frames()


def streamed(model: Concerto, recorded: list[Frame], **options: object) -> Stream:
    stream = Stream(model, **options)
    for frame in recorded:
        stream.add(frame)
    stream.update()
    return stream


def whole(stream: Stream) -> torch.Tensor:
    """Everything encoded anew, around the origin that is pinned."""
    other = copy.copy(stream)
    other.encode_all()
    return other.features()


def test_the_first_update_encodes_everything_as_the_encoder_does(model: Concerto) -> None:
    stream = Stream(model)
    stream.add(FRAMES[0])
    update = stream.update()
    assert update.points == update.changed == update.encoded == len(stream.cloud())
    assert stream.features().shape == (update.points, model.feature_dim())
    assert stream.features("all").shape == (update.points, model.feature_dim("all"))
    assert torch.equal(stream.features(), whole(stream))


def test_an_update_encodes_what_changed_and_comes_near_to_encoding_everything(
    model: Concerto,
) -> None:
    stream = streamed(model, FRAMES[:7])
    painted = FRAMES[6].color.copy()
    painted[40:60, 20:50] = 255 - painted[40:60, 20:50]
    for _ in range(3):
        stream.add(replace(FRAMES[6], color=painted))
    before, color = stream.features((0,)), stream.cloud().color
    update = stream.update()
    assert 0 < update.changed < update.encoded < 0.3 * update.points
    assert F.cosine_similarity(stream.features(), whole(stream)).quantile(0.02) > 0.9
    # And not for want of change: where the colour is another, what was known is no longer true.
    other = copy.copy(stream)
    other.encode_all()
    repainted = (stream.cloud().color - color).abs().amax(1) > 0.2
    assert repainted.sum() > 50
    after, wanted = stream.features((0,))[repainted], other.features((0,))[repainted]
    assert relative_l2(after, wanted) < 0.5 * relative_l2(before[repainted], wanted)


def test_autocast_changes_nothing(model: Concerto) -> None:
    wanted = streamed(model, FRAMES[:2])
    wanted.add(FRAMES[7])
    wanted.update()
    with torch.autocast("cpu", torch.bfloat16):
        stream = streamed(model, FRAMES[:2])
        stream.add(FRAMES[7])
        stream.update()
    assert torch.equal(stream.features(), wanted.features())


def test_new_places_get_features_beside_those_known(model: Concerto) -> None:
    stream = streamed(model, FRAMES[:7])
    known = len(stream.cloud())
    stream.add(FRAMES[7])
    update = stream.update()
    assert update.points > known
    assert F.cosine_similarity(stream.features(), whole(stream)).median() > 0.95


def test_nothing_new_changes_nothing(model: Concerto) -> None:
    stream = streamed(model, FRAMES)
    before = stream.features()
    update = stream.update()
    assert (update.changed, update.encoded) == (0, 0)
    assert torch.equal(stream.features(), before)


def test_keeping_what_blocks_were_given_changes_nothing(model: Concerto) -> None:
    voxels = streamed(model, FRAMES[:3])._voxels()
    offsets = torch.tensor([len(voxels.feat)])
    with torch.no_grad():
        levels, known = encode_whole(model.encoder, voxels.feat, voxels.grid_coord)
        wanted = model.encoder(voxels.feat, voxels.grid_coord, offsets)
    for level, kept, want in zip(levels, known, wanted, strict=True):
        assert torch.equal(level.grid_coord, want.grid_coord)
        assert relative_l2(level.feat, want.feat) < 1e-5
        assert kept.feat is level.feat


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_region_as_large_as_the_cloud_is_encoded_as_the_encoder_does(
    model: Concerto, dtype: torch.dtype
) -> None:
    encoder = copy.deepcopy(model.encoder).to(dtype)
    voxels = streamed(model, FRAMES[:3])._voxels()
    feat = voxels.feat.to(dtype)
    changed = torch.ones(len(feat), dtype=torch.bool)
    with torch.no_grad():
        _, known = encode_whole(encoder, feat.flip(0), voxels.grid_coord)
        wanted, _ = encode_whole(encoder, feat, voxels.grid_coord)
        levels, _ = encode_changed(encoder, known, feat, voxels.grid_coord, changed)
    for level, want in zip(levels, wanted, strict=True):
        assert relative_l2(level.feat, want.feat) < 1e-5


def test_what_lies_away_from_a_change_is_kept_bit_for_bit(model: Concerto) -> None:
    stream = streamed(model, FRAMES)
    state, voxels = stream._encoded(), stream._voxels()
    at = voxels.grid_coord[0]
    changed = ((voxels.grid_coord >> REGION) == (at >> REGION)).all(1)
    feat = voxels.feat.clone()
    feat[changed, 3:6] = 1 - feat[changed, 3:6]
    with torch.no_grad():
        levels, _ = encode_changed(model.encoder, state.known, feat, voxels.grid_coord, changed)
    for number, (level, before) in enumerate(zip(levels, state.levels, strict=True)):
        cell = max(REGION, number)
        apart = ((level.grid_coord >> cell - number) - (at >> cell)).abs().amax(1)
        moved = (level.feat != before.feat).any(1)
        assert moved.any()
        assert apart[moved].max() <= AROUND[number]


def test_keys_sort_as_cells_do_and_neighbours_are_a_constant_away() -> None:
    cells = torch.cartesian_prod(*[torch.arange(4)] * 3)
    keys = cell_keys(cells)
    assert (keys.diff() > 0).all()
    assert len((cell_keys(cells + torch.tensor([-1, 1, 0])) - keys).unique()) == 1


def test_origin_and_alignment_are_pinned(model: Concerto) -> None:
    turn = Alignment(np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]))
    stream = streamed(model, FRAMES[:2], alignment=turn, origin=(1.0, 2.0, 0.5))
    cloud = stream.cloud()
    coord = stream.hierarchy().levels[0].coord
    torch.testing.assert_close(
        coord, cloud.coord - torch.tensor([1.0, 2.0, 0.5]), atol=1e-5, rtol=0
    )
    straight = streamed(model, FRAMES[:2]).cloud().coord
    assert cloud.coord[:, 0].min() == pytest.approx(-float(straight[:, 1].max()), abs=0.02)
    stream.add(FRAMES[4])
    stream.update()
    later = stream.hierarchy().levels[0].coord - stream.cloud().coord
    torch.testing.assert_close(
        later, torch.tensor([-1, -2, -0.5]).expand_as(later), atol=0.02, rtol=0
    )


def test_an_origin_is_in_metres_also_where_the_model_scales_them() -> None:
    origin = torch.tensor([1.0, 2.0, 0.5])
    model = Concerto(SMALL.replace(coord_scale=0.5)).eval()
    stream = streamed(model, FRAMES[:1], origin=origin)
    coord = stream.hierarchy().levels[0].coord
    torch.testing.assert_close(coord, (stream.cloud().coord - origin) * 0.5, atol=1e-5, rtol=0)


def test_a_frame_that_is_refused_leaves_the_features_as_they_were(model: Concerto) -> None:
    stream = streamed(model, FRAMES[:2])
    before = stream.features()
    with pytest.raises(InputError, match="Is the unit right"):
        stream.add(replace(FRAMES[2], depth=FRAMES[2].depth * 1000))
    assert stream.update().encoded == 0
    assert torch.equal(stream.features(), before)


def test_what_cannot_be_encoded_is_told(model: Concerto) -> None:
    stream = Stream(model)
    with pytest.raises(InputError, match="add frames"):
        stream.features()
    with pytest.raises(InputError, match="no frame was added"):
        stream.update()
    far = record(VIEWS[0])
    pose = far.pose.copy()
    pose[0, 3] += 200
    stream.add(far)
    stream.update()
    stream.add(replace(far, pose=pose))
    with pytest.raises(InputError, match="more than 82 m"):
        stream.update()
    training = Stream(Concerto(model.config).train())
    training.add(far)
    with pytest.raises(InputError, match=r"model\.eval"):
        training.update()


@pytest.mark.parametrize(
    "origin", [(0, 0), (0, 0, float("nan")), "abc", 5, ("a", 0, 0), ((0, 0), 0, 0), (0, 0, None)]
)
def test_an_origin_is_three_numbers(model: Concerto, origin: object) -> None:
    with pytest.raises(InputError, match="three numbers"):
        Stream(model, origin=origin)
