"""Damaged files, and what reading takes in memory, both in a process of their own."""

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

import concerto
from benchmarks import fuzz_readers
from concerto.io import WRITERS
from conftest import ROOT, random_cloud

TIMES_FILE = 10
MARGIN_MB = 16

# Reads each file of the command line in a process of its own, forked so that all share one start;
# prints how many MB more it took at its peak.
MEASURE = """
import os, re, sys
from pathlib import Path
import concerto, laspy, lazrs, pypcd4, torch, trimesh

def memory(name):
    return int(re.search(name + r":\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) / 1000

def measure(name):
    before = memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    try:
        concerto.read(name, points=1000 if name.endswith(".obj") else None)
        outcome = "cloud"
    except concerto.ConcertoError as error:
        outcome = "error"
    print(outcome, round(memory("VmHWM") - before, 1), flush=True)

torch.set_num_threads(1)
for name in sys.argv[1:]:
    child = os.fork()
    if not child:
        measure(name)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
"""


def measure(files: list[Path]) -> list[tuple[str, float]]:
    """The outcome and peak in MB of each file."""
    command = [sys.executable, "-c", MEASURE, *map(str, files)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    return [(outcome, float(peak)) for outcome, peak in rows]


def header_bombs(folder: Path) -> list[Path]:
    """Files of some hundred bytes whose headers claim gigabytes."""
    ply = "ply\nformat {} 1.0\nelement vertex 2000000000\n{}end_header\n1 2 3\n"
    xyz = "".join(f"property float {axis}\n" for axis in "xyz")
    pcd = (
        "VERSION .7\nFIELDS x y z\nSIZE 4 4 4\nTYPE F F F\nCOUNT 1 1 1\nWIDTH 2000000000\n"
        "HEIGHT 1\nVIEWPOINT 0 0 0 1 0 0 0\nPOINTS 2000000000\nDATA {}\n"
    )
    npy = b"\x93NUMPY\x01\x00v\x00" + (
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (2000000000, 3), }".ljust(117) + b"\n"
    )
    contents = {
        "text.ply": ply.format("ascii", xyz).encode(),
        "binary.ply": ply.format("binary_little_endian", xyz).encode(),
        "text.pcd": pcd.format("ascii").encode(),
        "binary.pcd": pcd.format("binary").encode(),
        "packed.pcd": pcd.format("binary_compressed").encode()
        + b"\x08\0\0\0\xff\xff\xff\xff"
        + b"\0" * 8,
        "a.npy": npy,
        "a.off": b"OFF\n2000000000 2000000000 0\n0 0 0\n",
        "a.gltf": b'{"asset":{"version":"2.0"},"bufferViews":[],'
        b'"accessors":[{"count":2000000000,"type":"VEC3","componentType":5126}]}',
    }
    for suffix in (".las", ".laz"):
        file = folder / f"plain{suffix}"
        concerto.write(file, random_cloud(5))
        content = bytearray(file.read_bytes())
        content[247:255] = (10**9).to_bytes(8, "little")
        contents[f"points{suffix}"] = bytes(content)
        content[247:255] = (5).to_bytes(8, "little")
        content[100:104] = b"\xff" * 4
        contents[f"records{suffix}"] = bytes(content)
    files = []
    for name, content in contents.items():
        files.append(folder / name)
        files[-1].write_bytes(content)
    with zipfile.ZipFile(folder / "deflated.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("coord.npy", npy + b"\0" * 60_000_000)
    return [*files, folder / "deflated.npz"]


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="measures as Linux does")
def test_headers_that_claim_gigabytes_are_refused_without_taking_them(tmp_path: Path) -> None:
    bombs = header_bombs(tmp_path)
    for file, (outcome, peak) in zip(bombs, measure(bombs), strict=True):
        assert outcome == "error", file.name
        assert peak < MARGIN_MB, f"{file.name} took {peak} MB"


def obj_files(folder: Path, count: int) -> list[Path]:
    """Of the shortest lines and the fewest bytes a triangle."""
    corners = "v 0 0 1\nv 0 1 0\nv 1 0 0\n"
    long, short = count // 25, "1 2 3 " * 100
    contents = {
        "vertices": "v 0 0 1\n" * count,
        "colors": "v 0 0 1 0 0 1\n" * count,
        "uv": corners + "f 1 2 3\n" + "vt 0\n" * 2 * count,
        "faces": corners + "f 1 2 3\n" * count,
        "both": "v 0 0 1\n" * count + "v 1 0 0\nv 0 1 0\n" + "f 1 -1 -2\n" * count,
        "normals": corners + "vt 0 0\nvn 0 0 1\n" + "f 1/1/1 2/1/1 3/1/1\n" * count,
        "slashes": corners + "vt 0\n" + "f 1/1 2/1 3/1\n" * count,
        "polygons": corners + f"f {short}\n" * long,
        "late_uv": corners + "vt 0\n" + f"f {short}\n" * long + "f 1/1 2/1 3/1\n",
        "materials": corners + "usemtl a\nf 1 2 3\n" * count,
        "names": corners + "".join(f"usemtl {i}\n" for i in range(count)) + "f 1 2 3\n",
    }
    files = [folder / f"{name}.obj" for name in contents]
    for file, content in zip(files, contents.values(), strict=True):
        file.write_text(content)
    return files


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="measures as Linux does")
def test_reading_takes_at_most_ten_times_the_file(tmp_path: Path) -> None:
    cloud, points = random_cloud(400_000), 400_000
    files = [tmp_path / f"a{suffix}" for suffix in WRITERS if suffix not in (".npz", ".laz")]
    for file in files:
        concerto.write(file, cloud)
    ones = {".xyz": "1 1 1", ".csv": "1,1,1,1,1,1", ".txt": "1 1 1 1 1 1 0 0 1"}
    for suffix, row in ones.items():
        files.append(tmp_path / f"a{suffix}")
        files[-1].write_text(f"{row}\n" * 3 * points)
    for width in (3, 6, 9):
        files.append(tmp_path / f"{width}.npy")
        np.save(files[-1], np.ones((4 * points, width), np.uint8))
    files.append(tmp_path / "a.bin")
    np.ones((points, 4), np.float32).tofile(files[-1])
    files.append(tmp_path / "a.off")
    files[-1].write_text(f"OFF\n{points} 0 0\n" + "0.25 0.5 0.75\n" * points)
    files += obj_files(tmp_path, points)
    for file, (outcome, peak) in zip(files, measure(files), strict=True):
        assert outcome == "cloud", file.name
        size = file.stat().st_size / 1e6
        assert peak < TIMES_FILE * size, f"{file.name}: {peak} MB for {size} MB"


def test_damaged_files_give_a_cloud_or_one_of_our_errors(
    capsys: pytest.CaptureFixture[str],
) -> None:
    broken = fuzz_readers.main(mutations=1500)
    told = capsys.readouterr().out
    assert not broken, told
    rows = re.findall(r"^(\.\w+) +(\d+) +(\d+) +0 ", told, re.MULTILINE)
    assert len(rows) >= 15
    assert sum(int(clouds) for _, clouds, _ in rows) > 100
    assert sum(int(errors) for _, _, errors in rows) > 100
