"""`Translator`: a scan asked in words.

A Concerto encoder, one linear map from its features into a text tower's space, and that tower.
What is compared are voxels of the finest stage that the map reads; answers are copied to points.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from concerto import hub
from concerto.arguments import positive
from concerto.devices import in_dtype, kept_dtype, usable_device
from concerto.encoder import Backend, check_backend
from concerto.errors import ConfigError, InputError
from concerto.hierarchy import Hierarchy
from concerto.model import Concerto
from concerto.points.convert import as_tensor
from concerto.points.scenes import rows_of_scenes, with_coordinates
from concerto.saved_model import SavedModel
from concerto.translator.alternatives import Alternatives, as_asked, through_names
from concerto.translator.card import translator_card
from concerto.translator.config import TranslatorConfig
from concerto.translator.projection import Projection
from concerto.translator.regions import CANONICAL, Region, Search, relevance
from concerto.translator.storing import read_translator, write_translator
from concerto.translator.texts import TextFeatures, as_texts, number_texts
from concerto.translator.towers import TextTower

if TYPE_CHECKING:
    from typing_extensions import Unpack


class EncodeOptions(TypedDict, total=False):
    """Options of `Concerto.encode` that say how points are read."""

    max_memory: int | str | None
    progress: bool
    scale: float | None
    grid_size: float | None
    color_range: tuple[float, float] | None
    drop_invalid: bool


class Segments(NamedTuple):
    """label: (N,) int64, the class of each point, -1 for background and points left out.
    probability: (N,) float32, of that class among those asked for, 0 for points left out."""

    label: Tensor
    probability: Tensor


class Translator(nn.Module, SavedModel):
    """`translator(points, texts)` gives (N, T) cosines, a row a point and a column a text.

    `points` is what a `Concerto` takes; a list of scenes gives a list. It may also be a
    `Hierarchy` of `translator.encoder`, so that a scan is encoded once and asked often. All is
    inference: in evaluation mode, without autograd. Where points were left out, cosines are 0.

    config: a `TranslatorConfig`. encoder: whose features the map reads; by default one with random
    weights. tower: instead of the one that the config names, which is loaded when it is first
    asked. Neither it nor what it has said is in the state dict.

    Raises ConfigError where encoder and config do not fit together.
    """

    def __init__(
        self,
        config: TranslatorConfig,
        encoder: Concerto | None = None,
        *,
        tower: TextTower | None = None,
        backend: Backend = "torch",
    ) -> None:
        super().__init__()
        if not isinstance(config, TranslatorConfig):
            raise ConfigError(
                f"config is {type(config).__name__}; pass a TranslatorConfig. Trained weights "
                "come with Translator.from_pretrained."
            )
        if encoder is None:
            encoder = Concerto(config.encoder, backend)
        if encoder.config.channels != config.encoder.channels:
            raise ConfigError(
                f"The encoder has stages of {encoder.config.channels} channels, the config's of "
                f"{config.encoder.channels}: it is not the encoder that the map reads."
            )
        # Its own: voxels may be cut otherwise than where the map was trained, and are so again
        # once it was saved and loaded.
        self.config = config.replace(encoder=encoder.config)
        self.encoder = encoder
        self.map = nn.Linear(config.features, config.width)
        self.texts = TextFeatures(config, tower)

    @property
    def device(self) -> torch.device:
        """Where the weights are, and the results will be."""
        return self.map.weight.device

    def forward(
        self,
        points: Any,
        texts: str | Sequence[str],
        *,
        templates: Sequence[str] | None = None,
        **options: Unpack[EncodeOptions],
    ) -> Tensor | list[Tensor]:
        """Cosines (N, T) float32 of every point with every text; a list for a list of scenes.

        texts: any number, at least one. templates: sentences such as "a photo of a {}.", of
        whose vectors each text gets the mean; by default the text as it is. options: as in
        `Concerto.encode`.

        Raises InputError where points or texts cannot be used as given, and where the answer does
        not fit in memory.
        """
        wanted = self.texts(texts, templates, self.device)
        return self._answer(points, lambda vectors: vectors @ wanted.T, options, len(wanted))

    def segment(
        self,
        points: Any,
        classes: Sequence[str],
        *,
        templates: Sequence[str] | None = None,
        temperature: float | None = None,
        background: str | Sequence[str] | None = None,
        **options: Unpack[EncodeOptions],
    ) -> Segments | list[Segments]:
        """The class that each point is nearest to, and how probable it is among them.

        Where labels taught the map (`config.names`), each class is understood as a mixture of the
        names that it was taught; see `alternatives`.

        A class given twice is one, numbered as where it came first.

        background: texts that stand for none of the classes, such as ("object", "stuff"); points
        nearest to one of these get -1. temperature: what cosines are divided by before the
        softmax; by default as the text tower was trained. Otherwise as `forward`.

        Raises InputError also where there is only one thing that points can be.
        """
        numbers = number_texts(classes, background)
        # Raised by one: background is 0, and so are points left out in the end.
        raised = [number + 1 for number in numbers.values()]
        wanted = self._alternatives(list(numbers), templates, raised)
        number = torch.tensor(raised, device=self.device)
        heat = self._temperature(temperature)

        def best(vectors: Tensor) -> Tensor:
            probability, label = (wanted.cosines(vectors) / heat).softmax(1).max(1)
            return torch.stack([number[label].to(probability), probability], dim=1)

        found = self._answer(points, best, options, len(wanted.vectors))
        return [_segments(one) for one in found] if isinstance(found, list) else _segments(found)

    def embed(self, points: Any, **options: Unpack[EncodeOptions]) -> Tensor | list[Tensor]:
        """Unit vectors (N, D) float32 in the joint space; a list for a list of scenes.

        That is 3 GB for a million points and 768 dimensions. Options as in `forward`.
        """
        return self._answer(points, lambda vectors: vectors, options)

    def translate(self, features: Any) -> Tensor:
        """Unit vectors (N, D) float32 of features (N, C) of the stages that the map reads.

        features: a tensor or an array. Raises InputError where they are those of others.
        """
        features = as_tensor(features, "features")
        if features.ndim != 2 or features.shape[1] != self.map.in_features:
            raise InputError(
                f"Features have shape {tuple(features.shape)}; the map takes "
                f"(N, {self.map.in_features}), those of stages {self.config.chosen} of the encoder "
                f"that it was trained on: encoder.encode(points, stages={self.config.chosen})."
            )
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
            weight, bias = self.map.weight.float(), self.map.bias.float()
            return F.normalize(F.linear(features.to(weight), weight, bias), dim=1)

    def find(
        self,
        points: Any,
        text: str,
        *,
        top: int = 5,
        against: str | Sequence[str] = CANONICAL,
        threshold: float = 0.5,
        least_voxels: int = 3,
        templates: Sequence[str] | None = None,
        temperature: float | None = None,
        hierarchy: Hierarchy | None = None,
        **options: Unpack[EncodeOptions],
    ) -> list[Region]:
        """Regions of one scene that a text speaks of, the best first, `top` at most.

        A voxel's relevance, 0-1, says how much nearer it is to the text than to the nearest of
        `against`, itself left aside. Voxels above `threshold` that touch are a region, if at least
        `least_voxels`. Naming in `against` what else is there sharpens the answer. hierarchy: of
        these points, to not encode them again. Otherwise as `forward`.

        Raises InputError also for several scenes, in a list or packed together, and for voxels made
        beforehand that come without coord.
        """
        search = Search(threshold, least_voxels, top)
        asked = _one_and_others(text, against)
        # What it is compared with may be said twice.
        meanings = [1] + [0] * (len(asked) - 1)
        wanted = self.texts(asked, templates, self.device, meanings)
        heat = self._temperature(temperature)
        if isinstance(points, Hierarchy):
            raise InputError(
                "find needs the points too, whose regions it gives: pass them first, and what is "
                "encoded as hierarchy=."
            )
        if isinstance(points, list):
            raise InputError(
                f"find looks in one scene at a time; this is a list of {len(points)}. Call it for "
                "each."
            )
        scene, coord = with_coordinates(points, options.get("color_range"))
        _check_single(len(rows_of_scenes(points, len(coord))), "these points are")
        if hierarchy is not None:
            _check_no_options([name for name in options if name != "color_range"])
            _check_single(len(hierarchy.levels[0].offsets), "the hierarchy is")
        regions: list[Region] = []

        def look(hierarchy: Hierarchy) -> Tensor:
            projection = Projection(hierarchy, self.config.chosen, self.map)
            score = projection.reduce(lambda vectors: relevance(vectors @ wanted.T, heat))
            regions.extend(search.regions(hierarchy, projection.stage, score, coord))
            return hierarchy.voxel_of_point  # a row a point, which `infer` wants to have

        if hierarchy is None:
            self.encoder.infer(scene, look, **options)
        elif len(hierarchy.voxel_of_point) == len(coord):
            look(hierarchy)
        else:
            raise InputError(
                f"The hierarchy is of {len(hierarchy.voxel_of_point)} points, not of these "
                f"{len(coord)}."
            )
        return regions

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls,
        pretrained_model_name_or_path: str | os.PathLike[str],
        *,
        revision: str | None = None,
        filename: str | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | str | None = None,
        backend: Backend = "torch",
        token: str | bool | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        local_files_only: bool = False,
    ) -> Translator:
        """A trained translator, in evaluation mode. Options as in `Concerto.from_pretrained`.

        Where the file holds no encoder, it is fetched from where the config says. The text tower
        is loaded when it is first asked.

        Raises HubError where there is no such thing, CheckpointError where a file is damaged,
        holds something else, or the encoder is no longer the one that the map was trained on.
        """
        place, kept = usable_device(device), kept_dtype(dtype)
        check_backend(backend)
        source = hub.locate(
            pretrained_model_name_or_path,
            revision=revision,
            filename=filename,
            reach=hub.Reach(token, cache_dir, local_files_only),
        )
        return cls._from_source(source, place, kept, backend)

    @classmethod
    def _from_source(
        cls,
        source: hub.Source,
        device: torch.device | None,
        dtype: torch.dtype | None,
        backend: Backend,
    ) -> Translator:
        """The translator in files that are here. dtype: None for that of the file."""
        config, tensors = read_translator(source)
        with torch.device("meta"):
            translator = cls(config, backend=backend)
        tensors = in_dtype(tensors, dtype, source.weights)
        translator.load_state_dict(tensors, assign=True)
        return translator.eval().to(device)

    def _write(self, folder: Path, tensors: Mapping[str, Tensor]) -> None:
        write_translator(folder, self.config, tensors)

    def _card(self, source: str) -> str:
        return translator_card(self.config, source)

    def _answer(
        self,
        points: Any,
        function: Callable[[Tensor], Tensor],
        options: EncodeOptions,
        texts: int = 1,
    ) -> Tensor | list[Tensor]:
        """What a function makes of each voxel's vector, (n, D) → (n, …), at the points.

        texts: how many it compares each with.
        """
        if isinstance(points, Hierarchy):
            _check_no_options(list(options))
            return self._at_points(points, function, texts)
        return self.encoder.infer(
            points,
            lambda hierarchy: cast(Tensor, self._at_points(hierarchy, function, texts)),
            **options,
        )

    def _at_points(
        self, hierarchy: Hierarchy, function: Callable[[Tensor], Tensor], texts: int
    ) -> Tensor | list[Tensor]:
        projection = Projection(hierarchy, self.config.chosen, self.map)
        try:
            return hierarchy.at_points(projection.reduce(function, texts), projection.stage)
        except RuntimeError as error:
            if "alloc" not in str(error) and "out of memory" not in str(error):
                raise
            # Of one voxel: there may have been no room for all of them.
            one = function(torch.zeros(1, self.config.width, device=self.device))
            size = len(hierarchy.voxel_of_point) * one.numel() * one.element_size()
            raise InputError(
                f"{one.numel()} values for each of {len(hierarchy.voxel_of_point):,} points "
                f"are {size / 2**30:.1f} GiB, which cannot be had. Ask for fewer at a time, or "
                "call segment, which keeps the nearest alone."
            ) from error

    def _alternatives(
        self, texts: list[str], templates: Sequence[str] | None, meanings: Sequence[int]
    ) -> Alternatives:
        """What tells texts apart that are asked together. meanings: see `TextFeatures`."""
        asked = self.texts(texts, templates, self.device, meanings)
        taught, sentences = self.config.names, self.config.name_templates
        if len(taught) < 2:
            return as_asked(asked)
        # Nobody has asked for these, so what they have in common is not told.
        any_of_them = [0] * len(taught)
        return through_names(
            asked,
            self.texts(taught, templates, self.device, any_of_them),
            self.texts(taught, sentences, self.device, any_of_them),
            self.texts.tower.temperature,
        )

    def _temperature(self, given: float | None) -> float:
        asked = positive(given, self.texts.tower.temperature, "temperature")
        # Probabilities are 0 and 1 long before, and cosines divided by less would be infinite.
        return max(asked, torch.finfo(torch.float32).tiny)


def _one_and_others(text: str, against: str | Sequence[str]) -> list[str]:
    """The text, then what it is compared with: not itself, than which it is never nearer."""
    texts = as_texts(text)
    if len(texts) > 1:
        raise InputError(f"find looks for one text at a time; these are {len(texts)}.")
    others = [other for other in as_texts(against) if other != texts[0]]
    if not others:
        raise InputError(f"against names nothing but {texts[0]!r} itself; name what else there is.")
    return [*texts, *others]


def _check_no_options(options: list[str]) -> None:
    if options:
        raise InputError(f"{', '.join(options)} has no say in what is encoded already.")


def _check_single(scenes: int, what: str) -> None:
    if scenes > 1:
        raise InputError(
            f"find looks in one scene at a time; {what} of {scenes}. Call it for each."
        )


def _segments(found: Tensor) -> Segments:
    """Of columns of labels raised by one, and probabilities."""
    return Segments(found[:, 0].long() - 1, found[:, 1])
