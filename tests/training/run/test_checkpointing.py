import errno
import os
import resource
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from concerto.errors import CheckpointError, ConcertoWarning
from concerto.training.run.checkpointing import (
    clear_way,
    latest_checkpoint,
    list_checkpoints,
    map_checkpoint,
    read_run_checkpoint,
    step_of,
    write_checkpoint,
)

CONTENT: dict[str, Any] = {"module": {"weight": torch.arange(30000.0)}, "loop": {"skipped": 3}}


def steps(run: Path) -> list[int]:
    return [step_of(file) for file in list_checkpoints(run)]


def test_what_is_written_is_read_and_only_the_latest_are_kept(tmp_path: Path) -> None:
    for step in (1, 9, 100, 1000):
        write_checkpoint(tmp_path, step, {**CONTENT, "step": step}, keep=2)
    assert steps(tmp_path) == [100, 1000]
    found = latest_checkpoint(tmp_path)
    assert found is not None
    file, content = found
    assert step_of(file) == content["step"] == 1000
    assert torch.equal(content["module"]["weight"], CONTENT["module"]["weight"])
    assert torch.equal(map_checkpoint(file)["module"]["weight"], CONTENT["module"]["weight"])
    assert latest_checkpoint(tmp_path / "none") is None


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "other"])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path: Path, damage: str) -> None:
    write_checkpoint(tmp_path, 1, CONTENT, keep=3)
    file = write_checkpoint(tmp_path, 2, CONTENT, keep=3)
    whole = file.read_bytes()
    middle = len(whole) // 2
    if damage == "other":
        torch.save([1, 2], file)
    else:
        file.write_bytes(
            {
                "cut": whole[:middle],
                "flip": whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
                "empty": b"",
            }[damage]
        )
    with pytest.warns(ConcertoWarning, match=r"step-00000002.*Going back to step-00000001.pt"):
        found = latest_checkpoint(tmp_path)
    assert found is not None
    assert step_of(found[0]) == 1
    clear_way(tmp_path, 1)
    assert steps(tmp_path) == [1]
    assert (file.parent / "step-00000002.pt.damaged").exists()


def test_a_run_whose_checkpoints_are_all_damaged_is_an_error(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, 1, CONTENT, keep=1).write_bytes(b"x")
    with pytest.raises(CheckpointError, match=r"No checkpoint of .* can be read"):
        latest_checkpoint(tmp_path)


def test_a_file_that_asks_to_run_code_is_not_read(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return (os.mkdir, (str(tmp_path / "ran"),))

    file = write_checkpoint(tmp_path, 1, CONTENT, keep=1)
    torch.save({"module": Evil()}, file)
    with pytest.raises(CheckpointError, match="asks to run"):
        read_run_checkpoint(file)
    assert not (tmp_path / "ran").exists()


@pytest.mark.skipif(os.name == "nt", reason="limits of files are POSIX")
def test_where_there_is_no_room_the_earlier_ones_stay_and_nothing_half_is_left(
    tmp_path: Path,
) -> None:
    write_checkpoint(tmp_path, 1, CONTENT, keep=1)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, hard))
    try:
        with pytest.raises(CheckpointError, match=os.strerror(errno.EFBIG) + r".*Make room there"):
            write_checkpoint(tmp_path, 2, CONTENT, keep=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert [file.name for file in (tmp_path / "checkpoints").iterdir()] == ["step-00000001.pt"]
    assert read_run_checkpoint(list_checkpoints(tmp_path)[0])["loop"] == {"skipped": 3}


def test_a_checkpoint_is_on_the_disk_before_it_has_its_name_and_old_ones_go_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_checkpoint(tmp_path, 1, CONTENT, keep=1)
    events = []
    sync, replace, unlink = os.fsync, os.replace, Path.unlink

    def told(name: str, call: Any) -> Any:
        def tell(*arguments: Any, **options: Any) -> Any:
            events.append(name)
            return call(*arguments, **options)

        return tell

    monkeypatch.setattr(os, "fsync", told("sync", sync))
    monkeypatch.setattr(os, "replace", told("rename", replace))
    monkeypatch.setattr(Path, "unlink", told("unlink", unlink))
    write_checkpoint(tmp_path, 2, CONTENT, keep=1)
    # The first unlink is of the temporary name, which is gone by then.
    assert events == ["sync", "rename", "unlink", "sync", "unlink"]
    assert steps(tmp_path) == [2]


def test_a_folder_that_this_machine_does_not_see_is_told(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="where all machines of the run see it"):
        map_checkpoint(tmp_path / "checkpoints" / "step-00000001.pt")
