"""Files are written whole, with the rights of any new file."""

from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from concerto import InputError
from concerto.files import replacing, write_text


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    file = tmp_path / "new" / "a.txt"
    write_text(file, "old")
    with pytest.raises(TypeError), replacing(file) as temporary:
        temporary.write_text("half") + "text"
    assert file.read_text() == "old"
    assert [path.name for path in file.parent.iterdir()] == ["a.txt"]
    with pytest.raises(InputError, match="Cannot write"):
        write_text(file / "b.txt", "under a file")
    with pytest.raises(InputError, match="Cannot write"):
        write_text(Path(""), "nowhere")


@pytest.mark.skipif(os.name != "posix", reason="other systems have no umask")
def test_threads_that_write_leave_the_umask_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "plain").touch()

    def changed(mask: int) -> int:
        raise AssertionError(f"the umask of the process was set to {mask}")

    monkeypatch.setattr(os, "umask", changed)
    files = [tmp_path / f"{number}.txt" for number in range(64)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda file: write_text(file, "text"), files))
    modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert len(modes) == 1


@pytest.mark.skipif(os.name != "posix", reason="other systems have no such rights")
def test_weights_may_be_read_by_whoever_may_read_a_new_file(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    with replacing(tmp_path / "model.safetensors") as temporary:
        save_file({"weight": torch.zeros(1)}, temporary)
    write_text(tmp_path / "config.json", "{}")
    assert len({stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}) == 1
