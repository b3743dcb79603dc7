"""What it costs to get ready: `python -m benchmarks.load [--runs 5]`.

`import concerto` beyond `import torch`, and `from_pretrained` of each size from safetensors, set
against reading the bytes of the same file into memory. Weights stay in the file until they are
used, so "first use" is timed too: loading, and then going once over every weight. Each number is
taken in a fresh process, all in turns; the files are in the system's cache.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from benchmarks.peak import PeakOnCpu
from benchmarks.rows import in_own_process

SIZES = ("tiny", "small", "base", "large")
WEIGHTS = "model.safetensors"
MIB = 2**20
Numbers = dict[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--output", type=Path, default=Path("out/load.json"))
    parser.add_argument("--measure", choices=MEASURES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(MEASURES[options.measure](options.folder)))
        return
    with tempfile.TemporaryDirectory() as place:
        folders = [_saved(Path(place), size) for size in SIZES]
        runs: dict[str, list[Numbers]] = defaultdict(list)
        for _ in range(options.runs):
            runs["import"].append(_in_a_process("import", Path(place)))
            for folder in folders:
                both = [_in_a_process(measure, folder) for measure in ("read", "load")]
                runs[folder.name].append(both[0] | both[1])
        rows = {name: _medians(each) for name, each in runs.items()}
        _report(rows, {folder.name: (folder / WEIGHTS).stat().st_size for folder in folders})
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(rows, indent=1) + "\n")


def measure_import(_: Path) -> Numbers:
    """The library, where torch is there already."""
    start = time.perf_counter()
    import torch  # noqa: F401

    torch_seconds = time.perf_counter() - start
    peak = PeakOnCpu()
    peak.begin()
    start = time.perf_counter()
    import concerto  # noqa: F401

    seconds = time.perf_counter() - start
    return {"torch": torch_seconds, "concerto": seconds, "memory": peak.end()}


def measure_load(folder: Path) -> Numbers:
    """A model, and every weight once."""
    import concerto

    peak = PeakOnCpu()
    peak.begin()
    start = time.perf_counter()
    model = concerto.from_pretrained(folder)
    loaded, memory = time.perf_counter(), peak.end()
    for weight in model.parameters():
        weight.sum()
    used = time.perf_counter()
    return {"load": loaded - start, "use": used - start, "memory": memory, "used": peak.end()}


def measure_read(folder: Path) -> Numbers:
    """The bytes of the file alone."""
    import concerto  # noqa: F401  the same kind of process

    start = time.perf_counter()
    content = (folder / WEIGHTS).read_bytes()
    seconds = time.perf_counter() - start
    del content
    return {"read": seconds}


MEASURES = {"import": measure_import, "load": measure_load, "read": measure_read}


def _saved(place: Path, size: str) -> Path:
    """A folder with random weights of a preset."""
    from concerto import Concerto, ConcertoConfig

    Concerto(ConcertoConfig.preset(size)).save_pretrained(place / size)  # type: ignore[arg-type]
    return place / size


def _in_a_process(measure: str, folder: Path) -> Numbers:
    numbers: Numbers = json.loads(in_own_process("load", "--measure", measure, "--folder", folder))
    return numbers


def _medians(runs: list[Numbers]) -> Numbers:
    """Of each number; of ratios, the median of those taken within one run."""
    if "read" in runs[0]:
        ratios = {"load / read": ("load", "read"), "use / read": ("use", "read")}
        runs = [run | {name: run[a] / run[b] for name, (a, b) in ratios.items()} for run in runs]
    return {name: statistics.median(run[name] for run in runs) for name in runs[0]}


def _report(rows: dict[str, Numbers], bytes_of: dict[str, int]) -> None:
    start = rows["import"]
    print(
        f"import torch {start['torch']:.2f} s; import concerto {start['concerto']:.2f} s more, "
        f"{start['memory'] / MIB:.0f} MiB"
    )
    print(
        f"{'size':6}{'file MiB':>9}{'read s':>9}{'load s':>9}{'first use':>11}{'load / read':>13}"
        f"{'use / read':>12}{'peak MiB, loaded':>18}{'used':>7}"
    )
    for size, size_bytes in bytes_of.items():
        row = rows[size]
        print(
            f"{size:6}{size_bytes / MIB:9.0f}{row['read']:9.3f}{row['load']:9.3f}{row['use']:11.3f}"
            f"{row['load / read']:13.2f}{row['use / read']:12.2f}{row['memory'] / MIB:18.0f}"
            f"{row['used'] / MIB:7.0f}"
        )


if __name__ == "__main__":
    main()
