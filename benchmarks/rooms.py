"""What procedural rooms hold and take: points, classes, seconds of one core a room.

python -m benchmarks.rooms        # 60 rooms, some minutes
"""

from __future__ import annotations

import time

import numpy as np
import tyro
from tqdm import tqdm

from concerto.training.prepare.rooms.classes import CLASSES
from concerto.training.prepare.rooms.options import RoomOptions
from concerto.training.prepare.rooms.scene import room_samples

# A class of fewer points is not counted as being in a room's cloud.
LEAST = 30


def main(scenes: int = 60, seed: int = 0) -> None:
    """Make rooms as `prepare rooms` does, keep none, and print what is in them."""
    options = RoomOptions(scenes=scenes, seed=seed)
    points, found, seconds = [], np.zeros(len(CLASSES)), []
    for number in tqdm(range(scenes), unit="room"):
        start = time.process_time()
        sample = room_samples(number, options)[0]
        seconds.append(time.process_time() - start)
        assert sample.segment is not None
        points.append(len(sample.segment))
        counts = np.bincount(sample.segment[sample.segment >= 0], minlength=len(CLASSES))
        found += counts >= LEAST
    low, middle, high, most = np.percentile(points, [0, 50, 90, 100])
    print(f"points    {low:.0f} to {most:.0f}, median {middle:.0f}, a tenth above {high:.0f}")
    print(f"seconds   {np.mean(seconds):.1f} of one core, at most {max(seconds):.1f}")
    for name, share in zip(CLASSES, found / scenes, strict=True):
        print(f"{name:9s} {share:.0%}")


if __name__ == "__main__":
    tyro.cli(main)
