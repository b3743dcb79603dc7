"""`prepare labelled`: a folder of scans of your own, each with a field of labels."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import tyro
from numpy.typing import NDArray

from concerto.errors import ConcertoWarning, InputError
from concerto.folders import files_in
from concerto.io import WITH_SCALARS, read_scalars
from concerto.points.convert import checked_range
from concerto.points.normals import check_options, estimate_normals
from concerto.points.point_cloud import PointCloud
from concerto.training.prepare.label_map import LabelMap, ask_for_map, read_label_map
from concerto.training.prepare.labelled_scenes import Converted, ConvertOptions, DataSet, convert
from concerto.training.prepare.output import Destination
from concerto.training.scenes.encoded import EncodedSample, near_origin
from concerto.training.scenes.whole_numbers import whole_numbers

SPLITS = ("train", "val", "test")
SEED = 0


@dataclass(frozen=True)
class LabelledOptions:
    """Where the labels are, and which scans are for training."""

    label_map: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """What the labels mean: a text file with a line a number, "2 ground", or JSON,
    {"2": "ground"}; a number without a name has no class. Without it the error lists the numbers
    of a scan."""
    label: str = "label"
    """Field of the labels, such as classification in LAS."""
    instance: Annotated[str | None, tyro.conf.arg(metavar="FIELD")] = None
    """Field with the number of the thing that each point belongs to, negative for none."""
    val: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME")] = ()
    """Scans for validation, by name, * standing for anything; the others are for training."""
    val_share: Annotated[float | None, tyro.conf.arg(metavar="FLOAT")] = None
    """Share of the scans for validation, drawn at random, always the same ones; 0.2 unless
    val says which, or SRC has folders train, val and test."""
    scale: float = 1.0
    """Metres a unit of the coordinates: 0.001 for millimetres."""
    color_range: Annotated[tuple[float, float] | None, tyro.conf.arg(metavar="LOW HIGH")] = None
    """What black and white are in the scans, where that is in doubt."""
    normals: Annotated[int | None, tyro.conf.arg(metavar="K")] = None
    """Estimate normals where a scan has none, from K neighbours, such as 20, or 60 in sweeps.
    Without it they are zeros, as `concerto segment` without --normals gives them to a segmenter."""
    viewpoint: Annotated[tuple[float, float, float] | None, tyro.conf.arg(metavar="X Y Z")] = None
    """What estimated normals face, in the scans' own coordinates, such as the scanner."""

    def check(self) -> None:
        """Raise InputError where a value is out of range."""
        if self.val and self.val_share is not None:
            raise InputError("--val says which scans are for validation; leave --val-share out.")
        if self.val_share is not None and not 0 <= self.val_share < 1:
            raise InputError(f"val_share is {self.val_share:g}; it must be from 0 to below 1.")
        if not self.scale > 0:
            raise InputError(f"scale is {self.scale:g}; it must be over 0 (metres a unit).")
        check_options(self.normals, self.viewpoint)
        checked_range(self.color_range)

    def story(self) -> str:
        """Where normals come from, for the card."""
        if self.normals is None:
            return "those of the scans"
        made = f"of {self.normals} neighbours where a scan has none"
        if self.viewpoint is None:
            return made
        x, y, z = self.viewpoint
        return f"{made}, facing {x:g} {y:g} {z:g}"


def labelled(
    src: Annotated[Path, tyro.conf.arg(metavar="SRC")],
    out: Annotated[Path, tyro.conf.arg(metavar="OUT")],
    /,
    scans: tyro.conf.OmitArgPrefixes[LabelledOptions] = LabelledOptions(),
    work: tyro.conf.OmitArgPrefixes[ConvertOptions] = ConvertOptions(),
    output: tyro.conf.OmitArgPrefixes[Destination] = Destination(),
) -> None:
    """Make labelled scenes of PLY, LAS, LAZ or PCD files that have a field of labels.

    A file is a scene, z up. Normals are zeros where there are none, as they are when such a scan is
    segmented; --normals estimates them. Points with NaN or infinite coordinates are left out. Map
    coordinates are moved near the origin, each scene on its own.

    Args:
        src: Folder of scans; those of its folders train, val and test are the splits where it has
            them.
        out: Folder to write to: Parquet files in a folder for each split, and a card.
    """
    scans.check()
    splits = _splits(src, scans)
    first = next(iter(splits.values()))[0]
    if scans.label_map is None:
        values = read_scalars(first, [scans.label], color_range=scans.color_range)[1]
        raise ask_for_map(values[scans.label], str(first))
    label_map = read_label_map(scans.label_map)
    count = sum(map(len, splits.values()))
    source = f"{count} scan{'s' if count > 1 else ''}"
    facts = {"labels": scans.label, "normals": scans.story(), "scale": scans.scale}
    data = DataSet(source, None, None, facts)
    read = partial(_read, src=src, options=scans, label_map=label_map)
    convert(data, out, splits, read, label_map.classes, output, work)


def _splits(src: Path, options: LabelledOptions) -> dict[str, list[Path]]:
    """The scans of each split that has any."""
    if not src.is_dir():
        raise InputError(f"There is no folder {src}.")
    folders = [split for split in SPLITS if (src / split).is_dir()]
    if folders:
        if options.val or options.val_share is not None:
            raise InputError(
                f"{src} has the splits {', '.join(folders)} as folders; leave --val and "
                "--val-share out, or move the scans out of them."
            )
        splits = {split: _scans(src / split) for split in folders}
        _warn_of_others(src, splits)
        return splits
    scans = _scans(src)
    if options.val:
        named = {
            one: [scan for scan in scans if fnmatch(scan.name, one) or fnmatch(scan.stem, one)]
            for one in options.val
        }
        for one, found in named.items():
            if not found:
                raise InputError(f"No scan in {src} is named {one}, which --val asks for.")
        chosen = [scan for scan in scans if any(scan in found for found in named.values())]
    else:
        share = 0.2 if options.val_share is None else options.val_share
        order = np.random.default_rng(SEED).permutation(len(scans))
        # At least one for each split, where a share is wanted at all.
        number = min(max(round(share * len(scans)), 1), len(scans) - 1) if share else 0
        chosen = [scans[at] for at in sorted(order[:number].tolist())]
    train = [scan for scan in scans if scan not in chosen]
    if not train:
        raise InputError("The split train is empty: all scans are for validation.")
    return {"train": train, "val": chosen} if chosen else {"train": train}


def _warn_of_others(src: Path, splits: dict[str, list[Path]]) -> None:
    """Warn where scans lie beside the folders of the splits."""
    others = sorted(
        set(files_in(src, WITH_SCALARS)) - {scan for scans in splits.values() for scan in scans}
    )
    if others:
        warnings.warn(
            f"Left out: {len(others)} of the scans in {src}, outside of its folders "
            f"{', '.join(splits)}; the first: {others[0]}.",
            ConcertoWarning,
            stacklevel=2,
        )


def _scans(folder: Path) -> list[Path]:
    """Those of a folder. Raises InputError where there are none, or two would be one scene."""
    found = files_in(folder, WITH_SCALARS)
    if not found:
        raise InputError(f"There is no scan in {folder}: no {', '.join(WITH_SCALARS)}.")
    names: dict[Path, Path] = {}
    for scan in found:
        other = names.setdefault(scan.with_suffix(""), scan)
        if other is not scan:
            raise InputError(
                f"{other} and {scan} differ in their suffix alone, and would be one scene. Take "
                "one of them away, or rename it."
            )
    return found


def _read(file: Path, src: Path, options: LabelledOptions, label_map: LabelMap) -> Converted:
    fields = [options.label] if options.instance is None else [options.label, options.instance]
    cloud, scalars = read_scalars(file, fields, color_range=options.color_range)
    finite = torch.isfinite(cloud.coord).all(1)
    kept, points = int(finite.sum()), len(cloud)
    if not kept:
        raise InputError(f"{file}: None of the {points} points has finite coordinates.")
    messages = []
    if kept < points:
        cloud = cloud[finite]
        scalars = {name: values[finite.numpy()] for name, values in scalars.items()}
        messages.append(
            f"{file}: {points - kept} of {points} points have NaN or infinite coordinates, and are "
            "left out with their labels."
        )
    segment = label_map.apply(scalars[options.label], str(file))
    instance = None
    if options.instance is not None:
        instance = _instances(scalars[options.instance], str(file))
    if options.normals is not None and cloud.normal is None:
        cloud = estimate_normals(cloud, options.normals, options.viewpoint)
    name = file.relative_to(src).with_suffix("").as_posix()
    sample = _sample(cloud, name, options.scale, segment, instance)
    return Converted(sample, tuple(messages))


def _sample(
    cloud: PointCloud,
    name: str,
    scale: float,
    segment: NDArray[np.int16],
    instance: NDArray[np.int32] | None,
) -> EncodedSample:
    coord = cloud.coord.double().numpy() * scale
    color, normal = np.zeros(coord.shape, np.uint8), np.zeros(coord.shape, np.float32)
    if cloud.color is not None:
        color = (cloud.color.clamp(0, 1) * 255).round().byte().numpy()
    if cloud.normal is not None:
        normal = cloud.normal.numpy()
    return EncodedSample(
        name=name,
        scene=name,
        coord=near_origin(coord),
        color=color,
        normal=normal,
        segment=segment,
        instance=instance,
    )


def _instances(values: NDArray[np.generic], place: str) -> NDArray[np.int32]:
    """Things counted anew from 0, in the order of their numbers; -1 for negative ones and NaN."""
    numbers = whole_numbers(values, place)
    found, at = np.unique(numbers, return_inverse=True)
    return np.asarray((at.reshape(-1) - np.count_nonzero(found < 0)).clip(min=-1).astype(np.int32))
