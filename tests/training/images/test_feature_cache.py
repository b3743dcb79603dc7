"""The features of images kept on disk."""

from __future__ import annotations

import multiprocessing
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from concerto.errors import ConcertoWarning, InputError
from concerto.training.images import feature_cache
from concerto.training.images.feature_cache import CachedTeacher
from concerto.training.images.teacher import ImageTeacher


class Counting(ImageTeacher):
    """Patches of 4: their mean colours times a weight. It counts the images that it sees."""

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__(patch_size=4, width=3, image_size=8)
        self.weight = nn.Parameter(torch.tensor(weight))
        self.seen = 0

    def patches(self, images: Tensor) -> Tensor:
        self.seen += len(images)
        return self.weight * nn.functional.avg_pool2d(images, 4).flatten(2).mT


@pytest.fixture
def images() -> Tensor:
    return torch.rand(3, 3, 8, 12, generator=torch.Generator().manual_seed(0))


def files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.npz"))


def test_each_image_is_computed_once(tmp_path: Path, images: Tensor) -> None:
    teacher = Counting()
    first = CachedTeacher(teacher, tmp_path)(images)
    again = CachedTeacher(teacher, tmp_path)
    assert torch.equal(again(images.flip(0)), first.flip(0))
    assert teacher.seen == 3
    other = torch.cat([images[1:2], 1 - images[:1]])
    torch.testing.assert_close(again(other), teacher(other), rtol=1e-3, atol=1e-3)
    assert teacher.seen == 3 + 1 + 2


def test_features_are_float32_rounded_to_half_from_the_first_time_on(
    tmp_path: Path, images: Tensor
) -> None:
    teacher = Counting()
    found = CachedTeacher(teacher, tmp_path)(images)
    assert found.dtype == torch.float32
    assert torch.equal(found, teacher(images).half().float())


def test_it_looks_like_its_teacher(tmp_path: Path) -> None:
    cached = CachedTeacher(Counting(), tmp_path)
    assert (cached.patch_size, cached.width, cached.image_size) == (4, 3, 8)
    assert cached(torch.zeros(0, 3, 8, 12)).shape == (0, 6, 3)
    with pytest.raises(InputError, match="do not tile"):
        cached(torch.zeros(1, 3, 8, 9))


def test_another_teacher_or_precision_has_files_of_its_own(tmp_path: Path, images: Tensor) -> None:
    halved = Counting()
    halved.autocast = torch.bfloat16
    for teacher in (Counting(1.0), Counting(2.0), halved):
        CachedTeacher(teacher, tmp_path)(images)
        assert teacher.seen == 3
    same = Counting(2.0)
    torch.testing.assert_close(
        CachedTeacher(same, tmp_path)(images)[0, 0],
        2 * images[0, :, :4, :4].mean((1, 2)),
        rtol=1e-3,
        atol=1e-3,
    )
    assert same.seen == 0


def test_images_of_one_content_and_two_shapes_are_two(tmp_path: Path) -> None:
    teacher = Counting()
    cached = CachedTeacher(teacher, tmp_path)
    assert cached(torch.zeros(1, 3, 8, 4)).shape == cached(torch.zeros(1, 3, 4, 8)).shape
    assert teacher.seen == 2


def test_a_damaged_file_is_computed_again_with_a_warning(tmp_path: Path, images: Tensor) -> None:
    teacher = Counting()
    cached = CachedTeacher(teacher, tmp_path)
    whole = cached(images[:1])
    (file,) = files(tmp_path)
    content = file.read_bytes()
    np.savez(tmp_path / "other.npz", features=np.zeros((2, 3), np.float16))
    other = (tmp_path / "other.npz").read_bytes()
    for damaged in (b"", content[:100], content[:-10], b"not a zip", other):
        file.write_bytes(damaged)
        with pytest.warns(ConcertoWarning, match="is damaged"):
            assert torch.equal(cached(images[:1]), whole)
        assert file.read_bytes() == content, "written anew"


def test_no_changed_byte_changes_a_feature(tmp_path: Path, images: Tensor) -> None:
    cached = CachedTeacher(Counting(), tmp_path)
    whole = cached(images[:1])
    (file,) = files(tmp_path)
    content = file.read_bytes()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for position in range(len(content)):
            changed = bytearray(content)
            changed[position] ^= 0xFF
            file.write_bytes(bytes(changed))
            assert torch.equal(cached(images[:1]), whole), position


def test_what_half_precision_cannot_hold_is_not_kept(tmp_path: Path, images: Tensor) -> None:
    teacher = Counting(1e6)
    cached = CachedTeacher(teacher, tmp_path)
    assert torch.equal(cached(images), teacher(images))
    assert not files(tmp_path)


def test_a_full_disk_ends_the_keeping_and_not_the_training(
    tmp_path: Path, images: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    teacher = Counting()
    cached = CachedTeacher(teacher, tmp_path)
    monkeypatch.setattr(feature_cache.np, "savez", full)
    with pytest.warns(ConcertoWarning, match=r"no longer kept: .*No space left") as warned:
        found = cached(images)
    assert len(warned) == 1
    assert torch.equal(found, teacher(images).half().float())
    assert not list(tmp_path.rglob("*.npz")), "no part of a file stays"


def test_a_folder_that_cannot_be_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file"):
        CachedTeacher(Counting(), tmp_path / "file" / "cache")


def _fill(folder: str) -> None:
    torch.set_num_threads(1)
    random = torch.Generator().manual_seed(3)
    cached = CachedTeacher(Counting(), folder)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(3):
            order = torch.randperm(8)
            images = torch.rand(8, 3, 8, 8, generator=random.manual_seed(3))[order]
            expected = Counting()(images).half().float()
            assert torch.equal(cached(images), expected)


def test_processes_may_share_a_folder(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_fill, args=(str(tmp_path),)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert len(files(tmp_path)) == 8
