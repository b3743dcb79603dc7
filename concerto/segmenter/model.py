"""`Segmenter`: an encoder with a head and the names of its classes."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from concerto import checkpoints, hub
from concerto.arguments import positive_integer
from concerto.devices import in_dtype, kept_dtype, usable_device
from concerto.encoder import Backend, check_backend
from concerto.encoder.cpu import at_full_speed
from concerto.errors import ConfigError, HubError, InputError
from concerto.evaluating import evaluating
from concerto.heads import KnnHead, make_head
from concerto.heads.instances import group_voxels
from concerto.hierarchy import Hierarchy
from concerto.model import Concerto
from concerto.points.scenes import is_list
from concerto.saved_model import SavedModel
from concerto.segmenter.card import segmenter_card
from concerto.segmenter.config import SegmenterConfig
from concerto.segmenter.over import join_encoder
from concerto.segmenter.storing import published_head_config, read_segmenter, write_segmenter


@dataclass(frozen=True)
class Instances:
    """What each of N points is, and which thing it belongs to. segment: (N,) int64 class. instance:
    (N,) int64, from 0, the largest thing first. -1: none."""

    segment: Tensor
    instance: Tensor


class Segmenter(nn.Module, SavedModel):
    """An encoder, a head, and what the head's outputs are called.

    `segmenter(points)` gives the class (N,) of each point, a number that `segmenter.classes` names.
    `points`, lists of scenes and options are as for `Concerto`; all is inference: in
    evaluation mode, without autograd.
    """

    def __init__(self, config: SegmenterConfig, backend: Backend = "torch") -> None:
        super().__init__()
        if not isinstance(config, SegmenterConfig):
            raise ConfigError(
                f"config is {type(config).__name__}; pass a SegmenterConfig. Trained segmenters "
                "come with concerto.Segmenter.from_pretrained."
            )
        self.config = config
        self.model = Concerto(config.encoder, backend)
        self.head = make_head(config.head, config.encoder, len(config.classes))

    @property
    def classes(self) -> tuple[str, ...]:
        """What the numbers of the result mean."""
        return self.config.classes

    @property
    def palette(self) -> Tensor:
        """A colour for each class, (K, 3) float32 in 0-1."""
        return torch.tensor(self.config.palette, dtype=torch.float32, device="cpu") / 255

    def forward(self, points: Any, **options: Any) -> Tensor | list[Tensor]:
        """The class of each point, (N,) int64; -1 where a point was left out.

        options: those of `Concerto.encode`, but for `stages`.
        """
        return self._infer(points, self._classes, options)

    def segment(self, points: Any, **options: Any) -> Tensor | list[Tensor]:
        """The same as `segmenter(points)`."""
        return self(points, **options)  # type: ignore[no-any-return]

    def probabilities(self, points: Any, **options: Any) -> Tensor | list[Tensor]:
        """How likely each point is of each class, (N, K) float32; zeros where it was left out."""
        return self._infer(points, self._probabilities, options)

    def instances(
        self, points: Any, *, similarity: float = 0.9, min_points: int = 50, **options: Any
    ) -> Instances | list[Instances]:
        """Classes, and which points belong to one thing: a baseline that was not trained for it.

        Touching voxels of one class belong together where the cosine of their features is at least
        `similarity`. Of fewer than `min_points` points there is no thing. Each scene of a list has
        numbers from 0; in scenes packed together they go on from one to the next.

        Raises InputError where one of these is no number, or out of range.
        """
        if not (isinstance(similarity, Real) and -1 <= similarity <= 1):
            raise InputError(f"similarity is {similarity!r}; it is a cosine, from -1 to 1.")
        min_points = positive_integer(min_points, "min_points")
        packed, before = not is_list(points), 0

        def read(hierarchy: Hierarchy) -> Tensor:
            nonlocal before
            best = self._logits(hierarchy).argmax(1)
            things = group_voxels(hierarchy, best, similarity, min_points)
            if packed:
                things = torch.where(things < 0, -1, things + before)
                before = max(before, int(things.max()) + 1)
            both = torch.stack([best, things], dim=1)
            return cast(Tensor, hierarchy.at_points(both, 0, absent=-1))

        found = self._infer(points, read, options)
        if isinstance(found, Tensor):
            return Instances(*found.unbind(1))
        return [Instances(*one.unbind(1)) for one in found]

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls,
        pretrained_model_name_or_path: str | os.PathLike[str],
        *,
        encoder: str | os.PathLike[str] | None = None,
        revision: str | None = None,
        filename: str | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | str | None = None,
        backend: Backend = "torch",
        token: str | bool | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        local_files_only: bool = False,
    ) -> Segmenter:
        """A trained segmenter, in evaluation mode.

        encoder: where the encoder of a head that was saved alone lies, instead of where the head
        says. Otherwise as `Concerto.from_pretrained`.

        Raises CheckpointError also where a head was trained on another encoder.
        """
        place, kept = usable_device(device), kept_dtype(dtype)
        check_backend(backend)
        source = hub.locate(
            pretrained_model_name_or_path,
            revision=revision,
            filename=filename,
            reach=hub.Reach(token, cache_dir, local_files_only),
        )
        return cls._from_source(source, place, kept, backend, encoder)

    @classmethod
    def _from_source(
        cls,
        source: hub.Source,
        device: torch.device,
        dtype: torch.dtype | None,
        backend: Backend,
        encoder: str | os.PathLike[str] | None = None,
    ) -> Segmenter:
        """The segmenter in files that are here, over an encoder that may not be in them."""
        files = read_segmenter(source, None if encoder is None else str(encoder))
        tensors, config = files.tensors, files.config
        if files.over is not None:
            # Adapters are added before anything is rounded.
            exact = None if dtype is None else torch.promote_types(dtype, torch.float32)
            try:
                found = hub.locate(files.over.source, reach=source.reach)
                beneath = Concerto._from_source(found, torch.device("cpu"), exact, "torch")
            except HubError as error:
                raise HubError(
                    f"{source.weights} holds a head without its encoder, {files.over.source}, and "
                    f"that is not found: {error} If it lies elsewhere, pass encoder=."
                ) from error
            tensors = join_encoder(tensors, files.over, beneath.state_dict(), source.weights)
            config = config or published_head_config(beneath.config, tensors, source.weights)
        assert config is not None
        with torch.device("meta"):
            segmenter = cls(config, backend)
        checkpoints.check_tensors(tensors, segmenter.state_dict(), source.weights)
        tensors = in_dtype(tensors, dtype, source.weights)
        segmenter.load_state_dict(tensors, assign=True)
        return segmenter.eval().to(device)

    def _write(self, folder: Path, tensors: Mapping[str, Tensor]) -> None:
        write_segmenter(folder, self.config, tensors)

    def _card(self, source: str) -> str:
        return segmenter_card(self.config, source)

    def _infer(
        self, points: Any, read: Callable[[Hierarchy], Tensor], options: dict[str, Any]
    ) -> Tensor | list[Tensor]:
        # The encoder sees to itself alone, and a decoder draws at random while it trains.
        with evaluating(self):
            return self.model.infer(points, read, **options)

    def _logits(self, hierarchy: Hierarchy) -> Tensor:
        """(n, K) of the finest voxels."""
        if isinstance(self.head, KnnHead):
            self.head.check_countable()  # before a copy in another dtype is made of it
        logits: Tensor = at_full_speed(self.head)(hierarchy)
        return logits

    def _classes(self, hierarchy: Hierarchy) -> Tensor:
        classes = self._logits(hierarchy).argmax(1)
        return cast(Tensor, hierarchy.at_points(classes, 0, absent=-1))

    def _probabilities(self, hierarchy: Hierarchy) -> Tensor:
        shares = self._logits(hierarchy).float().softmax(1)
        return cast(Tensor, hierarchy.at_points(shares, 0))
