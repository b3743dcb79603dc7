"""Processes are started where accelerate leaves them out, and end with what started them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import warnings

import pytest

from concerto.training.run.commands import run_trainer
from concerto.training.run.launch import processes_wanted
from concerto.training.run.loop import TrainResult
from conftest import ROOT

CHILD = """
import signal
from concerto.training.run.launch import end_with_launcher
end_with_launcher()
print("ready", flush=True)
signal.pause()
"""
LAUNCHER = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', sys.argv[1]]).wait()"


def test_processes_are_started_only_where_accelerate_left_them_out() -> None:
    command = ["python", "/bin/accelerate", "launch", "--cpu", "--num_processes", "3", "-m", "x"]
    module = ["python", "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2", "x"]
    on_cpu = {"ACCELERATE_USE_CPU": "True"}
    assert processes_wanted(command, on_cpu) == 3
    assert processes_wanted(module, on_cpu) == 2
    assert processes_wanted(command, on_cpu | {"RANK": "0"}) == 1
    assert processes_wanted(command, on_cpu | {"OMPI_COMM_WORLD_SIZE": "3"}) == 1
    assert processes_wanted(command, {"ACCELERATE_USE_CPU": "False"}) == 1
    assert processes_wanted(["bash"], on_cpu) == 1
    assert processes_wanted(["accelerate", "launch", "--cpu", "-m", "x"], on_cpu) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process of such a death")
def test_a_process_ends_when_its_launcher_is_killed() -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "LOCAL_RANK": "0"}
    launcher = subprocess.Popen(
        [sys.executable, "-c", LAUNCHER, CHILD], stdout=subprocess.PIPE, env=environment
    )
    assert launcher.stdout is not None
    assert launcher.stdout.readline() == b"ready\n"
    launcher.send_signal(signal.SIGKILL)
    launcher.wait()
    # The pipe ends when nobody holds it any more.
    assert launcher.stdout.read() == b""


def test_a_killed_process_of_samples_ends_the_command_in_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def train(_: object) -> TrainResult:
        raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. ")

    monkeypatch.setattr(sys, "argv", ["train"])
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    with pytest.raises(SystemExit, match=r"error: DataLoader worker .* pass fewer --workers"):
        run_trainer("x", list, train)
    monkeypatch.setattr(sys, "argv", ["train", "--debug"])
    with pytest.raises(RuntimeError, match="pid 7"):
        run_trainer("x", list, train)
