"""Prepared scenes on the Hub: downloaded once, or read there sample by sample."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from concerto.client_errors import client_errors, reason
from concerto.errors import HubError
from concerto.training.scenes.parquet import ParquetScenes, files_of_split

DATASET = "dataset"


def hub_scenes(name: str, split: str, streaming: bool, images: bool = True) -> ParquetScenes:
    """The samples of a split of a data set, "org/name" or "org/name@revision".

    streaming: read each sample from the Hub when it is asked for, instead of downloading the split
    to the cache first. A branch is followed to its newest commit, and then stays there.
    images: as in `open_scenes`.

    Raises HubError where the Hub does not give it, InputError where it has no such split.
    """
    from huggingface_hub import HfApi, HfFileSystem, constants, hf_hub_download

    repo, _, revision = name.partition("@")
    api = HfApi()
    with _explained(name):
        commit = api.dataset_info(repo, revision=revision or None).sha
        listed = api.list_repo_files(repo, repo_type=DATASET, revision=commit)
    files = files_of_split([file for file in listed if file.endswith(".parquet")], split, name)
    if streaming:
        there = [f"datasets/{repo}@{commit}/{file}" for file in files]
        # The address is given for the class keeps one instance for each set of arguments.
        return ParquetScenes(there, HfFileSystem(endpoint=constants.ENDPOINT), images)
    with _explained(name):
        here = [hf_hub_download(repo, file, repo_type=DATASET, revision=commit) for file in files]
    return ParquetScenes(here, images=images)


@contextmanager
def _explained(name: str) -> Iterator[None]:
    """Say what to do about whatever kept huggingface_hub from the data."""
    from huggingface_hub import errors

    try:
        yield
    except errors.GatedRepoError as error:
        raise HubError(
            f"The data set {name} is gated: accept its terms on the Hub, then log in with "
            "`hf auth login`."
        ) from error
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
        raise HubError(
            f"There is no folder {name}, and the Hub shows no data set of that name or revision. "
            "Check it; if it is private, log in with `hf auth login`."
        ) from error
    except client_errors() as error:
        raise HubError(f"Could not fetch the data set {name}: {reason(error)}.") from error
