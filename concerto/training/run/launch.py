"""Two things that launchers leave undone: to start all processes on a CPU, and to end them.

On a CPU, accelerate (1.15) starts a single process whatever `--num_processes` says, and leaves the
others to MPI. So the one that it starts gives way to torchrun, which starts them all. And where a
launcher is killed, what it has started goes on, unseen, and writes to the folder of a run that
someone may have resumed by then. So processes ask the system to be told.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Mapping, Sequence

# Where one of these is set, somebody has started several processes already.
STARTED = (
    "RANK",
    "LOCAL_RANK",
    "WORLD_SIZE",
    "PMI_SIZE",
    "OMPI_COMM_WORLD_SIZE",
    "MV2_COMM_WORLD_SIZE",
)
# What accelerate and torchrun set for the processes that they start.
LAUNCHED = ("LOCAL_RANK", "ACCELERATE_MIXED_PRECISION")
LAUNCHERS = ("accelerate-launch", "launch", "accelerate.commands.launch")
# linux/prctl.h
PR_SET_PDEATHSIG = 1


def end_with_launcher() -> None:
    """On Linux, have SIGTERM come to this process when the one that launched it dies, or has died.

    So a killed launcher ends the run where it can be resumed.
    """
    if sys.platform != "linux" or not any(name in os.environ for name in LAUNCHED):
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    # Orphans are the first process' children. In a container that may be the launcher itself.
    if os.getppid() == 1 and not any("launch" in word or "torch" in word for word in _parent()):
        os.kill(os.getpid(), signal.SIGTERM)


def start_processes(module: str) -> None:
    """Replace this process by all that were asked for. Returns where this one is enough.

    module: what `python -m` is given to run the command again, with the same arguments.
    """
    wanted = processes_wanted(_parent(), os.environ)
    if wanted > 1:
        run = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(wanted)]
        os.execv(sys.executable, [sys.executable, *run, "-m", module, *sys.argv[1:]])


def processes_wanted(launcher: Sequence[str], environment: Mapping[str, str]) -> int:
    """How many processes to start: more than 1 only where accelerate left them out.

    launcher: command line of the parent process.
    """
    on_cpu = environment.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true")
    if not on_cpu or any(name in environment for name in STARTED):
        return 1
    from accelerate.commands.launch import launch_command_parser

    for place, word in enumerate(launcher):
        if os.path.basename(word) in LAUNCHERS:
            options, _ = launch_command_parser().parse_known_args(list(launcher[place + 1 :]))
            return options.num_processes or 1
    return 1


def _parent() -> list[str]:
    """The command line of the parent process; empty where the system does not tell."""
    import psutil  # accelerate needs it

    try:
        return list(psutil.Process(os.getppid()).cmdline())
    except psutil.Error:
        return []
