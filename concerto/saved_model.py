"""Saving and uploading, alike for encoders and for what stands on them."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import torch
from huggingface_hub import PyTorchModelHubMixin
from torch import Tensor, nn

from concerto.card import ANY_SOURCE
from concerto.checkpoints import CARD_FILE, MODEL_FILES, misfit
from concerto.errors import CheckpointError, ConfigError
from concerto.files import write_text
from concerto.upload import COMMIT_MESSAGE, make_target
from concerto.weight_files import unwrapped

# What says where and how to upload.
UPLOAD_OPTIONS = ("repo_id", "private", "token", "commit_message", "revision")


class SavedModel(PyTorchModelHubMixin):
    """A module that lies in a folder as config.json, model.safetensors and a card."""

    def save_pretrained(  # type: ignore[override]
        self,
        save_directory: str | os.PathLike[str],
        *,
        push_to_hub: bool = False,
        repo_id: str | None = None,
        **push_to_hub_kwargs: Any,
    ) -> str | None:
        """Write config.json, model.safetensors and a card to a folder, each whole or not at all.

        A README.md that is there already is kept. push_to_hub: then upload the three, to `repo_id`
        or a repo of the folder's name; returns the URL of the commit. Options and errors are those
        of `push_to_hub`.

        Raises ConfigError for other options, and for these where nothing is uploaded, and
        CheckpointError where modules are no longer those of the config, as with adapters.
        """
        folder = Path(save_directory)
        given = {name: value for name, value in push_to_hub_kwargs.items() if value is not None}
        _check_options([*given, *(["repo_id"] if repo_id is not None else [])], push_to_hub)
        tensors = _loadable(cast(nn.Module, self))
        target = None
        if push_to_hub:
            name = folder.resolve().name if repo_id is None else repo_id
            target = make_target(name, **given)
        self._write(folder, tensors)
        card = folder / CARD_FILE
        if not card.exists():
            write_text(card, self._card(target.repo_id if target else ANY_SOURCE))
        if target is None:
            return None
        return target.upload(folder, MODEL_FILES)

    def push_to_hub(  # type: ignore[override]
        self,
        repo_id: str,
        *,
        private: bool | None = None,
        token: str | bool | None = None,
        commit_message: str = COMMIT_MESSAGE,
        revision: str | None = None,
    ) -> str:
        """Upload config.json, model.safetensors and a card to the Hub; returns the commit's URL.

        repo_id: "org/name", or "name" in your own account; made where it does not exist, `private`
        or not. token: by default the one you are logged in with. revision: a branch, made where it
        does not exist. The three files arrive in one commit and replace those of their names; to
        keep a card of your own, `save_pretrained` to a folder that holds it, with push_to_hub=True.

        Raises HubError where the id is no repo's, the Hub cannot be reached, or the token may not
        write there, and CheckpointError as `save_pretrained`.
        """
        with TemporaryDirectory() as folder:
            url = self.save_pretrained(
                folder,
                push_to_hub=True,
                repo_id=repo_id,
                private=private,
                token=token,
                commit_message=commit_message,
                revision=revision,
            )
        return cast(str, url)

    @abstractmethod
    def _write(self, folder: Path, tensors: Mapping[str, Tensor]) -> None:
        """Write config.json and model.safetensors, each whole or not at all.

        tensors: the model's, by their names in files.
        """

    @abstractmethod
    def _card(self, source: str) -> str:
        """The text of README.md. source: what `from_pretrained` is given in its example."""


def _loadable(model: nn.Module) -> dict[str, Tensor]:
    """What to write of a model. Raises CheckpointError where it could not be loaded again."""
    tensors = unwrapped(model.state_dict())
    with torch.device("meta"):
        wanted = type(model)(model.config).state_dict()
    told = misfit(tensors, wanted)
    if told:
        raise CheckpointError(
            f"This {type(model).__name__} could not be loaded again, as it does not fit its "
            f"config: it {told}. Merge adapters into its weights, and take off what else was added "
            "to its modules; or keep it with torch.save(model.state_dict(), …)."
        )
    return tensors


def _check_options(given: list[str], upload: bool) -> None:
    """Raise ConfigError for options of `save_pretrained` that nothing would come of."""
    unknown = [name for name in given if name not in UPLOAD_OPTIONS]
    if unknown:
        raise ConfigError(
            f"save_pretrained has no option {', '.join(unknown)}. With push_to_hub=True it takes "
            f"{', '.join(UPLOAD_OPTIONS)}."
        )
    if given and not upload:
        raise ConfigError(
            f"{', '.join(given)} would have no effect, as nothing is uploaded: pass "
            "push_to_hub=True too, or leave that out."
        )
