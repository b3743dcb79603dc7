"""Folders → the Hub. Every file of an upload arrives in one commit, or none does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from concerto.client_errors import client_errors, http_status, reason
from concerto.errors import HubError

COMMIT_MESSAGE = "Upload a Concerto model"
RepoType = Literal["model", "dataset"]


@dataclass(frozen=True)
class Target:
    """A repo that exists, and how to write to it. repo_id: as the Hub has it, "org/name"."""

    repo_id: str
    token: str | bool | None
    commit_message: str
    revision: str | None
    repo_type: RepoType = "model"

    def upload(self, folder: Path, files: Sequence[str], delete: Sequence[str] = ()) -> str:
        """Put these files of a folder at the repo's root, in one commit; returns its URL.

        delete: files of the repo to remove in the same commit.

        Raises HubError where the Hub does not take them.
        """
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

        with _explained(self.repo_id):
            commit = HfApi(token=self.token).create_commit(
                self.repo_id,
                [
                    *(CommitOperationAdd(name, folder / name) for name in files),
                    *(CommitOperationDelete(name) for name in delete),
                ],
                commit_message=self.commit_message,
                revision=self.revision,
                repo_type=self.repo_type,
            )
        return str(commit.commit_url)

    def files(self) -> list[str]:
        """What the repo holds. Raises HubError where the Hub does not tell."""
        from huggingface_hub import HfApi

        with _explained(self.repo_id):
            return HfApi(token=self.token).list_repo_files(
                self.repo_id, revision=self.revision, repo_type=self.repo_type
            )


def make_target(
    repo_id: str,
    *,
    private: bool | None = None,
    token: str | bool | None = None,
    commit_message: str = COMMIT_MESSAGE,
    revision: str | None = None,
    repo_type: RepoType = "model",
) -> Target:
    """Make the repo, and the branch, where they are not there yet.

    repo_id: "org/name", or "name" for the account of the token. private: of a new repo; by default
    as the account has it. revision: a branch, by default "main".

    Raises HubError where the id is no repo's, the Hub cannot be reached, or the token may not
    write there.
    """
    from huggingface_hub import HfApi

    api = HfApi(token=token)
    with _explained(repo_id):
        repo = api.create_repo(repo_id, private=private, exist_ok=True, repo_type=repo_type).repo_id
        if revision is not None:
            api.create_branch(repo, branch=revision, exist_ok=True, repo_type=repo_type)
    return Target(repo, token, commit_message, revision, repo_type)


@contextmanager
def _explained(repo_id: str) -> Iterator[None]:
    """Say what to do about whatever kept huggingface_hub from writing."""
    from huggingface_hub.errors import HFValidationError

    try:
        yield
    except HFValidationError as error:
        raise HubError(
            f'{repo_id!r} cannot be a repo: {reason(error)}. Pass "org/name" or "name".'
        ) from error
    except client_errors() as error:
        status = http_status(error)
        if status == 401:
            why = (
                "the Hub knows no token for it. Log in with `hf auth login` or pass token=, one "
                "that may write"
            )
        elif status == 403:
            why = (
                "the token may not write there. Choose a repo of your own or of an organisation "
                "that you belong to, and a token with write permission"
            )
        else:
            why = reason(error)
        raise HubError(f"Could not upload to {repo_id}: {why}.") from error
