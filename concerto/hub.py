"""Names → files. Knows where weights lie and how to fetch them; knows no model.

A source is, in this order: a folder or file that exists, a name of `known_models`,
or a Hub repo as "org/name" or "org/name@revision". Downloads go through huggingface_hub's cache.
"""

from __future__ import annotations

import difflib
import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path, PurePosixPath

from concerto.checkpoints import CONFIG_FILE, WEIGHTS_FILE, needs_config
from concerto.client_errors import client_errors, http_status, reason
from concerto.errors import HubError
from concerto.known_models import (
    CONCERTO_REPO,
    PACKAGED,
    PublishedModel,
    find_model,
    list_models,
    model_of_file,
)

PICKLES = (".pth", ".pt", ".bin", ".ckpt")
HASH_CHUNK = 2**20


@dataclass(frozen=True)
class Reach:
    """How the Hub is reached. token: by default the one you are logged in with."""

    token: str | bool | None = None
    cache_dir: str | os.PathLike[str] | None = None
    local_files_only: bool = False


@dataclass(frozen=True)
class Source:
    """Files on this machine: weights, the config beside them, and the name they are known by.

    reach: how the Hub is reached for an encoder that is not in them.
    """

    weights: Path
    config: Path | None
    model: PublishedModel | None
    reach: Reach


def locate(
    source: str | os.PathLike[str],
    *,
    revision: str | None = None,
    filename: str | None = None,
    reach: Reach = Reach(),
) -> Source:
    """Find the files of a source, downloading them where they are not here yet.

    filename: which file of a repo or folder; its config lies beside it, or else at the root.
    revision: a branch, tag or commit of a repo; given for a name, it overrides the name's pin.

    Raises HubError where the name, repo, revision or file does not exist, also of what lies here,
    which has no revisions, or cannot be reached, and where a file is not the one that its name is
    pinned to.
    """
    path = Path(source)
    # By os.path: pathlib raises where a name is longer than any file's may be.
    if str(source) and os.path.isdir(path):
        _refuse(f"{path} is a folder on this machine", revision=revision)
        return _in_folder(path, filename, reach)
    if os.path.isfile(path):
        _refuse(f"{path} is a file on this machine", revision=revision, filename=filename)
        config = _config_in_folder(path.parent, path)
        return Source(path, config, model_of_file(path.name), reach)
    name = str(source)
    model = find_model(name)
    if model is None and _looks_like_path(name):
        raise HubError(f"There is no file or folder {name!r}.")
    if model is None and not _is_repo(name):
        raise HubError(_unknown(name))
    if model is not None and model.unavailable:
        raise HubError(f"{name} cannot be loaded: {model.unavailable}")
    if model is not None and model.repo is None:
        other = None if filename == WEIGHTS_FILE else filename
        _refuse(f"{name} ships with this library as it is", revision=revision, filename=other)
        return Source(packaged(name, WEIGHTS_FILE), packaged(name, CONFIG_FILE), model, reach)
    repo, _, at = (model.repo if model and model.repo else name).partition("@")
    pin = model if revision is None else None
    revision = revision or (pin.commit if pin else None) or at or None
    download = _Download(repo, revision, reach)
    wanted = filename or (model.filename if model else None)
    if wanted is None:
        return _in_repo(download)
    weights = download.file(wanted)
    if pin is not None and wanted == pin.filename:
        _check_pin(weights, pin)
    published = model is not None and wanted == model.filename
    config = None if published else _config_in_repo(download, wanted, weights)
    known = model_of_file(weights.name)
    return Source(weights, config, known if repo == CONCERTO_REPO else known or model, reach)


def packaged(name: str, filename: str) -> Path:
    """A file of a model that ships with the library."""
    return Path(str(resources.files("concerto") / "assets" / name / filename))


def _refuse(place: str, **options: str | None) -> None:
    """Raise HubError where an option was given that means nothing in such a place."""
    for name, value in options.items():
        if value is not None:
            raise HubError(f"{place}; {name}={value!r} means nothing there: leave it out.")


def _in_folder(folder: Path, filename: str | None, reach: Reach) -> Source:
    present = sorted(p.name for p in folder.iterdir() if _is_weights(p.name))
    if not present and filename is None and find_model(str(folder)) is not None:
        raise HubError(
            f"The folder {folder} on this machine holds no weights, and as long as it lies here it "
            "hides the model of that name: rename it, or work in another folder."
        )
    chosen = filename or _choose(present, str(folder))
    weights = folder / chosen
    if not os.path.isfile(weights):
        raise HubError(f"{folder} has no {chosen}. It has: {', '.join(present) or 'no weights'}.")
    return Source(weights, _config_in_folder(folder, weights), model_of_file(chosen), reach)


def _in_repo(download: _Download) -> Source:
    """A repo without a filename: a config and weights as this library saves them, or one file."""
    chosen, weights = WEIGHTS_FILE, download.find(WEIGHTS_FILE)
    if weights is None:
        chosen = _choose(download.weights(), download.repo)
        weights = download.file(chosen)
    config = _config_in_repo(download, chosen, weights)
    return Source(weights, config, model_of_file(weights.name), download.reach)


def _choose(files: list[str], place: str) -> str:
    if WEIGHTS_FILE in files:
        return WEIGHTS_FILE
    if len(files) == 1:
        return files[0]
    if not files:
        raise HubError(f"{place} holds no weights (.safetensors or .pth).")
    raise HubError(f"{place} holds several: pass filename=, one of {', '.join(sorted(files))}.")


def _config_in_folder(folder: Path, weights: Path) -> Path | None:
    """The config beside weights, else that of the folder, where they do not carry their own."""
    for config in (weights.with_name(CONFIG_FILE), folder / CONFIG_FILE):
        if config.is_file():
            return None if _carries_config(weights) else config
    return None


def _config_in_repo(download: _Download, filename: str, weights: Path) -> Path | None:
    """As `_config_in_folder`, of a file of a repo."""
    if _carries_config(weights):
        return None
    path = PurePosixPath(filename)
    # The cache has a commit's files in a folder of its name. Another may have been pushed since.
    download = replace(download, commit=weights.parents[len(path.parts) - 1].name)
    return download.find(str(path.with_name(CONFIG_FILE))) or download.file(CONFIG_FILE)


def _carries_config(weights: Path) -> bool:
    """Whether no config.json goes with them: a published pickle says itself what it is."""
    return weights.suffix in PICKLES and not needs_config(weights)


def _check_pin(file: Path, pin: PublishedModel) -> None:
    """Raise HubError where the file is not the pinned one.

    Read at every load: a changed file that was refused once is in the cache all the same.
    """
    if pin.sha256 is None:
        return
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while chunk := stream.read(HASH_CHUNK):
            digest.update(chunk)
    if digest.hexdigest() != pin.sha256:
        raise HubError(
            f"{pin.filename} of {pin.repo} is not the file that {pin.name} is pinned to: its "
            f"sha256 is {digest.hexdigest()}, expected {pin.sha256}. It was changed there, or "
            f"damaged here: delete {file.resolve()} and try again, or accept what the repo now "
            'holds with revision="main".'
        )


def _looks_like_path(name: str) -> bool:
    return name.startswith((".", "/", "~")) or _is_weights(name)


def _is_repo(name: str) -> bool:
    """Whether a repo may be called so, by the rules that the client applies."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(name.partition("@")[0])
    except HFValidationError:
        return False
    return re.fullmatch(r"[\w.-]+/[\w.-]+(@[\w./-]+)?", name) is not None


def _unknown(name: str) -> str:
    close = difflib.get_close_matches(name, list_models(), n=3, cutoff=0.5)
    hint = f"Did you mean {' or '.join(close)}?" if close else f"Known: {', '.join(list_models())}."
    return (
        f"There is no file, folder or model called {name!r}. {hint} "
        "A Hub repo is written org/name or org/name@revision."
    )


@dataclass(frozen=True)
class _Download:
    """One repo, and how to reach it. revision: as it was asked for. commit: the one meant, once
    known."""

    repo: str
    revision: str | None
    reach: Reach
    commit: str | None = None

    def find(self, filename: str) -> Path | None:
        """The file, from the cache or the Hub; None where the repo has none of that name."""
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

        with self._explained(filename):
            try:
                path = hf_hub_download(
                    self.repo,
                    filename,
                    revision=self.commit or self.revision,
                    token=self.reach.token,
                    cache_dir=self._cache_dir,
                    local_files_only=self.reach.local_files_only,
                    library_name="concerto",
                )
            except LocalEntryNotFoundError:
                if not self._lacks(filename):
                    raise
                return None
            except EntryNotFoundError:
                return None
        return Path(path)

    def file(self, filename: str) -> Path:
        path = self.find(filename)
        if path is None:
            has = ", ".join(self.weights()) or "no weights"
            raise HubError(f"{self._place} has no {filename}. It has: {has}.")
        return path

    def weights(self) -> list[str]:
        """The repo's files of weights; of these the cached, where the Hub is not to be asked."""
        from huggingface_hub import HfApi, constants
        from huggingface_hub.errors import LocalEntryNotFoundError

        with self._explained("the list of its files"):
            if not (self.reach.local_files_only or constants.HF_HUB_OFFLINE):
                api = HfApi(token=self.reach.token)
                files = api.list_repo_files(self.repo, revision=self.revision)
                return [file for file in files if _is_weights(file)]
            if not (cached := self._cached()):
                raise LocalEntryNotFoundError("HF_HUB_OFFLINE is set")
            return cached

    def _cached(self) -> list[str]:
        """The files of weights that the cache has."""
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import LocalEntryNotFoundError

        try:
            folder = snapshot_download(
                self.repo, revision=self.revision, cache_dir=self._cache_dir, local_files_only=True
            )
        except LocalEntryNotFoundError:
            return []
        files = (file.relative_to(folder).as_posix() for file in Path(folder).rglob("*"))
        return sorted(file for file in files if _is_weights(file))

    def _lacks(self, filename: str) -> bool:
        """Whether the cache knows from the Hub that the repo has no such file."""
        from huggingface_hub import _CACHED_NO_EXIST, try_to_load_from_cache

        revision = self.commit or self.revision
        known = try_to_load_from_cache(self.repo, filename, self._cache_dir, revision)
        return known is _CACHED_NO_EXIST

    @property
    def _cache_dir(self) -> Path | None:
        return None if self.reach.cache_dir is None else Path(self.reach.cache_dir)

    @property
    def _place(self) -> str:
        return self.repo + (f"@{self.revision}" if self.revision else "")

    @contextmanager
    def _explained(self, wanted: str) -> Iterator[None]:
        """Say what to do about whatever kept huggingface_hub from the file."""
        from huggingface_hub import errors

        try:
            yield
        except errors.GatedRepoError as error:
            raise HubError(
                f"{self.repo} is gated: accept its terms on the Hub, then log in with "
                "`hf auth login` or pass token=."
            ) from error
        except errors.RepositoryNotFoundError as error:
            raise HubError(
                f"The Hub shows no repo {self.repo}. Check the name; if it is private, log in with "
                "`hf auth login` or pass token=."
            ) from error
        except errors.RevisionNotFoundError as error:
            raise HubError(
                f'{self.repo} has no revision {self.revision}; its newest state is revision="main".'
            ) from error
        except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled) as error:
            others = ", ".join(self._cached()) if _is_weights(wanted) else ""
            hint = f" pass filename= for what is there ({others})," if others else ""
            raise HubError(
                f"{wanted} of {self._place} is not in the cache, and the Hub was not asked or did "
                f"not answer: {self._reason(error)}. Fetch it once with a connection,{hint} pass a "
                f'local path, or use "{PACKAGED}", which ships with the library.'
            ) from error
        except client_errors() as error:
            if http_status(error) == 401:
                raise HubError(
                    f"The Hub does not know the token that {self._place} was asked for with: log "
                    "in again with `hf auth login` or pass another token=."
                ) from error
            advice = " Try again." if http_status(error) is None else ""
            raise HubError(
                f"Could not fetch {wanted} of {self._place}: {reason(error)}.{advice}"
            ) from error

    def _reason(self, error: Exception) -> str:
        if self.reach.local_files_only:
            return "local_files_only=True"
        return reason(error)


def _is_weights(filename: str) -> bool:
    return filename.endswith((".safetensors", *PICKLES))
