"""Which way is up: recordings often start with the camera's first pose for a world.

Rooms are built of level and upright surfaces, and cameras are held roughly upright. So up is the
direction, within reach of the cameras' own, that the most of all normals are along or across.

Images of a phone held in portrait may be stored as its sensor lies, on their side; their cameras'
own up is then level. A world that stands is known by its z, which such cameras turn about.
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
# A camera turns about up most of all, so that the mean of its axis along it is longest, or nearly;
# where the mean up of cameras is as short as SHORTEST, they say nothing.
SLACK, SHORTEST = 0.1, 0.05
# The share of the best direction's score from which on the world's own z is as good.
ALIKE = 0.9
# Normals to try as directions, and to score them by: more find nothing else.
CANDIDATES, VOTERS = 512, 20_000
Z = np.array([0.0, 0.0, 1.0])


def upright(normal: Floats, poses: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """The rotation (3, 3) float64 that brings a recording's up to z; identity where it is there.

    normal: (n, 3) of the fused cloud. poses: camera to world, (4, 4) each, y of a camera downward.
    """
    voters = np.asarray(normal[:: max(1, len(normal) // VOTERS)], np.float64)
    side, down = np.mean([pose[:3, :2] for pose in poses], axis=0).T
    agreed = float(np.linalg.norm(down))
    up = _refined(voters, -down / agreed if agreed > SHORTEST else Z)
    if _turn_about_z(side, agreed) and not any(map(_is_the_world, poses)):
        of_z, of_up = _scores(np.stack([Z, up]), voters)
        if of_z >= ALIKE * of_up:
            return np.eye(3)
    return np.eye(3) if up[2] > np.cos(LEVEL) else rotation_to_z(up)


def _turn_about_z(side: NDArray[np.float64], agreed: float) -> bool:
    """Whether cameras turn about z while they lie on their side.

    side: (3,), the mean of their x. agreed: how long the mean of their y is.
    """
    return bool(abs(side[2]) > np.cos(REACH) and np.linalg.norm(side) > agreed - SLACK)


def _is_the_world(pose: NDArray[np.float64]) -> bool:
    """Whether the world began with this camera: its axes are the world's, but for signs. Then z is
    where it looked, and others may have turned till their x leads there."""
    return bool((np.abs(np.diag(pose)[:3]) > np.cos(CLOSE)).all())


def _refined(voters: NDArray[np.float64], held: NDArray[np.float64]) -> NDArray[np.float64]:
    """The normal within REACH of `held` that agrees best with all, averaged over those like it."""
    near = voters[voters @ held > np.cos(REACH)]
    if not len(near):
        return held
    candidates = near[:: max(1, len(near) // CANDIDATES)]
    best = candidates[_scores(candidates, voters).argmax()]
    for _ in range(3):
        best = near[near @ best > np.cos(CLOSE)].mean(0)
        best = best / np.linalg.norm(best)
    return np.asarray(best)


def _scores(candidates: NDArray[np.float64], voters: NDArray[np.float64]) -> NDArray[np.int64]:
    """How many of the voters (n, 3) are along or across each of the candidates (m, 3)."""
    along = np.abs(candidates @ voters.T)
    return np.asarray((along > np.cos(CLOSE)).sum(1) + (along < np.sin(CLOSE)).sum(1))


def rotation_to_z(up: NDArray[np.float64]) -> NDArray[np.float64]:
    """The smallest rotation that brings a unit vector to z."""
    x, y, z = up
    if z < -1 + 1e-9:
        return np.diag([1.0, -1.0, -1.0])
    # Rodrigues' formula about the axis up × z.
    skew = np.array([[0, 0, -x], [0, 0, -y], [x, y, 0]])
    return np.asarray(np.eye(3) + skew + skew @ skew / (1 + z))
