"""What a real camera makes of a view: exposure, colour cast and grain; depth with holes."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from concerto.lifting.surface import noise as depth_noise
from concerto.training.prepare.rooms.colors import to_srgb
from concerto.training.prepare.rooms.parts import Floats
from concerto.training.prepare.rooms.render import Picture

# Steps of depth: 1/32 pixel of disparity, of a 580-pixel camera with a base of 75 mm.
DISPARITY = 580 * 0.075 * 32
FARTHEST = 5.0
NEAREST = 0.4
# Share of a Kinect's noise that is left: newer sensors are better, and frames are many as a rule.
NOISE = 0.35
# Cosine between surface and line of sight below which a sensor sees nothing.
GRAZING = 0.12


def develop(picture: Picture, rng: Generator, balance: Floats) -> np.ndarray:
    """The photograph (h, w, 3) uint8. balance: (3,) the camera's white balance."""
    from scipy.ndimage import gaussian_filter

    light = picture.light * balance
    level = float(np.exp(np.mean(np.log(light.mean(-1) + 0.02))))
    exposed = light * (0.24 / level) * 2 ** float(rng.normal(scale=0.2))
    # A soft shoulder: highlights are kept, shadows hardly change.
    toned = exposed * (1 + exposed / 9) / (1 + exposed)  # Reinhard et al. 2002, eq. 4
    toned = gaussian_filter(toned * 1.25, (0.35, 0.35, 0))
    grain = rng.normal(size=toned.shape).astype(np.float32)
    toned = toned + grain * np.sqrt(toned.clip(0) * 2e-5 + 4e-6) * rng.uniform(0.5, 2.0)
    shown = to_srgb(toned.astype(np.float32))
    return np.asarray((shown * 255).round().clip(0, 255), np.uint8)


def white_balance(rng: Generator) -> Floats:
    """How far a camera's colours are off: towards amber or blue, less towards green or pink."""
    amber, green = rng.normal(scale=(0.06, 0.015))
    return np.asarray(np.exp([amber, green, -amber]), np.float32)


def measure(picture: Picture, rng: Generator) -> Floats:
    """Depth (h, w) float32 metres as a structured-light camera measures it, 0 where it does not.

    Noise grows with the square of the distance and is alike over a few pixels; depth comes in steps
    of disparity; edges, grazing and shiny surfaces, and what is too far, leave holes.
    """
    from scipy.ndimage import gaussian_filter, map_coordinates, maximum_filter, minimum_filter

    depth = picture.depth
    shape = depth.shape
    wobble = gaussian_filter(rng.normal(size=(2, *shape)), (0, 1, 1)) * 1.2
    where = np.indices(shape) + wobble
    shifted = map_coordinates(depth, where, order=0, mode="nearest")
    smooth = gaussian_filter(rng.normal(size=shape), 1.0)
    smooth /= smooth.std()
    fine = rng.normal(size=shape)
    spread = depth_noise(shifted.clip(NEAREST)) * NOISE
    measured = shifted + spread * (0.8 * smooth + 0.5 * fine)
    disparity = np.rint(DISPARITY / measured.clip(0.1))
    measured = DISPARITY / disparity.clip(1)
    edge = (maximum_filter(depth, 3) - minimum_filter(depth, 3)) > 0.04 * depth
    patches = gaussian_filter(rng.normal(size=shape), 2.5)
    patches = (patches / patches.std()).clip(-3, 3)
    likely = picture.holes + 0.55 * edge + 0.9 * (picture.facing < GRAZING)
    missed = rng.random(shape) < 0.01
    missed |= (patches + 3) / 6 > 1 - _share(likely)
    bad = missed | (depth <= NEAREST) | (measured > FARTHEST) | (picture.kind < 0)
    return np.where(bad, 0, measured).astype(np.float32)


def _share(likely: Floats) -> Floats:
    """The threshold of a clipped normal value, mapped to 0-1, that so large a share exceeds."""
    from scipy.special import ndtri

    share = np.asarray(likely, np.float64).clip(1e-4, 0.999)
    return np.where(likely > 0, ((ndtri(share) + 3) / 6).clip(0, 1), 0).astype(np.float32)
