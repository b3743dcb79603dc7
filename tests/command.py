"""Running the real command line, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys

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
