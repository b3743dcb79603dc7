"""`concerto info`: what a name, a weights file or a scan holds."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro

from concerto.cli.options import ReadOptions
from concerto.config import ConcertoConfig
from concerto.errors import ConcertoWarning, InputError
from concerto.io import FORMATS
from concerto.known_models import PublishedModel, find_model
from concerto.loading import from_pretrained
from concerto.model import Concerto
from concerto.palette import SCANNET_CLASSES
from concerto.points.point_cloud import PointCloud
from concerto.points.voxels import voxelize
from concerto.segmenter import Segmenter, SegmenterConfig
from concerto.translator import Translator, TranslatorConfig

# How what torch.save writes begins: a zip archive, and until PyTorch 1.6 a pickle.
SAVED = (b"PK\x03\x04", b"\x80\x02\x8a\x0a")


def info(
    name_or_file: Annotated[str, tyro.conf.arg(metavar="NAME_OR_FILE")],
    /,
    reading: tyro.conf.OmitArgPrefixes[ReadOptions] = ReadOptions(),
) -> None:
    """Say what a name, a file or folder of weights, or a scan holds. Downloads nothing by name.

    Args:
        name_or_file: A name of `concerto models`, a weights file or folder, or a scan.
    """
    path = Path(name_or_file)
    model = find_model(name_or_file)
    if path.suffix.lower() in FORMATS and not _is_saved(path):
        rows = _scan(reading.read(path))
    elif model is not None and not path.exists():
        rows = _published(model)
    else:
        rows = {"weights": name_or_file} | _weights(name_or_file)
    width = max(len(key) for key in rows)
    for key, value in rows.items():
        print(f"{key:<{width}}  {value}")


def _is_saved(path: Path) -> bool:
    """Whether a .bin, as which LiDAR sweeps come, holds weights, as pytorch_model.bin does."""
    if path.suffix.lower() != ".bin" or not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(4).startswith(SAVED)


def _scan(cloud: PointCloud) -> dict[str, str]:
    finite = cloud[cloud.coord.isfinite().all(1)]
    rows = {
        "points": f"{len(cloud):,}",
        "coordinates": str(cloud.coord.dtype).removeprefix("torch."),
        "colours": "none" if cloud.color is None else "yes",
        "normals": "none" if cloud.normal is None else "yes",
    }
    if len(finite) < len(cloud):
        rows["not finite"] = f"{len(cloud) - len(finite):,}"
    if len(finite):
        low, high = finite.coord.amin(0), finite.coord.amax(0)
        rows["from"] = " ".join(f"{v:.3f}" for v in low.tolist())
        rows["to"] = " ".join(f"{v:.3f}" for v in high.tolist())
        rows["extent"] = " x ".join(f"{v:.3f}" for v in (high - low).tolist())
        try:
            voxels = voxelize(finite, ConcertoConfig.grid_size, 1.0, "xyz")
            rows["voxels of 2 cm"] = f"{len(voxels.points):,} (if the unit is the metre)"
        except InputError as error:
            rows["voxels of 2 cm"] = str(error)
    return rows


def _published(model: PublishedModel) -> dict[str, str]:
    rows = {"name": model.name, "about": model.about}
    if model.repo:
        rows["file"] = f"https://huggingface.co/{model.repo}/blob/main/{model.filename}"
    if model.unavailable:
        return rows | {"status": f"cannot be loaded: {model.unavailable}"}
    if model.over:
        # Every published head is one for ScanNet.
        return rows | {"encoder": model.over} | _segmenter(SCANNET_CLASSES, model.config)
    if model.repo is None:
        return rows | _weights(model.name)
    return rows | _config(model.config)


def _weights(source: str) -> dict[str, str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConcertoWarning)
        model: Concerto | Segmenter | Translator = from_pretrained(source, dtype="auto")
    tensors = model.state_dict()
    dtypes = sorted({str(tensor.dtype).removeprefix("torch.") for tensor in tensors.values()})
    rows = {
        "parameters": f"{sum(tensor.numel() for tensor in tensors.values()):,}",
        "stored as": ", ".join(dtypes),
    }
    config = model.config
    if isinstance(config, SegmenterConfig):
        return rows | _segmenter(config.classes, config.encoder)
    if isinstance(config, TranslatorConfig):
        rows |= {"text tower": config.text_tower, "maps to": f"{config.width} dimensions"}
        return rows | _config(config.encoder.replace(default_stages=config.chosen))
    if config.untrained:
        rows["status"] = "untrained: a seeded initialisation"
    return rows | _config(config)


def _segmenter(classes: Sequence[str], encoder: ConcertoConfig) -> dict[str, str]:
    """What comes out are classes, by a head that reads stages of its own choice."""
    rows = {"classes": ", ".join(classes)} | _config(encoder)
    del rows["features"]
    return rows


def _config(config: ConcertoConfig) -> dict[str, str]:
    stages = ", ".join(str(stage) for stage in config.default_stages)
    width = sum(config.channels[stage] for stage in config.default_stages)
    return {
        "channels": " ".join(map(str, config.channels)),
        "depths": " ".join(map(str, config.depths)),
        "heads": " ".join(map(str, config.heads)),
        "patch size": " ".join(map(str, config.patch_size)),
        "features": f"{width} (stages {stages})",
        "grid size": f"{config.grid_size:g} after scaling by {config.coord_scale:g}",
        "centre": config.center,
        "licence": config.license or "unknown",
    }
