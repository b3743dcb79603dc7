"""A small server that speaks the part of the Hub's protocol that downloads need."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

COMMIT = "a" * 40


@dataclass
class Repo:
    """Files of one repo at one commit; a private one wants the token.

    refusal: the error code of a 403 that answers everything, or None.
    """

    files: dict[str, bytes]
    token: str | None = None
    refusal: str | None = None
    revisions: tuple[str, ...] = ("main", COMMIT)


@dataclass
class FakeHub:
    """The repos served, and every request so far as (method, path)."""

    url: str
    repos: dict[str, Repo] = field(default_factory=dict)
    requests: list[tuple[str, str]] = field(default_factory=list)


@contextmanager
def serve() -> Iterator[FakeHub]:
    """Serve on loopback until the context ends."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.hub = FakeHub(f"http://127.0.0.1:{server.server_port}")  # type: ignore[attr-defined]
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.hub  # type: ignore[attr-defined]
    finally:
        server.shutdown()
        server.server_close()


def _listing(path: str, repo: Repo) -> object:
    """The files of a repo, in the form of either endpoint that lists them."""
    if "/tree/" in path:
        return [
            {"type": "file", "path": name, "size": len(content), "oid": "0"}
            for name, content in repo.files.items()
        ]
    return {"id": path, "sha": COMMIT, "siblings": [{"rfilename": name} for name in repo.files]}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self) -> None:
        hub: FakeHub = self.server.hub  # type: ignore[attr-defined]
        hub.requests.append((self.command, self.path))
        api = re.fullmatch(r"/api/models/([^/]+/[^/]+)/(?:tree|revision)/([^/?]+).*", self.path)
        file = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", self.path)
        match = api or file
        repo = hub.repos.get(match[1]) if match else None
        authorised = repo is not None and (
            repo.token is None or self.headers.get("Authorization") == f"Bearer {repo.token}"
        )
        if match is None or repo is None or not authorised:
            self._error(401, "RepoNotFound")
        elif repo.refusal is not None:
            self._error(403, repo.refusal)
        elif match[2] not in repo.revisions:
            self._error(404, "RevisionNotFound")
        elif api:
            self._send(200, json.dumps(_listing(self.path, repo)).encode(), {})
        elif match[3] not in repo.files:
            self._error(404, "EntryNotFound")
        else:
            content = repo.files[match[3]]
            etag = hashlib.sha256(content).hexdigest()
            self._send(200, content, {"ETag": f'"{etag}"'})

    def _error(self, status: int, code: str) -> None:
        self._send(status, b"", {"X-Error-Code": code, "X-Error-Message": code})

    def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
