"""Which way is up: recordings often start with the camera's first pose for a world.

Rooms are built of level and upright surfaces, and cameras are held roughly upright. So up is the
direction, within reach of the cameras' own, that the most of all normals are along or across.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]

# How far up may be from the cameras' mean: one that looks down at a table by 40° is ordinary.
REACH = np.radians(50)
# How far a normal may be from along or across to count.
CLOSE = np.radians(8)
# A world whose up is this near to z was levelled by whoever made it; it is left as it is.
LEVEL = np.radians(5)
# Normals to try as directions, and to score them by: more find nothing else.
CANDIDATES, VOTERS = 512, 20_000


def upright(normal: Floats, poses: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """The rotation (3, 3) float64 that brings a recording's up to z; identity where it is there.

    normal: (n, 3) of the fused cloud. poses: camera to world, (4, 4) each, y of a camera downward.
    """
    held = -np.mean([pose[:3, 1] for pose in poses], axis=0)
    up = _refined(np.asarray(normal, np.float64), held / np.linalg.norm(held))
    return np.eye(3) if up[2] > np.cos(LEVEL) else rotation_to_z(up)


def _refined(normal: NDArray[np.float64], held: NDArray[np.float64]) -> NDArray[np.float64]:
    """The normal within REACH of `held` that agrees best with all, averaged over those like it."""
    voters = normal[:: max(1, len(normal) // VOTERS)]
    near = voters[voters @ held > np.cos(REACH)]
    if not len(near):
        return held
    candidates = near[:: max(1, len(near) // CANDIDATES)]
    along = np.abs(candidates @ voters.T)
    score = (along > np.cos(CLOSE)).sum(1) + (along < np.sin(CLOSE)).sum(1)
    best = candidates[score.argmax()]
    for _ in range(3):
        best = near[near @ best > np.cos(CLOSE)].mean(0)
        best = best / np.linalg.norm(best)
    return np.asarray(best)


def rotation_to_z(up: NDArray[np.float64]) -> NDArray[np.float64]:
    """The smallest rotation that brings a unit vector to z."""
    x, y, z = up
    if z < -1 + 1e-9:
        return np.diag([1.0, -1.0, -1.0])
    # Rodrigues' formula about the axis up × z.
    skew = np.array([[0, 0, -x], [0, 0, -y], [x, y, 0]])
    return np.asarray(np.eye(3) + skew + skew @ skew / (1 + z))
