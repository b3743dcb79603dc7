"""Running the real command line, in a process of its own or in this one."""

from __future__ import annotations

import io
import os
import runpy
import subprocess
import sys
import warnings
from contextlib import redirect_stderr, redirect_stdout

import pytest
from huggingface_hub import constants

from concerto.errors import ConcertoWarning
from conftest import ROOT

ROOM = ROOT / "concerto" / "assets" / "sample_room.npz"
CONCERTO = "concerto.cli"
PREPARE = "concerto.training.prepare"


def run(
    *arguments: object,
    code: int = 0,
    traceback: bool = False,
    through: tuple[str, ...] = (),
    module: str = CONCERTO,
    **environment: str,
) -> subprocess.CompletedProcess[str]:
    """`concerto ARGUMENTS`, which must end with `code`, and with a traceback only where wanted.

    through: what launches it, such as ("-m", "torch.distributed.run", …). module: another
    command than `concerto`.
    """
    process = subprocess.run(
        [sys.executable, *through, "-m", module, *map(str, arguments)],
        capture_output=True,
        text=True,
        env=os.environ | {"HF_HUB_OFFLINE": "1", "COLUMNS": "100"} | environment,
        timeout=300,
    )
    assert process.returncode == code, process.stderr
    assert ("Traceback" in process.stderr) == traceback, process.stderr
    return process


def run_unread(*arguments: object, unbuffered: str = "1") -> str:
    """`concerto ARGUMENTS` where nobody reads its output, which must end with 1; its stderr."""
    read, write = os.pipe()
    os.close(read)
    process = subprocess.run(
        [sys.executable, "-m", CONCERTO, *map(str, arguments)],
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": unbuffered},
        timeout=300,
    )
    os.close(write)
    assert process.returncode == 1, process.stderr
    return process.stderr


def run_here(
    *arguments: object, code: int = 0, module: str = CONCERTO, offline: bool = True
) -> subprocess.CompletedProcess[str]:
    """The same in this process, which has imported torch already: a fraction of the time.

    module: what `python -m` is given. What a process has to itself, such as its pipes, wants `run`.
    """
    out, told, ended = io.StringIO(), io.StringIO(), 0
    with (
        pytest.MonkeyPatch.context() as patch,
        warnings.catch_warnings(),
        redirect_stdout(out),
        redirect_stderr(told),
    ):
        warnings.simplefilter("default", ConcertoWarning)
        # That a module which tests have imported is run anew.
        warnings.filterwarnings("ignore", "'concerto", RuntimeWarning, "runpy")
        patch.setattr(sys, "argv", [module, *map(str, arguments)])
        patch.setattr(constants, "HF_HUB_OFFLINE", offline)
        try:
            runpy.run_module(module, run_name="__main__")
        except SystemExit as end:
            if isinstance(end.code, str):
                # Python prints it as it ends, and returns 1.
                told.write(f"{end.code}\n")
            ended = 1 if isinstance(end.code, str) else int(end.code or 0)
    assert ended == code, told.getvalue()
    return subprocess.CompletedProcess(arguments, ended, out.getvalue(), told.getvalue())


def fail_here(*arguments: object) -> list[str]:
    """`concerto ARGUMENTS`, which must end with 1, in this process.

    Returns the lines on stderr but for warnings.
    """
    lines = run_here(*arguments, code=1).stderr.splitlines()
    return [line for line in lines if not line.startswith("warning")]
