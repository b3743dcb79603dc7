"""Archives cut into parts are unpacked whole, in order, and nowhere else."""

from __future__ import annotations

import gc
import io
import tarfile
from pathlib import Path

import pytest

from concerto.errors import InputError
from concerto.training.prepare.archives import find_archives, unpack


def archive(members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def cut(content: bytes, folder: Path, name: str, parts: int) -> list[Path]:
    """The content in parts of which the names are numbers without leading zeros."""
    size = -(-len(content) // parts)
    files = [folder / f"{name}.{number}" for number in range(parts)]
    for number, file in enumerate(files):
        file.write_bytes(content[number * size : (number + 1) * size])
    return files


def files_below(folder: Path) -> dict[str, bytes]:
    return {
        file.relative_to(folder).as_posix(): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file()
    }


def test_parts_are_found_and_joined_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    members = {f"a/{k}.bin": bytes([k]) * 3000 for k in range(20)}
    parts = cut(archive(members), tmp_path, "rooms.tar.gz", 12)
    (tmp_path / "other.tar.gz").write_bytes(archive({"b": b"b"}))
    (tmp_path / "README.md").write_text("no archive")
    notes = tmp_path / ".cache" / "huggingface" / "download"
    notes.mkdir(parents=True)
    for kind in ("lock", "metadata"):
        (notes / f"other.tar.gz.{kind}").write_text("of a download")
    found = find_archives(tmp_path)
    assert found == {"other.tar.gz": [tmp_path / "other.tar.gz"], "rooms.tar.gz": parts}
    unpack(found["rooms.tar.gz"], tmp_path / "out")
    assert files_below(tmp_path / "out") == members


@pytest.mark.parametrize("name", ["../out.txt", "a/../../out.txt", "/tmp/out.txt", "C:\\out.txt"])
def test_a_name_that_leads_out_of_the_folder_is_refused(name: str, tmp_path: Path) -> None:
    file = tmp_path / "bad.tar.gz"
    file.write_bytes(archive({"fine": b"1", name: b"2"}))
    with pytest.raises(InputError, match=r"bad\.tar\.gz is refused"):
        unpack([file], tmp_path / "deep" / "out")
    assert files_below(tmp_path).keys() == {"bad.tar.gz", "deep/out/fine"}


def test_links_are_passed_over_so_that_none_leads_out(tmp_path: Path) -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path)
        tar.addfile(link)
        info = tarfile.TarInfo("link/inside")
        info.size = 1
        tar.addfile(info, io.BytesIO(b"x"))
    file = tmp_path / "linked.tar.gz"
    file.write_bytes(stream.getvalue())
    unpack([file], tmp_path / "out")
    assert files_below(tmp_path).keys() == {"linked.tar.gz", "out/link/inside"}


def test_of_files_that_are_unpacked_nothing_is_kept(tmp_path: Path) -> None:
    (tmp_path / "many.tar.gz").write_bytes(archive({f"{k}.npy": b"1" for k in range(200)}))
    kept: list[int | None] = []

    def seen(_: Path) -> None:
        first_or_last = len(kept) in (0, 199)  # looking through all objects takes a while
        kept.append(_records() if first_or_last else None)

    gc.collect()
    unpack([tmp_path / "many.tar.gz"], tmp_path / "out", seen)
    assert len(kept) == 200
    first, last = kept[0], kept[-1]
    assert first is not None
    assert last is not None
    assert last - first < 3


def _records() -> int:
    return sum(type(thing) is tarfile.TarInfo for thing in gc.get_objects())


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_a_missing_part_is_noticed(missing: int, tmp_path: Path) -> None:
    content = archive({"a": bytes(range(256)) * 400})
    parts = cut(content, tmp_path, "rooms.tar.gz", 3)
    with pytest.raises(InputError, match=r"rooms\.tar\.gz.*Are all of its 2 parts there"):
        unpack(parts[:missing] + parts[missing + 1 :], tmp_path / "out")
