"""Make the packaged sample room: a procedural one (docs/rooms.md), free of anyone's rights.

It is none of those that the packaged model was trained on.
Run from the repository's root: python scripts/make_sample_room.py
"""

from pathlib import Path

import numpy as np

from concerto.training.prepare.rooms.options import RoomOptions
from concerto.training.prepare.rooms.scene import room_samples

NUMBER = 100_047
TARGET = Path(__file__).parents[1] / "concerto" / "assets" / "sample_room.npz"


def make(target: Path) -> None:
    """Write the room: coordinates in float16 (2 mm), colours and normals in 8 bits."""
    room = room_samples(NUMBER, RoomOptions())[0]
    # Neighbours in the file are neighbours in space: it compresses better.
    order = np.lexsort((*np.floor(room.coord.T / 0.1),))
    np.savez_compressed(
        target,
        coord=room.coord[order].astype(np.float16),
        color=room.color[order],
        normal=np.round(room.normal[order] * 127).astype(np.int8),
    )


if __name__ == "__main__":
    make(TARGET)
    print(f"{TARGET}  {TARGET.stat().st_size:,} bytes")
