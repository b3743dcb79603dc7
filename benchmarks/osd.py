"""Table against object on real depth images: `python -m benchmarks.osd prepare | table`.

The 45 views of the Object Segmentation Database in CONCERTO_SHARED/data/osd, every pixel with depth
lifted to a point, z up. The first 30 are to learn from, the other 15 to test on: split train and
val. `table` trains and tests in every mode asked for, with every encoder and seed.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import Annotated

import numpy as np
import tyro
from PIL import Image

from benchmarks.rows import spread
from concerto.heads import DecoderConfig
from concerto.lifting.frame import Intrinsics
from concerto.lifting.surface import surface
from concerto.lifting.upright import upright
from concerto.training.evaluate import evaluate
from concerto.training.finetuning.config import ProbeConfig
from concerto.training.finetuning.task import Mode
from concerto.training.prepare.output import OutputOptions
from concerto.training.probe import probe
from concerto.training.run.loop import LoopConfig
from concerto.training.scenes.encoded import EncodedSample

CLASSES = ("table", "object")
TRAIN, SCENES = 30, 45
# Enlarged so, things of 10 cm are as large as the furniture that encoders are trained on, and a
# voxel of 4 cm, concerto-tiny's, is 8 mm of a table top.
SCALE = 5.0
FARTHEST = 3.0  # metres
SHARED = Path(os.environ.get("CONCERTO_SHARED", Path(__file__).parents[2] / "shared"))


def prepare(out: Path, source: Path = SHARED / "data" / "osd") -> None:
    """Write the views as labelled scenes to a folder, splits train and val."""
    facts = {"from": "Object Segmentation Database", "scale": SCALE}
    for split, numbers in (("train", range(TRAIN)), ("val", range(TRAIN, SCENES))):
        samples = (read_view(source, number) for number in numbers)
        OutputOptions(split=split, overwrite=True).write(out, samples, facts, CLASSES)


def read_view(source: Path, number: int) -> EncodedSample:
    """One view: points (n, 3) enlarged by SCALE, normals towards the camera, a class each, and the
    picture that they come from."""
    depth = _image(source, number, "depth").astype(np.float32) / 1000
    color = _image(source, number, "color").reshape(-1, 3)
    label = _image(source, number, "label").reshape(-1)
    seen = surface(depth, Intrinsics.from_matrix(np.loadtxt(source / "intrinsics.txt")), FARTHEST)
    turn = upright(seen.normal.T, [np.eye(4)]).astype(np.float32)
    known, width = label[seen.pixel], depth.shape[1]
    segment = np.where(known >= 20, 1, np.where(known > 0, 0, -1))
    return EncodedSample(
        name=f"osd_{number}",
        scene=f"osd_{number}",
        coord=np.ascontiguousarray((turn @ seen.point).T * np.float32(SCALE)),
        color=np.ascontiguousarray(color[seen.pixel]),
        normal=np.ascontiguousarray((turn @ seen.normal).T),
        images=(_file(source, number, "color").read_bytes(),),
        seen=(np.column_stack([seen.pixel % width, seen.pixel // width, np.arange(len(known))]),),
        segment=segment.astype(np.int16),
        instance=np.where(known >= 20, known.astype(np.int32) // 10 - 2, -1).astype(np.int32),
    )


def table(
    data: Path,
    encoders: tuple[str, ...] = ("random:tiny",),
    modes: tuple[Mode, ...] = ("linear", "decoder", "full", "lora"),
    seeds: tuple[int, ...] = (0, 1, 2),
    epochs: float = 10,
    cached: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
    narrow: bool = True,
) -> None:
    """Train and test, and print a table: mean ± standard deviation over the seeds.

    Args:
        data: What `prepare` wrote.
        encoders: What to build on, as --encoder of concerto.training.probe.
        epochs: Passes over the 30 scenes, in batches of 4, for all but the cached protocol.
        cached: Linear alone, with features computed once.
        narrow: A decoder of 32 to 96 channels, instead of the published one.
    """
    print("| encoder | mode | protocol | mIoU | table | object | allAcc | minutes |")
    print("|---|---|---|---|---|---|---|---|")
    for encoder in encoders:
        for mode in ("linear",) if cached else modes:
            began = perf_counter()
            runs = list(_runs(data, encoder, mode, seeds, epochs, cached, narrow))
            minutes = (perf_counter() - began) / 60 / len(runs)
            cells = [spread([run[k] for run in runs]) for k in range(4)]
            protocol = "cached" if cached else f"published, {epochs:g} epochs"
            print(
                f"| {encoder} | {mode} | {protocol} | {' | '.join(cells)} | {minutes:.1f} |",
                flush=True,
            )


def _runs(
    data: Path,
    encoder: str,
    mode: Mode,
    seeds: tuple[int, ...],
    epochs: float,
    cached: bool,
    narrow: bool,
) -> Iterator[list[float]]:
    """mIoU, IoU of table and of object, allAcc of each seed, in percent."""
    decoder = DecoderConfig()
    if narrow and mode in ("decoder", "full"):
        decoder = DecoderConfig(channels=(32, 32, 64, 96), heads=(2, 2, 4, 6))
    for seed in seeds:
        with tempfile.TemporaryDirectory() as scratch:
            run = Path(scratch)
            config = ProbeConfig(
                encoder=encoder,
                data=(str(data),),
                loop=LoopConfig(
                    run / "run",
                    batch_size=4,
                    epochs=1 if cached else epochs,
                    seed=seed,
                    tracker="none",
                ),
                mode=mode,
                protocol="cached" if cached else "published",
                merge=mode == "lora",
                workers=ProbeConfig.workers if cached else 0,
                decoder=decoder,
            )
            probe(config)
            scores = evaluate(str(run / "run" / "model"), (str(data),), run / "scores")
        yield [100 * value for value in (scores.miou, *scores.iou, scores.allacc)]


def _image(source: Path, number: int, kind: str) -> np.ndarray:
    return np.asarray(Image.open(_file(source, number, kind)))


def _file(source: Path, number: int, kind: str) -> Path:
    return source / f"learn{number}.{kind}.{'jpg' if kind == 'color' else 'png'}"


if __name__ == "__main__":
    tyro.extras.subcommand_cli_from_dict({"prepare": prepare, "table": table})
