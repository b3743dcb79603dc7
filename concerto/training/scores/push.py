"""A segmenter that was measured → the Hub: its folder as it lies, with the scores in its card.

`Segmenter.push_to_hub` writes a card of its own, which knows neither training nor scores.
"""

from __future__ import annotations

from pathlib import Path

from concerto.card import ANY_SOURCE, is_path
from concerto.checkpoints import CARD_FILE, CONFIG_FILE, MODEL_FILES, read_json
from concerto.errors import InputError
from concerto.files import check_writable, write_text
from concerto.segmenter.card import BEGIN, END, takes_results
from concerto.upload import Target, make_target


def check_measured(model: str) -> None:
    """Make sure that what a segmenter was loaded from can be uploaded, once it is measured.

    Raises InputError where it is no folder with a card that takes the scores, cannot be written to,
    or what is in it needs an encoder that lies on a machine alone.
    """
    folder = Path(model)
    missing = [name for name in MODEL_FILES if not (folder / name).is_file()]
    if missing:
        raise InputError(
            f"--push-to-hub uploads a folder that training left, with {', '.join(MODEL_FILES)}, "
            f"and {model} has no {missing[0]}."
        )
    check_writable(folder)
    over = read_json(folder / CONFIG_FILE).get("over")
    # A path that leads nowhere any more is one as well.
    if over is not None and is_path(over["source"]):
        raise InputError(
            f"{model} holds no encoder, and that it was trained on lies in {over['source']}, which "
            "nobody else can reach: train with --merge too, or build on an encoder on the Hub."
        )
    if not takes_results(folder / CARD_FILE):
        raise InputError(
            f"{folder / CARD_FILE} has no place for the scores: put the two lines {BEGIN} and "
            f"{END} where they belong."
        )


def measured_target(repo_id: str, private: bool) -> Target:
    """Where to upload it to, made where it is not there yet.

    Raises HubError where the Hub would not take it.
    """
    message = "Upload a Concerto segmenter"
    return make_target(repo_id, private=private or None, commit_message=message)


def push_measured(folder: Path, target: Target) -> str:
    """Upload it, the repo named in the example of its card; returns the commit's URL.

    Raises InputError where the folder has been changed so that it cannot be uploaded any more, and
    HubError where the Hub does not take it.
    """
    check_measured(str(folder))
    card = folder / CARD_FILE
    text = card.read_text(encoding="utf-8")
    example = 'from_pretrained("{}")'.format
    write_text(card, text.replace(example(ANY_SOURCE), example(target.repo_id)))
    return target.upload(folder, MODEL_FILES)
