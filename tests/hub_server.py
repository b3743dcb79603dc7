"""A small server that speaks the part of the Hub's protocol that downloads and uploads need.

It knows git only as far as clients see it: branches that point to commits, and commits that hold
files. Large files take the LFS way; the Hub's newer storage protocol (Xet) is not spoken.
Data sets are repos whose id begins with "datasets/".
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml

Files = dict[str, bytes]
LARGE = (".safetensors", ".parquet")


class Repo:
    """Files by commit, and branches. A private repo is its owner's alone.

    refusal: the error code of a 403 that answers every download, or None. cuts: after how many
    bytes to cut the connection, for each of the next file bodies.
    """

    def __init__(
        self, files: Files | None = None, private: bool = False, refusal: str | None = None
    ) -> None:
        self.private, self.refusal = private, refusal
        self.cuts: list[int] = []
        self.commits: dict[str, Files] = {}
        self.branches: dict[str, str] = {}
        self.messages: list[str] = []
        self.commit(files or {}, "initial commit")

    def commit(
        self, changed: Files, message: str = "", branch: str = "main", deleted: Iterable[str] = ()
    ) -> str:
        """Add, replace and delete files on a branch; returns the new commit's id."""
        files = (self.at(branch) or {}) | changed
        for name in deleted:
            del files[name]
        state = repr((len(self.commits), sorted(files.items())))
        commit = hashlib.sha1(state.encode()).hexdigest()
        self.commits[commit], self.branches[branch] = files, commit
        self.messages.append(message)
        return commit

    def at(self, revision: str) -> Files | None:
        """The files at a branch or commit, None where there is no such thing."""
        return self.commits.get(self.branches.get(revision, revision))


@dataclass
class FakeHub:
    """The repos served, who holds which token, and what was asked so far.

    users: names by token. large: files by digest. requests: (method, path). ranges: what was asked
    of a file. refuse_large: whether uploads of large files fail.
    """

    url: str
    repos: dict[str, Repo] = field(default_factory=dict)
    users: dict[str, str] = field(default_factory=dict)
    large: Files = field(default_factory=dict)
    requests: list[tuple[str, str]] = field(default_factory=list)
    ranges: list[str] = field(default_factory=list)
    refuse_large: bool = False

    def methods(self) -> list[str]:
        """The requests' methods, in order."""
        return [method for method, _ in self.requests]


@contextmanager
def serve() -> Iterator[FakeHub]:
    """Serve on loopback until the context ends."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.hub = FakeHub(f"http://127.0.0.1:{server.server_port}")  # type: ignore[attr-defined]
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server.hub  # type: ignore[attr-defined]
    finally:
        server.shutdown()
        server.server_close()


def _owner(repo_id: str) -> str:
    return repo_id.removeprefix("datasets/").split("/")[0]


class _Refusal(Exception):
    """An answer other than success, with the Hub's error code and message, and of which commit."""

    def __init__(self, status: int, code: str = "", message: str = "", commit: str = "") -> None:
        self.status, self.code, self.message = status, code, message or code
        self.commit = commit


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer()

    do_GET = do_POST = do_PUT = do_HEAD

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self) -> None:
        self.hub: FakeHub = self.server.hub  # type: ignore[attr-defined]
        path = urlsplit(self.path).path
        self.hub.requests.append((self.command, unquote(path)))
        path = path.replace("/api/datasets/", "/api/models/datasets/")
        body = self._body()
        for methods, pattern, answer in _ROUTES:
            match = re.fullmatch(pattern, path)
            if match and self.command in methods:
                try:
                    parts = [part and unquote(part) for part in match.groups()]
                    answer(self, *parts, *([body] if body else []))
                except _Refusal as refusal:
                    headers = {"X-Error-Code": refusal.code, "X-Error-Message": refusal.message}
                    if refusal.commit:
                        headers["X-Repo-Commit"] = refusal.commit
                    self._send(refusal.status, b"", headers)
                return
        self._send(404, b"", {})

    # --- downloads ---------------------------------------------------------------------------

    def _file(self, repo_id: str, revision: str, name: str) -> None:
        """A file, or the rest of it from the byte that a Range header names."""
        repo, commit, files = self._state(repo_id, revision)
        if repo.refusal is not None:
            raise _Refusal(403, repo.refusal)
        if name not in files:
            raise _Refusal(404, "EntryNotFound", commit=commit)
        content = files[name]
        headers = {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "X-Repo-Commit": commit}
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if wanted is not None:
            self.hub.ranges.append(wanted[0])
            first, last = int(wanted[1]), int(wanted[2] or len(content) - 1)
            headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
            content = content[first : last + 1]
        cut = repo.cuts.pop(0) if repo.cuts and self.command == "GET" else None
        self._send(206 if wanted else 200, content, headers, cut)

    def _info(self, repo_id: str, revision: str | None) -> None:
        _, commit, files = self._state(repo_id, revision or "main")
        siblings = [{"rfilename": name} for name in files]
        repo_id = repo_id.removeprefix("datasets/")
        self._json({"id": repo_id, "sha": commit, "siblings": siblings})

    def _tree(self, repo_id: str, revision: str, folder: str | None) -> None:
        """The files of a repo, or of a folder in it."""
        _, _, files = self._state(repo_id, revision)
        inside = f"{folder}/" if folder else ""
        self._json([self._entry(n, c) for n, c in files.items() if n.startswith(inside)])

    def _paths_info(self, repo_id: str, revision: str, body: bytes) -> None:
        """Of the files asked for, those that there are."""
        _, _, files = self._state(repo_id, revision)
        wanted = json.loads(body)["paths"]
        self._json([self._entry(name, files[name]) for name in wanted if name in files])

    def _entry(self, name: str, content: bytes) -> dict[str, Any]:
        return {"type": "file", "path": name, "size": len(content), "oid": ""}

    # --- uploads -----------------------------------------------------------------------------

    def _create_repo(self, body: bytes) -> None:
        wanted = json.loads(body)
        owner = wanted.get("organization") or self._user()
        self._may_write(owner)
        kind = "datasets/" if wanted.get("type") == "dataset" else ""
        repo_id = f"{kind}{owner}/{wanted['name']}"
        known = repo_id in self.hub.repos
        if not known:
            private = wanted.get("private") or wanted.get("visibility") == "private"
            self.hub.repos[repo_id] = Repo(private=bool(private))
        self._json({"url": f"{self.hub.url}/{repo_id}"}, status=409 if known else 200)

    def _create_branch(self, repo_id: str, branch: str, body: bytes) -> None:
        repo = self._writable(repo_id)
        known = branch in repo.branches
        repo.branches.setdefault(branch, repo.branches["main"])
        self._json({}, status=409 if known else 200)

    def _validate_card(self, body: bytes) -> None:
        """The Hub knows every key of the metadata; here they need only be keys."""
        metadata = yaml.safe_load(json.loads(body)["content"].split("---")[1])
        errors = [] if isinstance(metadata, dict) else ["README.md: metadata must be a mapping"]
        answer = {"errors": [{"message": message} for message in errors], "warnings": []}
        self._json(answer, status=400 if errors else 200)

    def _preupload(self, repo_id: str, revision: str, body: bytes) -> None:
        """Which files are to take the LFS way."""
        self._writable(repo_id)
        self._json(
            {
                "files": [
                    {
                        "path": file["path"],
                        "uploadMode": "lfs" if file["path"].endswith(LARGE) else "regular",
                        "shouldIgnore": False,
                    }
                    for file in json.loads(body)["files"]
                ]
            }
        )

    def _lfs_batch(self, repo_id: str, body: bytes) -> None:
        """Where to put each large file."""
        self._writable(repo_id)
        objects = json.loads(body)["objects"]
        for item in objects:
            item["actions"] = {"upload": {"href": f"{self.hub.url}/lfs/{item['oid']}"}}
        self._json({"transfer": "basic", "objects": objects})

    def _lfs_put(self, oid: str, body: bytes) -> None:
        if self.hub.refuse_large:
            raise _Refusal(400, message="the storage is full")
        if hashlib.sha256(body).hexdigest() != oid:
            raise _Refusal(400, message="the content does not have this digest")
        self.hub.large[oid] = body
        self._json({})

    def _commit(self, repo_id: str, revision: str, body: bytes) -> None:
        """A line with the message, then a line for each file: its content, its LFS digest, or that
        it is deleted."""
        repo = self._writable(repo_id)
        if revision not in repo.branches:
            raise _Refusal(404, "RevisionNotFound")
        lines = [json.loads(line) for line in body.splitlines()]
        changed = {
            line["value"]["path"]: base64.b64decode(line["value"]["content"])
            if line["key"] == "file"
            else self.hub.large[line["value"]["oid"]]
            for line in lines[1:]
            if line["key"] != "deletedFile"
        }
        deleted = [line["value"]["path"] for line in lines if line["key"] == "deletedFile"]
        commit = repo.commit(changed, lines[0]["value"]["summary"], revision, deleted)
        url = f"{self.hub.url}/{repo_id}/commit/{commit}"
        self._json({"commitUrl": url, "commitOid": commit})

    # --- who may do what ---------------------------------------------------------------------

    def _user(self) -> str | None:
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if token and token not in self.hub.users:
            raise _Refusal(401, message="Invalid credentials in Authorization header")
        return self.hub.users.get(token)

    def _may_write(self, owner: str | None) -> None:
        user = self._user()
        if user is None:
            raise _Refusal(401, message="Invalid username or password.")
        if user != owner:
            raise _Refusal(403, message=f"You may not write in the namespace {owner}")

    def _writable(self, repo_id: str) -> Repo:
        self._may_write(_owner(repo_id))
        return self.hub.repos[repo_id]

    def _state(self, repo_id: str, revision: str) -> tuple[Repo, str, Files]:
        """The repo, and the commit and files that a revision means, for those who may see them."""
        repo = self.hub.repos.get(repo_id)
        user = self._user()
        if repo is None or (repo.private and user != _owner(repo_id)):
            raise _Refusal(401, "RepoNotFound")
        files = repo.at(revision)
        if files is None:
            raise _Refusal(404, "RevisionNotFound")
        return repo, repo.branches.get(revision, revision), files

    # --- HTTP --------------------------------------------------------------------------------

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        content = b""
        while size := int(self.rfile.readline(), 16):
            content += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return content

    def _json(self, value: Any, status: int = 200) -> None:
        self._send(status, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _send(
        self, status: int, content: bytes, headers: dict[str, str], cut: int | None = None
    ) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[:cut])
        self.close_connection = cut is not None


_REPO = r"((?:datasets/)?[^/]+/[^/]+)"
_ROUTES: tuple[tuple[tuple[str, ...], str, Any], ...] = (
    (("HEAD", "GET"), rf"/{_REPO}/resolve/([^/]+)/(.+)", _Handler._file),
    (("GET",), rf"/api/models/{_REPO}(?:/revision/([^/]+))?", _Handler._info),
    (("GET",), rf"/api/models/{_REPO}/tree/([^/]+)(?:/(.+))?", _Handler._tree),
    (("POST",), rf"/api/models/{_REPO}/paths-info/([^/]+)", _Handler._paths_info),
    (("POST",), r"/api/repos/create", _Handler._create_repo),
    (("POST",), rf"/api/models/{_REPO}/branch/([^/]+)", _Handler._create_branch),
    (("POST",), r"/api/validate-yaml", _Handler._validate_card),
    (("POST",), rf"/api/models/{_REPO}/preupload/([^/]+)", _Handler._preupload),
    (("POST",), rf"/{_REPO}\.git/info/lfs/objects/batch", _Handler._lfs_batch),
    (("PUT",), r"/lfs/([0-9a-f]+)", _Handler._lfs_put),
    (("POST",), rf"/api/models/{_REPO}/commit/([^/]+)", _Handler._commit),
)
