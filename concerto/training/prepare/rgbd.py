"""`prepare rgbd`: recordings of posed frames with depth → scenes with images that see them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Annotated

import tyro
from tqdm import tqdm

from concerto.errors import ConcertoWarning, InputError
from concerto.lifting.layouts import find_recordings
from concerto.training.prepare.in_order import in_order
from concerto.training.prepare.output import OutputOptions
from concerto.training.prepare.rgbd_scene import PreparedScene, RgbdOptions, prepare_scene
from concerto.training.scenes.encoded import EncodedSample


def rgbd(
    src: Annotated[Path, tyro.conf.arg(metavar="SRC")],
    out: Annotated[Path, tyro.conf.arg(metavar="OUT")],
    /,
    recordings: tyro.conf.OmitArgPrefixes[RgbdOptions] = RgbdOptions(),
    output: tyro.conf.OmitArgPrefixes[OutputOptions] = OutputOptions(),
    workers: int = 1,
) -> None:
    """Make samples of posed RGB-D frames: fused points, and images that see them.

    A scene is a folder with NAME.color.jpg, NAME.depth.png and NAME.pose.txt (7-Scenes), with
    rgb.txt, depth.txt and groundtruth.txt (TUM RGB-D), or with color/, depth/, pose/ and intrinsic/
    (ScanNet's exported frames), or as ARKitScenes, Record3D, nerfstudio or COLMAP lay it out; or a
    file NAME.sens (ScanNet). A sample is a scene with four of its images.

    Args:
        src: A scene, or a folder of scenes.
        out: Folder to write to: Parquet files in a folder for each split, and a card.
        workers: Scenes to work on at a time, each by a process.
    """
    recordings.check()
    folders = find_recordings(src)
    found = f"{len(folders)} RGB-D recording{'s' if len(folders) > 1 else ''}"
    facts = {"from": found, **recordings.facts()}
    output.write(out, _samples(folders, recordings, workers), facts)


def _samples(folders: list[Path], options: RgbdOptions, workers: int) -> Iterator[EncodedSample]:
    """The samples of all scenes, scene after scene."""
    with tqdm(total=len(folders), unit="scene", disable=len(folders) == 1) as bar:
        alone = workers <= 1 or len(folders) == 1
        attempt = partial(_attempt, options=options, progress=alone)
        for folder, scene in zip(folders, in_order(attempt, folders, workers), strict=True):
            if isinstance(scene, InputError):
                if not options.skip_bad:
                    raise scene
                warnings.warn(f"{folder} is left out: {scene}", ConcertoWarning, stacklevel=2)
            else:
                for message in scene.messages:
                    warnings.warn(message, ConcertoWarning, stacklevel=2)
                yield from scene.samples
            bar.update()


def _attempt(folder: Path, options: RgbdOptions, progress: bool) -> PreparedScene | InputError:
    try:
        return prepare_scene(folder, options, progress)
    except InputError as error:
        return error
