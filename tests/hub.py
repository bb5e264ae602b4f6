"""A model hub over real HTTP: as much of its protocol as its own client needs to resolve a revision and to fetch files."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha1, sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit


@dataclass
class Hub:
    """Repositories with their commits, and what was asked of them."""

    commits: dict[tuple[str, str], dict[str, bytes]] = field(default_factory=dict)
    """Files by repository and commit."""
    refs: dict[tuple[str, str], str] = field(default_factory=dict)
    """Commit by repository and branch."""
    hidden: set[str] = field(default_factory=set)
    """Repositories that it says are to be asked for."""
    withheld: set[str] = field(default_factory=set)
    """Files that it refuses to give."""
    asked: list[str] = field(default_factory=list)
    """Method and path of each request."""
    url: str = ""

    def push(self, repo: str, folder: Path, *, branch: str = "main", extra: dict[str, bytes] | None = None) -> str:
        """Put a folder's files, and others, into a new commit; gives it."""
        files = {path.name: path.read_bytes() for path in sorted(folder.iterdir())} | (extra or {})
        commit = sha1(repr(sorted(files.items())).encode()).hexdigest()
        self.commits[repo, commit] = files
        self.refs[repo, branch] = commit
        return commit

    def resolve(self, repo: str, revision: str) -> str | None:
        """The commit of a branch or of itself."""
        return revision if (repo, revision) in self.commits else self.refs.get((repo, revision))


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.asked.append(f"{self.command} {path}")
        parts = path.strip("/").split("/")
        if parts[:2] == ["api", "models"] and len(parts) >= 4:
            self._answer_api(f"{parts[2]}/{parts[3]}", parts[4:])
        elif len(parts) >= 5 and parts[2] == "resolve":
            self._answer_file(f"{parts[0]}/{parts[1]}", parts[3], "/".join(parts[4:]))
        else:
            self._fail("EntryNotFound")

    def _answer_api(self, repo: str, rest: list[str]) -> None:
        if repo in self.hub.hidden:
            self._fail("GatedRepo", 403)
            return
        if not any(known == repo for known, _ in self.hub.commits):
            self._fail("RepoNotFound")
            return
        commit = self.hub.resolve(repo, rest[1] if len(rest) > 1 else "main")
        if commit is None:
            self._fail("RevisionNotFound")
            return
        files = self.hub.commits[repo, commit]
        if rest[:1] == ["tree"]:
            content = [{"type": "file", "path": name, "size": len(data), "oid": _etag(data)} for name, data in files.items()]
            self._send(json.dumps(content).encode(), {"Content-Type": "application/json"})
        else:
            info = {"id": repo, "modelId": repo, "sha": commit, "siblings": [{"rfilename": name} for name in files]}
            self._send(json.dumps(info).encode(), {"Content-Type": "application/json"})

    def _answer_file(self, repo: str, revision: str, name: str) -> None:
        commit = self.hub.resolve(repo, revision)
        if commit is None or name not in self.hub.commits[repo, commit]:
            self._fail("EntryNotFound")
            return
        if name in self.hub.withheld:
            self._fail("Forbidden", 403)
            return
        data = self.hub.commits[repo, commit][name]
        self._send(data, {"X-Repo-Commit": commit, "ETag": f'"{_etag(data)}"'})

    def _send(self, data: bytes, headers: dict[str, str], status: int = 200) -> None:
        self.send_response(status)
        for key, value in (headers | {"Content-Length": str(len(data))}).items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _fail(self, code: str, status: int = 404) -> None:
        self._send(b"{}", {"X-Error-Code": code}, status)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: what was asked is in the hub."""


def _etag(data: bytes) -> str:
    return sha256(data).hexdigest()


@contextmanager
def serve_hub() -> Iterator[Hub]:
    """An empty hub on a free port of this machine."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
