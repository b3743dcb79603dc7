"""A run → a model: `python -m concerto.training.export RUN OUT [--push-to-hub REPO]`.

OUT is a folder as `concerto.from_pretrained` reads it, with a card made from what the run recorded;
or a .pth file in the published layout of a whole training state, from which the published code, or
`--start-from`, goes on.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import torch
import tyro
from torch import Tensor

from concerto import command_line
from concerto.card import ANY_SOURCE
from concerto.checkpoints import CARD_FILE, MODEL_FILES, write_encoder
from concerto.config import ConcertoConfig
from concerto.errors import CheckpointError, ConcertoError, ConcertoWarning, InputError
from concerto.files import replacing, write_text
from concerto.training.pretraining.card import RunRecord, run_card
from concerto.training.pretraining.objective import JointObjective, ObjectiveConfig
from concerto.training.pretraining.published import write_training
from concerto.training.run.checkpointing import latest_checkpoint, step_of
from concerto.training.run.folder import read_run
from concerto.training.run.metrics import CURVES_FILE, draw_curves, read_metrics
from concerto.upload import make_target

PUBLISHED_SUFFIX = ".pth"


@dataclass(frozen=True)
class FinishedRun:
    """A run's latest whole checkpoint. tensors: of the objective, on the CPU."""

    record: RunRecord
    tensors: dict[str, Tensor]
    settings: dict[str, Any]

    @property
    def config(self) -> ConcertoConfig:
        """Of the encoder."""
        return ConcertoConfig.from_dict(self.settings["model"])

    def encoder(self, branch: str) -> dict[str, Tensor]:
        """The tensors of "student" or "teacher", by the names of a model's file."""
        prefix = f"{branch}.encoder."
        return {
            name.removeprefix(f"{branch}."): tensor
            for name, tensor in self.tensors.items()
            if name.startswith(prefix)
        }


def export(
    run: Annotated[Path, tyro.conf.arg(metavar="RUN")],
    out: Annotated[Path | None, tyro.conf.arg(metavar="[OUT]")] = None,
    /,
    push_to_hub: Annotated[str | None, tyro.conf.arg(metavar="REPO")] = None,
    private: bool = False,
    license: Annotated[str | None, tyro.conf.arg(metavar="ID")] = None,
    teacher: bool = False,
) -> None:
    """Make a model of the latest checkpoint of a run.

    Raises CheckpointError where the run holds none, InputError where OUT cannot be written,
    HubError where the Hub does not take the files.

    Args:
        run: The folder that was the run's --output.
        out: A folder for the encoder with its card, or FILE.pth for the whole training state in
            the published layout.
        push_to_hub: Upload the encoder with its card to this repo, org/name; made where it is
            missing.
        private: Make a new repo private.
        license: Licence of the weights, as the Hub names it. By default that of the weights the
            run started from, if it did.
        teacher: Take the teacher's encoder, the moving average. By default the student's is taken,
            as in the published files. FILE.pth holds both.
    """
    if out is None and push_to_hub is None:
        raise InputError("Nowhere to write to: pass OUT, or --push-to-hub org/name.")
    finished = read_finished(run)
    if out is not None and out.suffix == PUBLISHED_SUFFIX:
        if push_to_hub is not None:
            raise InputError("--push-to-hub takes an encoder with its card: let OUT be a folder.")
        if teacher:
            raise InputError(
                f"{out} will hold student and teacher both: leave --teacher out, or let OUT be a "
                "folder."
            )
        write_state(finished, out, license)
        print(out)
        return
    target = None
    if push_to_hub is not None:
        target = make_target(push_to_hub, private=private or None)
    with TemporaryDirectory() as scratch:
        folder = Path(scratch) if out is None else out
        source = target.repo_id if target is not None else ANY_SOURCE
        files = write_model(finished, run, folder, license, teacher, source)
        if out is not None:
            print(out)
        if target is not None:
            print(target.upload(folder, files))


def read_finished(run: Path) -> FinishedRun:
    """What is needed of a run. Raises CheckpointError where there is no checkpoint to read."""
    about = read_run(run)
    found = latest_checkpoint(run)
    if found is None:
        raise CheckpointError(f"{run} holds no checkpoint yet.")
    file, content = found
    settings = content["settings"]
    if "objective" not in settings["task"]:
        raise CheckpointError(f"{run} is a run of something else than pretraining.")
    step = step_of(file)
    record = RunRecord(
        settings=settings["task"],
        loop=settings["loop"],
        versions=about["versions"],
        step=step,
        entries=[e for e in read_metrics(run) if "loss" in e and e["step"] <= step],
        changes=[change for change in about.get("changes", []) if change["step"] < step],
    )
    return FinishedRun(record, content["module"], settings["task"])


def write_model(
    finished: FinishedRun,
    run: Path,
    folder: Path,
    license: str | None = None,
    teacher: bool = False,
    source: str = ANY_SOURCE,
) -> list[str]:
    """Write the encoder, its config, its card and the run's curves; returns the files' names.

    What is there by these names is replaced; nothing is written to the run. source: what the card
    tells to load.
    """
    branch = "teacher" if teacher else "student"
    config = _trained(finished.config, license)
    picture = _curves(run)
    curves = None if picture is None else CURVES_FILE
    card = run_card(config, finished.record, branch, source, curves)
    write_encoder(folder, config, finished.encoder(branch))
    files = [*MODEL_FILES]
    if picture is not None:
        with replacing(folder / CURVES_FILE) as path:
            path.write_bytes(picture)
        files.append(CURVES_FILE)
    write_text(folder / CARD_FILE, card)
    return files


def write_state(finished: FinishedRun, file: Path, license: str | None = None) -> None:
    """Write student, teacher, heads and projection in the published layout."""
    objective_config = ObjectiveConfig(**finished.settings["objective"])
    with torch.device("meta"):
        objective = JointObjective(_trained(finished.config, license), objective_config)
    objective.load_state_dict(finished.tensors, assign=True)
    write_training(objective, file)


def _curves(run: Path) -> bytes | None:
    """The picture of a run's curves: drawn anew, else the one that the run drew, if any."""
    with TemporaryDirectory() as scratch:
        try:
            draw_curves(run, Path(scratch))
            drawn = Path(scratch) / CURVES_FILE
        except ConcertoError as error:
            drawn = run / CURVES_FILE
            left = "The run's own stay" if drawn.exists() else "The card has none"
            warnings.warn(f"Curves are not drawn: {error} {left}.", ConcertoWarning, stacklevel=3)
        return drawn.read_bytes() if drawn.exists() else None


def _trained(config: ConcertoConfig, license: str | None) -> ConcertoConfig:
    """A run's config as that of what came out, under the licence that was asked for, if any."""
    config = config.replace(untrained=False)
    return config if license is None else config.replace(license=license)


def main() -> None:
    """Run the command line. Exits with 1 and one line on stderr where it cannot be done."""
    command_line.run(
        lambda arguments: tyro.cli(
            export,
            prog="python -m concerto.training.export",
            description="Make a model of the latest checkpoint of a run.",
            args=arguments,
        )
    )


if __name__ == "__main__":
    main()
