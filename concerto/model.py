"""`Concerto`: points → voxels → encoder → hierarchy → features."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from concerto import checkpoints, hub
from concerto.arguments import positive
from concerto.card import model_card
from concerto.checkpoints import Checkpoint
from concerto.config import ConcertoConfig
from concerto.devices import in_dtype, kept_dtype, usable_device
from concerto.encoder import Backend, Block, PointTransformer, check_backend
from concerto.encoder.cpu import product_dtype
from concerto.errors import ConcertoWarning, ConfigError, InputError
from concerto.evaluating import evaluating
from concerto.hierarchy import Hierarchy, Stages, resolve_stages
from concerto.memory import parse_memory, slice_rows_within
from concerto.points.advice import Told, advise
from concerto.points.convert import to_point_cloud
from concerto.points.prepare import EncoderInput, prepare
from concerto.points.scenes import Scenes, to_scenes
from concerto.saved_model import SavedModel


class Concerto(nn.Module, SavedModel):
    """A Concerto encoder with its preprocessing: any point cloud in, one feature a point out.

    `model(points)` gives (N, C) features in the input's order and the model's dtype, on its
    device; C is `model.feature_dim()`. A list of scenes gives a list. A scene's features depend
    neither on its batch nor on the order of its points.

    `points` is an (N, 3) array or tensor of xyz in metres, (N, 6) with rgb, (N, 9) with rgb and
    normals, a dict with coord, color, normal, a `PointCloud`, or a path.
    """

    def __init__(self, config: ConcertoConfig, backend: Backend = "torch") -> None:
        super().__init__()
        if not isinstance(config, ConcertoConfig):
            raise ConfigError(
                f"config is {type(config).__name__}; pass a ConcertoConfig, such as "
                'ConcertoConfig.preset("base"). Trained weights come with concerto.from_pretrained.'
            )
        self.config = config
        self.encoder = PointTransformer(config, backend)
        self._told = Told()

    @property
    def device(self) -> torch.device:
        """Where the weights are, and the results will be."""
        return self._weight.device

    @property
    def dtype(self) -> torch.dtype:
        """The weights' dtype, and the features'."""
        return self._weight.dtype

    def feature_dim(self, stages: Stages | None = None) -> int:
        """Channels of the features that `stages` give, by default those of `model(points)`."""
        chosen = self.config.default_stages if stages is None else stages
        return sum(self.config.channels[s] for s in resolve_stages(chosen, self.config.stages))

    def forward(
        self,
        points: Any,
        *,
        stages: Stages | None = None,
        scale: float | None = None,
        grid_size: float | None = None,
        color_range: tuple[float, float] | None = None,
        drop_invalid: bool = False,
    ) -> Tensor | list[Tensor]:
        """Features (N, C) of every input point; a list of them for a list of scenes.

        stages: which to concatenate, such as (2, 3, 4), or "all". scale, grid_size: instead of
        the config's `coord_scale` and `grid_size`. color_range: what black and white are, where
        that is in doubt. drop_invalid: leave points out whose coordinates are not finite, and
        give zeros there.

        Raises InputError where the points cannot be used as given.
        """
        hierarchy = self.hierarchy(
            points,
            scale=scale,
            grid_size=grid_size,
            color_range=color_range,
            drop_invalid=drop_invalid,
        )
        return hierarchy.features(stages)

    def hierarchy(
        self,
        points: Any,
        *,
        scale: float | None = None,
        grid_size: float | None = None,
        color_range: tuple[float, float] | None = None,
        drop_invalid: bool = False,
    ) -> Hierarchy:
        """The levels that features are read from: what heads, objectives and viewers work on.

        Arguments as of `forward`.
        """
        self._check_scale(scale, grid_size)
        scenes = to_scenes(points, color_range)
        prepared = []
        for number, item in zip(scenes.numbers, scenes.items, strict=True):
            with _naming(number, len(scenes.items)):
                prepared.append(self._prepare(item, scale, grid_size, color_range, drop_invalid))
        return self._encode(prepared, scenes)

    def encode(
        self,
        points: Any,
        *,
        stages: Stages | None = None,
        max_memory: int | str | None = None,
        progress: bool = False,
        scale: float | None = None,
        grid_size: float | None = None,
        color_range: tuple[float, float] | None = None,
        drop_invalid: bool = False,
    ) -> Tensor | list[Tensor]:
        """`model(points)` for inference: without autograd, in evaluation mode, scene by scene.

        max_memory: bytes, or text such as "8GiB": a bound on what the encoder takes beyond its
        weights, its voxels and the features returned. progress: show a bar.
        Otherwise as `forward`.

        Raises InputError also where a scene cannot be encoded within `max_memory`, or nothing can,
        under autocast.
        """
        self.feature_dim(stages)
        return self.infer(
            points,
            lambda hierarchy: cast(Tensor, hierarchy.features(stages)),
            max_memory=max_memory,
            progress=progress,
            scale=scale,
            grid_size=grid_size,
            color_range=color_range,
            drop_invalid=drop_invalid,
        )

    def infer(
        self,
        points: Any,
        read: Callable[[Hierarchy], Tensor],
        *,
        max_memory: int | str | None = None,
        progress: bool = False,
        scale: float | None = None,
        grid_size: float | None = None,
        color_range: tuple[float, float] | None = None,
        drop_invalid: bool = False,
    ) -> Tensor | list[Tensor]:
        """What `read` makes of each scene's hierarchy, as `encode` gives features: scene by scene,
        without autograd, in evaluation mode. For scenes packed together it must give a row a point.

        Otherwise as `encode`.
        """
        self._check_scale(scale, grid_size)
        budget = None if max_memory is None else self._parse_budget(max_memory)
        scenes = to_scenes(points, color_range)
        results = []
        with torch.no_grad(), evaluating(self), self._progress(len(scenes.items), progress):
            for number, item in zip(scenes.numbers, scenes.items, strict=True):
                with _naming(number, len(scenes.items)):
                    prepared = self._prepare(item, scale, grid_size, color_range, drop_invalid)
                    grid = prepared.grid_coord
                    rows = None if budget is None else self._rows_within(budget, grid)
                hierarchy = self._encode([prepared], Scenes([item], as_list=False), rows)
                results.append(read(hierarchy))
        if scenes.as_list:
            return results
        if scenes.rows is None:
            return results[0]
        packed = torch.cat(results)
        return torch.empty_like(packed).index_copy_(0, scenes.rows.to(packed.device), packed)

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
    ) -> Concerto:
        """An encoder with trained weights, in evaluation mode.

        pretrained_model_name_or_path: a name of `concerto.list_models()`, "org/name[@revision]",
        a folder, or a .pth or .safetensors file. filename: which file of a repo or folder.
        device: the CPU unless said. dtype: float32 unless said; "auto" keeps the file's. backend:
        see `PointTransformer`. On the CPU, weights of a file beside a config.json stay mapped to it
        in their own dtype: replace such a file by another, and do not write into it, while it is in
        use.

        Raises HubError where there is no such thing, CheckpointError where a file is damaged,
        unsafe or does not fit, ConfigError where no published encoder has its config or the device
        cannot be used.
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
    ) -> Concerto:
        """The encoder in files that are here. dtype: None for that of the file."""
        known = source.model
        checkpoint = checkpoints.read_checkpoint(
            source.weights, source.config, known.config if known else None
        )
        if checkpoint.config.untrained:
            warnings.warn(
                f"{known.name if known else source.weights} is untrained: its weights are a seeded "
                "initialisation, good for trying things out, not for features that know things.",
                ConcertoWarning,
                stacklevel=3,
            )
        return cls._from_checkpoint(checkpoint, source.weights, dtype, backend).to(device)

    @classmethod
    def _from_checkpoint(
        cls,
        checkpoint: Checkpoint,
        file: Path,
        dtype: torch.dtype | None,
        backend: Backend,
    ) -> Concerto:
        """Take the file's tensors as they are, rather than initialise and overwrite."""
        with torch.device("meta"):
            model = cls(checkpoint.config, backend)
        checkpoints.check_tensors(checkpoint.tensors, model.state_dict(), file)
        tensors = in_dtype(checkpoint.tensors, dtype, file)
        model.load_state_dict(tensors, assign=True)
        return model.eval()

    def _write(self, folder: Path, tensors: Mapping[str, Tensor]) -> None:
        checkpoints.write_encoder(folder, self.config, tensors)

    def _card(self, source: str) -> str:
        return model_card(self.config, source)

    def _prepare(
        self,
        item: Any,
        scale: float | None,
        grid_size: float | None,
        color_range: tuple[float, float] | None,
        drop_invalid: bool,
    ) -> EncoderInput:
        """One scene as the encoder takes it, on the model's device."""
        if isinstance(item, EncoderInput):
            if scale is not None or grid_size is not None or drop_invalid:
                raise InputError(
                    "scale, grid_size and drop_invalid have no say where grid_coord is given."
                )
            return item.to(self.device)
        cloud = to_point_cloud(item, color_range)
        scale, grid_size = self._check_scale(scale, grid_size)
        prepared = prepare(cloud, scale, grid_size, self.config.center, drop_invalid)
        if not self.training:
            advise(cloud, prepared, self.config, scale, grid_size, self._told)
        return prepared.to(self.device)

    def _check_scale(self, scale: float | None, grid_size: float | None) -> tuple[float, float]:
        """What to use of the two. Raises InputError where they are no positive numbers."""
        return (
            positive(scale, self.config.coord_scale, "scale"),
            positive(grid_size, self.config.grid_size, "grid_size"),
        )

    def _encode(
        self, prepared: list[EncoderInput], scenes: Scenes, slice_rows: int | None = None
    ) -> Hierarchy:
        starts = [0, *accumulate(len(scene.feat) for scene in prepared)]
        feat = torch.cat([scene.feat for scene in prepared])
        encoded = self.encoder(
            feat,
            torch.cat([scene.grid_coord for scene in prepared]),
            torch.tensor(starts[1:], device=feat.device),
            slice_rows=slice_rows,
        )
        voxel_of_point = torch.cat(
            [
                torch.where(scene.voxel_of_point < 0, -1, scene.voxel_of_point + start)
                for scene, start in zip(prepared, starts[:-1], strict=True)
            ]
        )
        if scenes.rows is not None:
            rows = scenes.rows.to(feat.device)
            voxel_of_point = torch.empty_like(voxel_of_point).index_copy_(0, rows, voxel_of_point)
        return Hierarchy.build(
            encoded,
            coord=feat[:, :3].detach(),
            voxel_of_point=voxel_of_point,
            points_per_scene=[len(scene.voxel_of_point) for scene in prepared],
            default_stages=self.config.default_stages,
            single=not scenes.as_list,
        )

    def _parse_budget(self, max_memory: int | str) -> int:
        """Bytes. Raises InputError where it is no size, or could not be kept."""
        if torch.is_autocast_enabled(self.device.type):
            raise InputError(
                "max_memory cannot be kept under torch.autocast, which copies what it casts. Leave "
                'autocast for this call, and load the model in half precision: dtype="bfloat16".'
            )
        return parse_memory(max_memory)

    def _rows_within(self, budget: int, grid_coord: Tensor) -> int:
        """How many rows the encoder may work on at a time, to stay within so many bytes."""
        dtype = product_dtype(self._weight)
        copied = 0
        if dtype != self.dtype:
            sizes = (sum(p.numel() for p in block.parameters()) for block in self._blocks())
            copied = max(sizes) * dtype.itemsize
        return slice_rows_within(budget, self.config, grid_coord, dtype.itemsize, copied)

    @property
    def _weight(self) -> Tensor:
        """One of the weights. Not a linear map's, as quantisation takes those away."""
        return self.encoder.embedding.norm.weight

    def _blocks(self) -> list[Block]:
        return [module for module in self.encoder.modules() if isinstance(module, Block)]

    @contextmanager
    def _progress(self, scenes: int, show: bool) -> Iterator[None]:
        """A bar that moves with every block of every scene."""
        if not show:
            yield
            return
        from tqdm.auto import tqdm

        blocks = self._blocks()
        with tqdm(total=scenes * len(blocks), desc="encoding", unit="block") as bar:
            # A hook that returned anything would replace the block's output.
            def advance(*_: object) -> None:
                bar.update()

            hooks = [block.register_forward_hook(advance) for block in blocks]
            try:
                yield
            finally:
                for hook in hooks:
                    hook.remove()


@contextmanager
def _naming(scene: int, scenes: int) -> Iterator[None]:
    """Within, an error says which of several scenes it is about."""
    try:
        yield
    except InputError as error:
        if scenes == 1:
            raise
        raise InputError(f"Scene {scene}: {error}") from error
