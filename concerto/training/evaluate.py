"""How good a segmenter is: `python -m concerto.training.evaluate MODEL --data … --output DIR`.

Every original point of every scene counts once, in however many samples it is stored. What is
found of a scene is kept with a digest of its points and labels, so that a run that was cut off goes
on where it ended, and scenes that have changed since are looked at again.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import tyro

from concerto import command_line
from concerto.checkpoints import CARD_FILE
from concerto.devices import chosen_device
from concerto.errors import ConcertoWarning, ConfigError, InputError
from concerto.files import check_writable, write_json, write_text
from concerto.segmenter import Segmenter
from concerto.segmenter.card import write_results
from concerto.segmenter.over import fingerprint
from concerto.training.scenes.check_sample import naming
from concerto.training.scenes.groups import group_by_scene, without_repeats
from concerto.training.scenes.labelled import Chosen, ClassesOf, labelled_samples
from concerto.training.scenes.samples import Sample
from concerto.training.scenes.sources import SceneSource, open_scenes
from concerto.training.scores.confusion import Confusion, Scores
from concerto.training.scores.push import check_measured, measured_target, push_measured
from concerto.training.scores.results import draw_confusion, markdown, summary
from concerto.training.scores.votes import vote

SCENES_FILE, SCORES_FILE = "scenes.jsonl", "scores.json"
TABLE_FILE, PICTURE_FILE = "scores.md", "confusion.png"


def evaluate(
    model: Annotated[str, tyro.conf.arg(metavar="MODEL")],
    /,
    data: tuple[str, ...],
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"], metavar="DIR")],
    split: str = "val",
    votes: bool = False,
    encoder: str | None = None,
    device: str = "auto",
    overwrite: bool = False,
    push_to_hub: Annotated[str | None, tyro.conf.arg(metavar="REPO")] = None,
    private: bool = False,
) -> Scores:
    """Compare a segmenter with labelled scenes: mIoU, mAcc, allAcc, and each class.

    Writes scores.json, scores.md and confusion.png to DIR, and the table to the model's card where
    MODEL is a folder with one that can be written.

    Args:
        model: A name of `concerto models`, org/name on the Hub, or a folder.
        data: Labelled scenes: folders, or org/name of data sets on the Hub. Classes are matched by
            name.
        output: Folder for what is found; an evaluation that was cut off goes on there.
        split: Which samples of the data.
        votes: Let 13 views of each scene vote, 4 rotations at 3 scales and a flip: 13 times slower.
        encoder: Where the encoder of a head or adapters saved alone lies, if not where MODEL says.
        device: Where to run: cpu, cuda, mps; auto takes a CUDA device where there is one.
        overwrite: Begin anew where the folder holds another evaluation.
        push_to_hub: Then upload the folder MODEL, these scores in its card, to this repo, org/name.
        private: Make a new repo private.
    """
    segmenter = Segmenter.from_pretrained(model, encoder=encoder, device=chosen_device(device))
    if push_to_hub is not None:
        check_measured(model)
    opened = open_scenes(data, split=split, images=False)
    named = ClassesOf(opened, segmenter.classes)
    source = Chosen(named, labelled_samples(named))
    groups = group_by_scene(source)
    settings = {
        "model": fingerprint(segmenter.state_dict()),
        "data": list(data),
        "split": split,
        "votes": votes,
        "classes": list(segmenter.classes),
    }
    known = _known(output, settings, overwrite)
    # A repo is made before the work, but for nothing that would be refused here.
    target = None if push_to_hub is None else measured_target(push_to_hub, private)
    confusion = _compare(segmenter, source, groups, output, known)
    unseen = [segmenter.classes.index(name) for name in segmenter.config.unseen]
    scores = confusion.scores(skip=unseen)
    protocol = "13 votes" if votes else "one view"
    about = f"{', '.join(map(_place, data))} ({split}), {len(groups)} scenes, {protocol}"
    _write(output, segmenter.config.classes, confusion, scores, about)
    print(summary(scores))
    print(output)
    _fill_card(Path(model) / CARD_FILE, markdown(segmenter.classes, scores, about))
    if target is not None:
        print(push_measured(Path(model), target))
    return scores


def main() -> None:
    """Run the command line. Exits with 1 and one line on stderr where it cannot be done."""
    command_line.run(
        lambda arguments: tyro.cli(
            evaluate, prog="python -m concerto.training.evaluate", args=arguments
        ),
        wording=lambda message: message.replace("pass encoder=", "pass --encoder"),
        interrupted="interrupted; the same command goes on",
    )


def _compare(
    segmenter: Segmenter,
    source: SceneSource,
    groups: Sequence[tuple[int, ...]],
    output: Path,
    known: Sequence[dict[str, Any]],
) -> Confusion:
    """Count over all scenes; what is known of one from the folder is not computed again.

    groups: the samples of each scene. known: the lines of the folder's file.
    """
    from tqdm import tqdm

    settings, classes, names = known[0], len(segmenter.classes), source.scenes
    done = {line["points"]: line["matrix"] for line in known[1:]}
    # Written anew, so that a line that was cut short does not stay.
    write_text(output / SCENES_FILE, "".join(json.dumps(line) + "\n" for line in known))
    confusion = Confusion(classes)
    with (output / SCENES_FILE).open("a", encoding="utf-8") as stream:
        for group in tqdm(groups, unit="scene", disable=None):
            samples = list(without_repeats(source, group))
            points = _digest(samples)
            if points not in done:
                own = Confusion(classes)
                for sample in samples:
                    _count(segmenter, sample, settings["votes"], own)
                done[points] = own.matrix.tolist()
                line = {"name": names[group[0]], "points": points, "matrix": done[points]}
                stream.write(json.dumps(line) + "\n")
                stream.flush()
            confusion.matrix += np.array(done[points], np.int64)
    if not confusion.matrix.any():
        raise InputError("None of the points has a label of these classes to compare with.")
    return confusion


def _count(segmenter: Segmenter, sample: Sample, votes: bool, confusion: Confusion) -> None:
    """Add a sample's points."""
    cloud = sample.cloud()
    with naming(sample):
        found = vote(segmenter, cloud) if votes else segmenter(cloud)
    assert isinstance(found, torch.Tensor)
    confusion.add(sample.labels, found.cpu().numpy())


def _digest(samples: Sequence[Sample]) -> str:
    """Of all that a scene's matrix comes from, but for the segmenter."""
    digest = hashlib.sha256()
    for sample in samples:
        for values in (sample.coord, sample.color, sample.normal, sample.labels):
            digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()


def _known(output: Path, settings: dict[str, Any], overwrite: bool) -> list[dict[str, Any]]:
    """The settings and the finished scenes in the order of the folder's file; changes nothing.

    Raises ConfigError where the folder holds an evaluation of something else, and InputError where
    it cannot be written to.
    """
    check_writable(output)
    file = output / SCENES_FILE
    lines = []
    if file.exists() and not overwrite:
        text = file.read_text(encoding="utf-8")
        lines = [json.loads(line) for line in text.splitlines() if line.endswith("}")]
    if lines and lines[0].keys() != settings.keys():
        raise ConfigError(
            f"{output} holds an evaluation by another version of this library, which cannot go on. "
            "Choose another --output, or replace it with --overwrite."
        )
    if lines and lines[0] != settings:
        changed = [name for name in settings if lines[0][name] != settings[name]]
        raise ConfigError(
            f"{output} holds an evaluation with another {' and '.join(changed)}. Choose another "
            "--output, or replace it with --overwrite."
        )
    return lines or [settings]


def _write(
    output: Path, classes: Sequence[str], confusion: Confusion, scores: Scores, about: str
) -> None:
    values = {
        "about": about,
        "miou": scores.miou,
        "macc": scores.macc,
        "allacc": scores.allacc,
        "classes": {
            name: {"iou": _plain(iou), "accuracy": _plain(accuracy), "points": points}
            for name, iou, accuracy, points in zip(
                classes, scores.iou, scores.accuracy, scores.points, strict=True
            )
        },
        "confusion": confusion.matrix.tolist(),
    }
    write_json(output / SCORES_FILE, values)
    write_text(output / TABLE_FILE, markdown(classes, scores, about))
    draw_confusion(output / PICTURE_FILE, classes, confusion)


def _fill_card(card: Path, results: str) -> None:
    """Put the results into a model's card; warn where it cannot be written."""
    if card.is_file():
        try:
            write_results(card, results)
        except InputError as error:
            warnings.warn(f"The card stays as it was: {error}", ConcertoWarning, stacklevel=2)


def _plain(value: float) -> float | None:
    """JSON has no NaN."""
    return None if value != value else value


def _place(place: str) -> str:
    return Path(place).name if Path(place).exists() else place


if __name__ == "__main__":
    main()
