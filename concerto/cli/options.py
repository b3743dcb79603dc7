"""The options that commands share: how scans are read, and by which model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from torch import Tensor

from concerto.arguments import positive
from concerto.devices import chosen_device
from concerto.io import read
from concerto.memory import parse_memory
from concerto.model import Concerto
from concerto.points.convert import checked_range
from concerto.points.normals import check_options, estimate_normals
from concerto.points.point_cloud import PointCloud


@dataclass(frozen=True)
class ReadOptions:
    """How scans are read, whatever becomes of them."""

    color_range: Annotated[tuple[float, float] | None, tyro.conf.arg(metavar="LOW HIGH")] = None
    """What black and white are in the scan, where that is in doubt."""
    columns: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """Values a point in .bin files: 4 as in KITTI, 5 as in nuScenes; else their size tells."""

    def read(self, scan: Path) -> PointCloud:
        """The scan's points."""
        columns = self.columns if scan.suffix.lower() == ".bin" else None
        return read(scan, color_range=self.color_range, columns=columns)


@dataclass(frozen=True)
class ScanOptions(ReadOptions):
    """Which model reads the scans, and how, whatever it makes of them."""

    model: Annotated[str, tyro.conf.arg(metavar="NAME")] = "concerto-tiny"
    """A name of `concerto models`, org/name[@revision] on the Hub, a folder, or a weights file."""
    device: str = "auto"
    """Where to run: cpu, cuda, cuda:1, mps; auto takes a CUDA device where there is one."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Precision of the model; the features are written as float32."""
    scale: Annotated[float | None, tyro.conf.arg(metavar="FLOAT")] = None
    """Factor on the coordinates, instead of the model's own: 1 indoors, so that 0.001 reads
    millimetres; 0.2 for concerto-large-outdoor."""
    grid_size: Annotated[float | None, tyro.conf.arg(metavar="FLOAT")] = None
    """Edge of a voxel after scaling, instead of the model's own."""
    normals: Annotated[int | None, tyro.conf.arg(metavar="K")] = None
    """Estimate normals where a scan has none, from K neighbours, such as 20, or 60 in sweeps; the
    model gets zeros without."""
    viewpoint: Annotated[tuple[float, float, float] | None, tyro.conf.arg(metavar="X Y Z")] = None
    """What estimated normals face, in the scan's own coordinates, such as the scanner."""
    drop_invalid: bool = False
    """Leave points with NaN or infinite coordinates out, and give them zeros."""
    max_memory: Annotated[str | None, tyro.conf.arg(metavar="SIZE")] = None
    """Bound on working memory, such as 8GiB."""

    def read(self, scan: Path) -> PointCloud:
        """The scan's points, with normals if these are to be estimated."""
        cloud = super().read(scan)
        if self.normals is None or cloud.normal is not None:
            return cloud
        return estimate_normals(cloud, self.normals, self.viewpoint, drop_invalid=self.drop_invalid)

    def inference(self) -> dict[str, Any]:
        """The options that `Concerto.encode` and `Segmenter` take alike.

        Raises InputError where one is no good: it is wrong once, not once a scan.
        """
        for name in ("scale", "grid_size"):
            positive(getattr(self, name), 1.0, name)
        checked_range(self.color_range)
        check_options(self.normals, self.viewpoint)
        if self.max_memory is not None:
            parse_memory(self.max_memory)
        names = ("scale", "grid_size", "drop_invalid", "max_memory")
        return {name: getattr(self, name) for name in names}

    def place(self) -> str:
        """The device that was asked for."""
        return chosen_device(self.device)


@dataclass(frozen=True)
class ModelOptions(ScanOptions):
    """Which encoder reads the scans, and how."""

    stages: Annotated[
        tuple[int, ...] | Literal["all"] | None, tyro.conf.arg(metavar="all|INT...")
    ] = None
    """Stages to concatenate, 0 being the finest; by default the model's own choice."""

    def load(self) -> Concerto:
        """The model. Raises InputError where an option is no good."""
        model = Concerto.from_pretrained(self.model, device=self.place(), dtype=self.dtype)
        model.feature_dim(self.stages)
        self.inference()
        return model

    def encode(self, model: Concerto, cloud: PointCloud, progress: bool = True) -> Tensor:
        """Features (N, C) float32 on the CPU."""
        features = model.encode(cloud, stages=self.stages, progress=progress, **self.inference())
        assert isinstance(features, Tensor)
        return features.float().cpu()
