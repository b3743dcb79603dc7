"""Running the real command line, in a process of its own or in this one."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import warnings
from contextlib import redirect_stderr, redirect_stdout

import pytest
from huggingface_hub import constants

from concerto.cli import main
from conftest import ROOT

GOLDEN = ROOT / "tests" / "golden" / "data" / "official_tiny.pth"
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


def fail_here(*arguments: object) -> list[str]:
    """`concerto ARGUMENTS`, which must end with 1, in this process: torch takes seconds to import.

    Returns the lines on stderr but for warnings.
    """
    told = io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        warnings.catch_warnings(),
        redirect_stdout(io.StringIO()),
        redirect_stderr(told),
    ):
        patch.setattr(sys, "argv", ["concerto", *map(str, arguments)])
        patch.setattr(constants, "HF_HUB_OFFLINE", True)
        with pytest.raises(SystemExit) as ended:
            main()
    # A text is printed, and 1 returned, by Python as it ends.
    assert isinstance(ended.value.code, str), ended.value.code
    lines = [*told.getvalue().splitlines(), *ended.value.code.splitlines()]
    return [line for line in lines if not line.startswith("warning")]
