"""transformers' depth models as geometry: depths in metres where poses and cameras are known."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from concerto.devices import usable_device
from concerto.errors import InputError
from concerto.extras import import_extra
from concerto.lifting.frame import Intrinsics
from concerto.lifting.geometry import Images, Poses, Views

# Of what a model says, depths from here on are sky, or nothing (m).
FARTHEST = 100.0
# Kinds of model that tell metres whatever their configuration; of others it has to say so.
METRIC = ("depth_pro", "glpn", "zoedepth")


class DepthModel:
    """A `Geometry` for images with known poses, in metres.

    name: a model of the Hub, or a folder, that transformers loads for depth estimation in metres,
    such as Depth Anything's "Metric" ones, ZoeDepth and Depth Pro. device: the CPU unless said.
    progress: show a bar.

    Raises InputError where a model cannot be loaded, or tells inverse depth without a scale.
    """

    def __init__(
        self, name: str, device: torch.device | str | None = None, progress: bool = False
    ) -> None:
        transformers = import_extra("transformers", "Depth models", "train")
        self._device = usable_device(device)
        try:
            self._processor = transformers.AutoImageProcessor.from_pretrained(name)
            model = transformers.AutoModelForDepthEstimation.from_pretrained(name)
        except (OSError, ValueError) as error:
            first = str(error).strip().splitlines()[0]
            raise InputError(f"Cannot load the depth model {name}: {first}") from error
        if not _tells_metres(model.config):
            raise InputError(
                f"{name} tells inverse depth of unknown scale, or does not say that it tells "
                "metres; take one that was trained for metres, with Metric in its name."
            )
        self._model = model.to(self._device).eval()
        self._progress = progress

    def __call__(
        self, images: Images, intrinsics: Sequence[Intrinsics] | None, poses: Poses | None
    ) -> Views:
        """One image at a time. Raises InputError where poses or intrinsics are not known."""
        if intrinsics is None or poses is None:
            raise InputError(
                "A depth model finds depths alone: pass intrinsics and poses too, or a recording "
                "that has them."
            )
        bar = tqdm(images, "finding depth", unit="frame", disable=not self._progress)
        return Views([self._depth(image) for image in bar], intrinsics, poses)

    def _depth(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        inputs: Any = self._processor(images=Image.fromarray(image), return_tensors="pt")
        with torch.no_grad():
            found = self._model(**inputs.to(self._device))
        size = [image.shape[:2]]
        back = self._processor.post_process_depth_estimation
        # ZoeDepth pads images, by their size as they were.
        padded = "source_sizes" in inspect.signature(back).parameters
        sized = back(found, target_sizes=size, **({"source_sizes": size} if padded else {}))
        depth: NDArray[np.float32] = sized[0]["predicted_depth"].float().cpu().numpy()
        return np.where(np.isfinite(depth) & (depth > 0) & (depth < FARTHEST), depth, 0)


def _tells_metres(config: Any) -> bool:
    known = "metric" if config.model_type in METRIC else "relative"
    return getattr(config, "depth_estimation_type", known) == "metric"
