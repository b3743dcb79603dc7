"""The most memory that a process held while something ran, as the system saw it (Linux)."""

from __future__ import annotations

from pathlib import Path


class PeakOnCpu:
    """The process's high-water mark between `begin` and `end` (proc(5))."""

    def begin(self) -> None:
        """Forget earlier peaks."""
        Path("/proc/self/clear_refs").write_text("5")
        self.before = self._status("VmRSS")

    def end(self) -> int:
        """Bytes at the peak since `begin`, beyond those held then."""
        return self._status("VmHWM") - self.before

    def _status(self, field: str) -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return 1024 * int(next(line.split()[1] for line in lines if line.startswith(field)))
