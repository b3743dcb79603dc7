"""Where to look at a cloud from: one choice for the picture and for the viewer.

The view comes from above at a fixed elevation, z up, in gentle perspective. At each of sixteen
azimuths the camera steps back till the cloud just fills the frame; the azimuth wins that shows the
most points on the most of the frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from concerto.visualize.room import Room, find_room
from concerto.visualize.strays import core_box, within

ELEVATION = float(np.radians(40.0))
# Off the axes by half a step: rooms and objects stand along them, and show two sides this way.
AZIMUTHS = np.radians(11.25 + 22.5 * np.arange(16))
# Half the angle that the frame's longer side spans: a long lens, for upright edges to stay upright.
HALF_ANGLE = float(np.radians(20.0))
# The share of the frame's half width that stays empty on each side.
MARGIN = 0.06
# Enough points to choose an azimuth by, and how many of them share a pixel meanwhile.
SAMPLE = 2**15
POINTS_PER_PIXEL = 4
# How far behind the nearest point of its pixel a point is still seen, in pixels.
SEEN_DEPTH = 4.0


@dataclass(frozen=True)
class Viewpoint:
    """Where a pinhole camera with z up stands, and what it takes in.

    eye: (3,) float64, metres. azimuth: of the eye around the scene, radians from x towards y.
    elevation: of the eye above the horizon, radians. tangents: (2,) float64, of half the angles
    that the frame's width and height span.
    """

    eye: NDArray[np.float64]
    azimuth: float
    elevation: float
    tangents: NDArray[np.float64]

    @cached_property
    def axes(self) -> NDArray[np.float64]:
        """(3, 3): as rows, the directions right, up, and back from the scene to the eye."""
        return view_axes(self.azimuth, self.elevation)

    def project(self, coord: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.float32]:
        """(N, 3) float32 for coord (N, 3): column, row and depth, all in pixels.

        Depth is the logarithm of the distance, scaled so that at any distance one unit of it is as
        long as one pixel is wide. Points not in front of the eye have NaN.
        """
        right, up, back = ((coord - self.eye) @ self.axes.T).T
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            column = (1 + right / (-back * self.tangents[0])) * size[0] / 2
            row = (1 - up / (-back * self.tangents[1])) * size[1] / 2
            depth = np.log(-back) * size[1] / (2 * self.tangents[1])
            pixels = np.stack([column, row, depth], axis=1).astype(np.float32)
        pixels[~(back < 0)] = np.nan
        return pixels


def best_view(coord: NDArray[np.float64], aspect: float) -> tuple[Viewpoint, Room | None]:
    """The camera that shows the most of coord (N, 3) in a frame of width / height `aspect`.

    With the room that it looks into, less what hides it, or None where coord is no room.
    """
    sample = coord[:: -(-len(coord) // SAMPLE)]
    room = find_room(sample)
    shown = [sample if room is None else sample[room.open_to(sample, a)] for a in AZIMUTHS]
    cameras = [_fill(s, float(a), aspect) for s, a in zip(shown, AZIMUTHS, strict=True)]
    scores = [_score(s, camera, aspect) for s, camera in zip(shown, cameras, strict=True)]
    return cameras[int(np.argmax(scores))], room


def view_axes(azimuth: float, elevation: float) -> NDArray[np.float64]:
    """(3, 3): as rows, right, up and back for an eye at these angles, radians."""
    (sa, ca), (se, ce) = ((np.sin(a), np.cos(a)) for a in (azimuth, elevation))
    return np.array([[-sa, ca, 0], [-ca * se, -sa * se, ce], [ca * ce, sa * ce, se]])


def _fill(coord: NDArray[np.float64], azimuth: float, aspect: float) -> Viewpoint:
    """The camera at `azimuth` whose frame coord (N, 3), less strays, just fills."""
    tangents = np.tan(HALF_ANGLE) * np.array([aspect, 1.0]) / max(aspect, 1.0)
    low, high = core_box(coord)
    centre = (low + high) / 2
    # One place has no extent: it is looked at as if it were a metre wide.
    unit = float((high - low).max()) or 1.0
    axes = view_axes(azimuth, ELEVATION)
    core = (coord[within(coord, low, high)] - centre) @ axes.T
    eye = _fit(core, tangents * (1 - MARGIN), closest=unit)
    return Viewpoint(centre + eye @ axes, azimuth, ELEVATION, tangents)


def _fit(
    points: NDArray[np.float64], tangents: NDArray[np.float64], closest: float
) -> NDArray[np.float64]:
    """The nearest eye (3,) that has points (N, 3) in its frame; both are right, up, back.

    A point at (x, z) is inside the right edge where x - eye_x <= tangent * (eye_z - z), that is
    x + tangent * z <= eye_x + tangent * eye_z, and alike on the left. The tightest point on each
    side gives two lines, and the eye is where they meet; of width and height the farther counts,
    and in the other one the eye then moves till the margins are equal.
    """
    slant = points[:, 2:] * tangents
    above = (points[:, :2] + slant).max(0)
    below = (slant - points[:, :2]).max(0)
    back = max(closest, float(((above + below) / (2 * tangents)).max()))
    eye = (above - below) / 2
    for _ in range(4):
        seen = (points[:, :2] - eye) / (back - points[:, 2:])
        eye += (seen.max(0) + seen.min(0)) / 2 * back
    return np.append(eye, back)


def _score(coord: NDArray[np.float64], camera: Viewpoint, aspect: float) -> int:
    """How many points no other hides times how many pixels they fill, in a coarse picture."""
    height = max(8, int((len(coord) / POINTS_PER_PIXEL / aspect) ** 0.5))
    width = max(8, int(height * aspect))
    points = camera.project(coord, (width, height))
    points = points[((points[:, :2] >= 0) & (points[:, :2] < (width, height))).all(1)]
    pixel = points[:, 1].astype(np.int64) * width + points[:, 0].astype(np.int64)
    nearest = np.full(width * height, np.inf, dtype=np.float32)
    np.minimum.at(nearest, pixel, points[:, 2])
    seen = int((points[:, 2] <= nearest[pixel] + SEEN_DEPTH).sum())
    return seen * int(np.isfinite(nearest).sum())
