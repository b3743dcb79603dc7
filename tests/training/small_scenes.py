"""A folder of scenes in the published layout, and a recipe small enough for tests."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from concerto.training.recipes import RECIPES, Recipe
from concerto.training.run.loop import LoopConfig
from concerto.training.views.crops import ViewConfig
from conftest import SMALL, random_cloud

SIZE = 64


def write_scenes(folder: Path, samples: int = 3, points: int = 1500) -> Path:
    """Rooms with two images each, which see some of the points anywhere."""
    listing = {}
    for number in range(samples):
        scene = folder / f"room{number}"
        scene.mkdir(parents=True)
        cloud = random_cloud(points, seed=number)
        assert cloud.color is not None
        assert cloud.normal is not None
        np.save(scene / "coord.npy", cloud.coord.numpy())
        np.save(scene / "color.npy", (cloud.color * 255).byte().numpy())
        np.save(scene / "normal.npy", cloud.normal.numpy())
        random = np.random.default_rng(number)
        entry: dict[str, Any] = {"pointclouds": f"data/room{number}"}
        for image in range(2):
            pixels = random.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            picture = Image.fromarray(pixels).resize((SIZE, SIZE))
            picture.save(scene / f"{image}.png")
            seen = random.integers(0, (SIZE, SIZE, points), (400, 3))
            np.save(scene / f"{image}.npy", seen)
            entry.setdefault("images", []).append(f"data/room{number}/{image}.png")
            entry.setdefault("correspondences", []).append(f"data/room{number}/{image}.npy")
        listing[f"room{number}_0"] = entry
    (folder / "splits").mkdir()
    (folder / "splits" / "train.json").write_text(json.dumps(listing))
    return folder


def small_recipe(data: Path, output: Path, **loop: Any) -> Recipe:
    """concerto-tiny, far smaller still."""
    tiny = RECIPES["concerto-tiny"]((str(data),), output)
    return replace(
        tiny,
        loop=replace(
            LoopConfig(
                output=output, batch_size=4, epochs=100, max_steps=4, log_every=1, tracker="none"
            ),
            **loop,
        ),
        model=SMALL.replace(grid_size=0.04),
        objective=replace(tiny.objective, head_hidden=32, head_width=16, prototypes=24),
        views=ViewConfig(
            grid_size=0.04, most_points=600, local_views=2, image_size=SIZE, patch_size=16
        ),
    )


def as_options(recipe: Recipe) -> list[str]:
    """The options that make the same recipe of concerto-tiny."""
    options = ["--recipe", "concerto-tiny", "--data", *recipe.data]
    options += ["--output", str(recipe.loop.output), "--max-steps", str(recipe.loop.max_steps)]
    options += ["--batch-size", str(recipe.loop.batch_size), "--clip-norm", "None"]
    options += ["--log-every", "1", "--tracker", "none", "--picture-every", "0"]
    options += ["--save-every", str(recipe.loop.save_every)]
    for part, names in (
        ("model", ("channels", "depths", "heads", "patch_size", "grid_size", "default_stages")),
        ("objective", ("head_hidden", "head_width", "prototypes")),
        ("views", ("grid_size", "most_points", "local_views", "image_size")),
    ):
        for name in names:
            value = getattr(getattr(recipe, part), name)
            values = value if isinstance(value, tuple) else (value,)
            options += [f"--{part}.{name.replace('_', '-')}", *map(str, values)]
    return options
