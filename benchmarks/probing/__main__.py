"""Linear probing of joint features against their parts: `python -m benchmarks.probing`.

For each collection of scenes and each kind of features a row: raw input, image features lifted to
the points (2D alone), an encoder trained without images (3D alone), the two side by side, one
trained with both (joint), and one with random weights. `docs/tiny.md` says what was fixed before
the first run, and holds the table.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import tyro

import concerto
from benchmarks.probing.kinds import Kind, encoded, lifted, once, raw_input, together
from benchmarks.probing.protocol import FEW, SEEDS, Kinds, Result, Seeds, probe
from benchmarks.probing.rooms import whole_scenes
from benchmarks.rows import spread
from concerto.training.images.feature_cache import CachedTeacher
from concerto.training.images.named import load_teacher
from concerto.training.images.teacher import ImageTeacher
from concerto.training.scenes.sources import open_scenes

PROBES = ("linear", *(f"linear, {few} scenes" for few in reversed(FEW)), "k-NN")


@dataclass(frozen=True)
class Options:
    """What to compare, on what."""

    joint: str
    """Encoder trained with images: a name, folder or file."""
    alone: str
    """Encoder trained without images, otherwise alike."""
    rooms: Path | None = None
    """Prepared procedural rooms that training has not seen."""
    osd: Path | None = None
    """What `python -m benchmarks.osd prepare` wrote."""
    train: str = "train"
    """Split of both to fit to."""
    test: str = "val"
    """Split of both to score on."""
    teacher: str = "efficientnet-lite0"
    """The image encoder."""
    beside: bool = False
    """Also joint features with others beside them, which tells what they lack."""
    kinds: tuple[str, ...] = ()
    """Only these rows."""
    output: Path = Path("out/probing.json")
    """Where every score goes."""


def main(options: Options) -> None:
    """Probe everything, print a table for each collection, and write every score."""
    written = {}
    with TemporaryDirectory() as kept:
        # Asked for twice: alone, and beside features of points.
        teacher = CachedTeacher(load_teacher(options.teacher), kept)
        for name, folder in (("rooms", options.rooms), ("osd", options.osd)):
            if folder is not None:
                results = _probe_all(options, folder, teacher)
                print_table(name, results)
                written[name] = {k: [asdict(r) for r in found] for k, found in results.items()}
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(written, indent=1) + "\n")


def kinds_of(options: Options, teacher: ImageTeacher) -> Kinds:
    """What is compared: kinds of features, and the seeds that each is probed with."""
    joint = concerto.Concerto.from_pretrained(options.joint)
    # Asked for by themselves and beside others.
    alone = once(encoded(concerto.Concerto.from_pretrained(options.alone)))
    images, own = once(lifted(teacher)), once(encoded(joint))
    random = [(encoded(_untrained(joint.config, seed)), (seed,)) for seed in SEEDS]
    kinds: dict[str, list[tuple[Kind, Seeds]]] = {
        "raw input": [(raw_input, SEEDS)],
        "random weights": random,
        "2D alone": [(images, SEEDS)],
        "3D alone": [(alone, SEEDS)],
        "2D and 3D alone, side by side": [(together([images, alone]), SEEDS)],
        "joint": [(own, SEEDS)],
    }
    if options.beside:
        kinds |= {
            f"joint, {name} beside": [(together([own, kind]), seeds) for kind, seeds in kinds[name]]
            for name in ("random weights", "3D alone", "2D alone")
        }
    return kinds


def print_table(name: str, results: dict[str, list[Result]]) -> None:
    """mIoU (and accuracy of the linear probe), mean ± standard deviation over seeds."""
    known = {result.probe for found in results.values() for result in found}
    probes = [probe for probe in PROBES if probe in known]
    print(f"\n| {name}: mIoU | {' | '.join(probes)} | accuracy, linear |")
    print("|" + "---|" * (len(probes) + 2))
    for kind, found in results.items():
        cells = [spread([r.miou for r in found if r.probe == probe]) for probe in probes]
        cells.append(spread([r.accuracy for r in found if r.probe == "linear"]))
        print(f"| {kind} | {' | '.join(cells)} |", flush=True)


def _probe_all(options: Options, folder: Path, teacher: ImageTeacher) -> dict[str, list[Result]]:
    train, test = (
        whole_scenes(open_scenes(folder, split=split)) for split in (options.train, options.test)
    )
    kinds = kinds_of(options, teacher)
    if options.kinds:
        kinds = {name: kind for name, kind in kinds.items() if name in options.kinds}
    return probe(kinds, train, test, len(train.source.classes))


def _untrained(config: concerto.ConcertoConfig, seed: int) -> concerto.Concerto:
    """An encoder as it is before training."""
    torch.manual_seed(seed)
    return concerto.Concerto(config).eval()


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
