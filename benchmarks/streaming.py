"""What keeping up with a camera takes, against encoding everything at every keyframe.

`python -m benchmarks.streaming` lets a real kitchen pass by. At every keyframe a `Stream` updates
its features; every few keyframes, the same map is also encoded as a whole, around the same origin,
and times and features are compared. Exits with 1 where a promise is broken. Times are of one
thread's processor, since both ways use the same kernels.
"""

from __future__ import annotations

import argparse
import copy
import os
import statistics
import sys
import time
from pathlib import Path

import torch
from torch.nn import functional as F

import concerto
from concerto.lifting.layouts import open_recording

SHARED = Path(os.environ.get("CONCERTO_SHARED", "../shared"))
PRESETS = ("small", "base", "large")
# What is promised.
MOST_TIME, LEAST_COSINE = 1 / 3, 0.95


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recording", nargs="?", type=Path, default=SHARED / "data" / "kitchen")
    parser.add_argument("--model", default="base", help="a name, or a preset's, untrained")
    parser.add_argument("--first", type=int, default=40, help="frames that the map begins with")
    parser.add_argument("--every", type=int, default=1, help="use every n-th frame")
    parser.add_argument("--compare", type=int, default=10, help="at every n-th keyframe")
    options = parser.parse_args()
    torch.set_num_threads(1)
    times, wholes, cosines = stream(options)
    ratio = statistics.median(times) / statistics.median(wholes)
    cosine = min(cosines)
    print(
        f"update / everything: {ratio:.2f} (promised <= {MOST_TIME:.2f}); "
        f"cosine, median point, at the worst keyframe: {cosine:.4f} (>= {LEAST_COSINE:g})"
    )
    sys.exit(ratio > MOST_TIME or cosine < LEAST_COSINE)


def stream(options: argparse.Namespace) -> tuple[list[float], list[float], list[float]]:
    """Seconds of each update, seconds of everything, and median cosines where both were made."""
    recording = open_recording(options.recording)
    alignment = concerto.lift(options.recording, align="up", every=10).alignment
    live = concerto.Stream(model_of(options.model), alignment=alignment)
    frames = recording.frames[:: options.every]
    keyframes = concerto.Keyframes()
    times, wholes, cosines = [], [], []
    for number, files in enumerate(frames):
        frame = recording.read(files)
        if not keyframes.wants(frame.pose):
            continue
        live.add(frame)
        if number < options.first:
            continue
        began = time.process_time()
        update = live.update()
        if number == options.first:
            continue
        times.append(time.process_time() - began)
        print(
            f"frame {number}: {update.points} points, {update.changed} changed, "
            f"{update.encoded} encoded again, {times[-1]:.2f} s",
            flush=True,
        )
        if len(times) % options.compare == 0:
            whole = copy.copy(live)
            began = time.process_time()
            whole.encode_all()
            wholes.append(time.process_time() - began)
            cosine = F.cosine_similarity(live.features(), whole.features())
            cosines.append(float(cosine.median()))
            print(
                f"  everything: {wholes[-1]:.2f} s; cosine {cosines[-1]:.4f} on the median point, "
                f"{float(cosine.kthvalue(len(cosine) // 10).values):.4f} on the tenth worst",
                flush=True,
            )
    return times, wholes, cosines


def model_of(name: str) -> concerto.Concerto:
    """A model by its name, or a preset with random weights."""
    if name not in PRESETS:
        return concerto.from_pretrained(name)
    torch.manual_seed(0)
    return concerto.Concerto(concerto.ConcertoConfig.preset(name)).eval()


if __name__ == "__main__":
    main()
