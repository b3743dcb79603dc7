"""Read damaged files: `python -m benchmarks.fuzz_readers --mutations 20000`.

Intact scans, written here and found in the folder of shared data, are damaged at random: bytes
changed, removed, inserted, repeated, numbers of headers made extreme. Each must give a cloud or one
of our errors, within ten times its size of memory and a margin, and within some seconds. Files are
read in a second process, so that its end is seen too. Prints a table; exits with 1 where a file
breaks the promise, and leaves that file in --keep.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import re
import struct
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

import laspy
import lazrs  # noqa: F401  like the others here, so that it does not count as a reader's
import numpy as np
import pypcd4
import torch
import trimesh
import tyro
from plyfile import PlyData, PlyElement

from concerto import ConcertoError, PointCloud, read, write
from concerto.io import MESHES, WRITERS

SECONDS = 20.0
TIMES_FILE = 10
# Libraries set up on first use, small allocations, and the clouds of small meshes.
MARGIN_MB = 32
EXTREMES = (-1, 0, 1, 127, 255, 65535, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**62)
Add = Callable[..., Path]  # (name, content) writes an intact file
NUMBER = re.compile(rb"\d+")


@dataclass
class Tally:
    """What the mutations of one format came to."""

    outcomes: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    peak_mb: float = 0.0


def main(mutations: int = 20_000, seed: int = 0, keep: Path | None = None) -> int:
    """Damage files, read them, and count.

    Args:
        mutations: How many, over all formats.
        seed: The same seed damages in the same way.
        keep: Folder for the files that break the promise.
    """
    with tempfile.TemporaryDirectory() as folder:
        intact = make_files(Path(folder))
        each = -(-mutations // len(intact))
        tallies = {suffix: Tally() for suffix in intact}
        worker = Worker()
        for suffix, files in intact.items():
            random = np.random.default_rng([seed, *suffix.encode()])
            place = Path(folder) / f"damaged{suffix}"
            for number in range(each):
                content = mutate(files[number % len(files)].read_bytes(), random)
                place.write_bytes(content)
                outcome, seconds, peak = worker.read(place)
                tally = tallies[suffix]
                if peak > TIMES_FILE * len(content) / 1e6 + MARGIN_MB:
                    outcome = "memory"
                tally.outcomes[outcome] += 1
                tally.seconds += seconds
                tally.peak_mb = max(tally.peak_mb, peak)
                if outcome not in ("cloud", "error"):
                    print(f"{suffix} mutation {number}: {outcome}", flush=True)
                    if keep:
                        keep.mkdir(parents=True, exist_ok=True)
                        (keep / f"{number}{suffix}").write_bytes(content)
        worker.stop()
    return report(tallies)


def report(tallies: dict[str, Tally]) -> int:
    """Print the table; 1 where something broke."""
    print(f"{'format':<8}{'clouds':>8}{'errors':>8}{'broken':>8}{'seconds':>9}{'peak MB':>9}")
    broken = 0
    for suffix, tally in tallies.items():
        bad = sum(n for outcome, n in tally.outcomes.items() if outcome not in ("cloud", "error"))
        broken += bad
        print(
            f"{suffix:<8}{tally.outcomes['cloud']:>8}{tally.outcomes['error']:>8}{bad:>8}"
            f"{tally.seconds:>9.1f}{tally.peak_mb:>9.0f}"
        )
    return int(broken > 0)


def make_files(folder: Path) -> dict[str, list[Path]]:
    """Intact files of every suffix: written ones of 200 points, and the real scans at hand."""
    random = torch.Generator().manual_seed(0)
    coord, color = torch.rand(200, 3, generator=random), torch.rand(200, 3, generator=random)
    plain = PointCloud(coord)
    whole = PointCloud(coord.double() + 5e5, color, color)
    files: dict[str, list[Path]] = {}

    def add(name: str, content: bytes = b"") -> Path:
        file = folder / name
        file.write_bytes(content)
        files.setdefault(file.suffix, []).append(file)
        return file

    for suffix in WRITERS:
        write(add(f"plain{suffix}"), plain)
        write(add(f"whole{suffix}"), whole, features=color, classes=torch.arange(200))
    _add_variants(add, whole)
    table = np.column_stack([whole.coord, (color * 255).round()])
    np.save(add("table.npy"), table)
    for suffix, separator in ((".xyz", " "), (".txt", "\t"), (".csv", ",")):
        lines = [separator.join(f"{v:g}" for v in row) for row in table]
        header = separator.join(["x", "y", "z", "red", "green", "blue"])
        add(f"table{suffix}", "\n".join(lines).encode())
        add(f"named{suffix}", "\n".join(["// a comment", header, *lines]).encode())
    add("four.bin", np.float32(np.column_stack([coord, color[:, 0]])).tobytes())
    add(
        "five.bin", np.float32(np.column_stack([coord, color[:, 0], np.arange(200) % 32])).tobytes()
    )
    ball, box = trimesh.creation.icosphere(1), trimesh.creation.box()
    ball.visual.vertex_colors = np.arange(4 * len(ball.vertices)).reshape(-1, 4) % 256
    for suffix in (suffix for suffix in MESHES if suffix != ".gltf"):
        for name, shape in (("ball", ball), ("box", box)):
            shape.export(add(f"{name}{suffix}"))
    obj = "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0 # a corner\nvt 0 0\nvt 1 1\nvn 0 0 1\nusemtl m\n"
    add("square.obj", f"mtllib m.mtl\n{obj}f 1/1/1 2/2/1 \\\n3/1/1 4\nf -1 -2//1 -3\n".encode())
    (folder / "m.mtl").write_bytes(b"newmtl m\nKd 1 0 0\n")
    parts = trimesh.Scene([ball, box]).export(file_type="gltf", embed_buffers=True)
    add("scene.gltf", parts["model.gltf"])
    add("ball.stl", trimesh.exchange.stl.export_stl_ascii(ball).encode())
    shared = Path(os.environ.get("CONCERTO_SHARED", Path(__file__).parents[2] / "shared"))
    for scan in sorted((shared / "data" / "scans").glob("*")):
        if scan.suffix in files:
            add(f"real_{scan.name}", scan.read_bytes())
    return files


def _add_variants(add: Add, whole: PointCloud) -> None:
    """Layouts that are read and not written: PLY in text, with faces; PCD in text, compressed."""
    again = {suffix: add(f"again{suffix}") for suffix in (".ply", ".pcd")}
    for file in again.values():
        write(file, whole)
    ply = PlyData.read(str(again[".ply"]))
    faces = np.array([([0, 1, 2],), ([2, 3, 4],)], dtype=[("vertex_indices", "i4", (3,))])
    elements = [ply["vertex"], PlyElement.describe(faces, "face")]
    PlyData(elements, text=True).write(str(add("text.ply")))
    PlyData(elements, byte_order=">").write(str(add("big.ply")))
    pcd = pypcd4.PointCloud.from_path(again[".pcd"])
    pcd.save(add("text.pcd"), pypcd4.Encoding.ASCII)
    pcd.save(add("packed.pcd"), pypcd4.Encoding.BINARY_COMPRESSED)
    las = laspy.LasData(laspy.LasHeader(version="1.2", point_format=3))
    las.xyz = whole.coord.numpy()
    las.red = np.arange(200)
    for suffix in (".las", ".laz"):  # the point formats before LAS 1.4 are compressed otherwise
        las.write(str(add(f"old{suffix}")))


def mutate(content: bytes, random: np.random.Generator) -> bytes:
    """One damage, or up to three."""
    for _ in range(random.choice([1, 1, 1, 2, 3])):
        content = random.choice([flip, cut, insert, repeat, claim, claim])(content, random)
    return content


def flip(content: bytes, random: np.random.Generator) -> bytes:
    """Other bytes at up to 8 places."""
    changed = bytearray(content)
    for _ in range(random.integers(1, 9)):
        if changed:
            changed[_place(len(changed), random)] = random.integers(256)
    return bytes(changed)


def cut(content: bytes, random: np.random.Generator) -> bytes:
    """The end removed, or a piece."""
    start, end = sorted(random.integers(0, len(content) + 1, 2))
    return content[:start] + (content[end:] if random.random() < 0.5 else b"")


def insert(content: bytes, random: np.random.Generator) -> bytes:
    place = _place(len(content) + 1, random)
    return content[:place] + random.bytes(random.integers(1, 65)) + content[place:]


def repeat(content: bytes, random: np.random.Generator) -> bytes:
    start, end = sorted(random.integers(0, len(content) + 1, 2))
    return content[:end] + content[start : start + 4096] + content[end:]


def claim(content: bytes, random: np.random.Generator) -> bytes:
    """An extreme number in the header: a decimal one replaced, or four or eight bytes."""
    extreme = int(random.choice(EXTREMES))
    numbers = [m.span() for m in NUMBER.finditer(content[:2000])]
    if numbers and random.random() < 0.6:
        start, end = numbers[random.integers(len(numbers))]
        return content[:start] + str(extreme).encode() + content[end:]
    width, code = (4, "<I") if random.random() < 0.7 else (8, "<Q")
    packed = struct.pack(code, extreme % 2 ** (8 * width))
    place = _place(max(len(content) - width, 1), random)
    return content[:place] + packed + content[place + width :]


def _place(length: int, random: np.random.Generator) -> int:
    """A place in the file, half the time in its first 512 bytes."""
    return int(random.integers(0, min(length, 512) if random.random() < 0.5 else length))


class Worker:
    """A process that reads files; another takes its place where it ends or hangs."""

    def __init__(self) -> None:
        self.start()

    def start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs,), daemon=True)
        self.process.start()
        theirs.close()
        self.pipe.recv()

    def stop(self) -> None:
        self.process.kill()
        self.process.join()

    def read(self, file: Path) -> tuple[str, float, float]:
        """What came of it, in how many seconds, and with how many MB more at the peak."""
        start = time.monotonic()
        self.pipe.send(str(file))
        try:
            if self.pipe.poll(SECONDS):
                outcome, peak = self.pipe.recv()
                return outcome, time.monotonic() - start, peak
            outcome = "hang"
        except (EOFError, ConnectionResetError):
            self.process.join()
            outcome = f"end of the process ({self.process.exitcode})"
        self.stop()
        self.start()
        return outcome, time.monotonic() - start, 0.0


def serve(pipe: Connection) -> None:
    """In the worker: read what the pipe names, until it closes."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # Rust says there where it gives up
    logging.disable()
    warnings.simplefilter("ignore")
    pipe.send("ready")
    for name in iter(pipe.recv, None):
        before = _memory("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins again
        outcome = attempt(Path(name))
        pipe.send((outcome, max(0.0, _memory("VmHWM") - before)))


def attempt(file: Path) -> str:
    """cloud, error, or the name of what should not have been raised."""
    try:
        # Fewer points than without the option, so that their number is not what is measured.
        cloud = read(file, points=1000) if file.suffix in MESHES else read(file)
    except ConcertoError:
        return "error"
    except BaseException as error:
        return f"{type(error).__name__}: {error}"[:200]
    shapes = {tuple(t.shape) for t in (cloud.coord, cloud.color, cloud.normal) if t is not None}
    return "cloud" if shapes == {(len(cloud), 3)} and len(cloud) else f"a cloud of {shapes}"


def _memory(name: str) -> float:
    """A row of /proc/self/status, in MB."""
    found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) / 1000


if __name__ == "__main__":
    sys.exit(tyro.cli(main))
