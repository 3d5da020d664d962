"""A stand-in of the model hub on the loopback, for the real clients huggingface_hub and datasets.

Folders are repositories:

    folder/models/ORG/NAME/...      folder/datasets/ORG/NAME/...

A repository has the branch main and one commit, which follows from its content: a changed file is a new commit, and
the old one is unknown from then on. Weights, tables and archives are "LFS" files, listed with a sha256; all others
with git's own hash. Headers and error codes are the hub's, as its client reads them.
"""

import hashlib
import json
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

LFS = {".safetensors", ".bin", ".h5", ".gguf", ".parquet", ".gz"}
KINDS = ("models", "datasets")


class HubServer:
    """Serves the repositories under `folder` while the `with` block runs.

    Switches, to be set at any time:
        gated: repositories ("ORG/NAME") whose files ask for `token`; their listing is open, as on the hub.
        refusals: so many requests whose path contains `refused` are answered with 429, Retry-After `retry_after`.
        cuts: so many downloads break off after `cut_after` bytes.
        wrong: paths in a repository that arrive with one byte changed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.token = "hf_secret"
        self.gated: set[str] = set()
        self.refusals, self.refused, self.retry_after = 0, "/", 0
        self.cuts, self.cut_after = 0, 0
        self.wrong: set[str] = set()
        self.requests: list[str] = []  # "METHOD PATH STATUS", and the range where one was asked for
        handler = type("Handler", (_Handler,), {"hub": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "HubServer":
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def add(self, repo: str, files: dict[str, bytes], kind: str = "models") -> "Repository":
        """Write files of a repository and return it."""
        for name, content in files.items():
            path = self.folder / kind / repo / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return Repository(kind, repo, self.folder / kind / repo)

    def asked(self, text: str) -> list[str]:
        """The requests so far that contain `text`."""
        return [request for request in self.requests if text in request]


@dataclass(frozen=True)
class Repository:
    """One repository as the hub describes it."""

    kind: str
    name: str
    folder: Path

    @property
    def files(self) -> dict[str, bytes]:
        """Path in the repository -> content."""
        paths = sorted(path for path in self.folder.rglob("*") if path.is_file())
        return {path.relative_to(self.folder).as_posix(): path.read_bytes() for path in paths}

    @property
    def commit(self) -> str:
        """The commit that `main` points to."""
        return _sha1("\n".join(f"{name} {_blob(content)}" for name, content in self.files.items()).encode())

    def info(self, with_hashes: bool) -> dict[str, Any]:
        """What model_info and dataset_info read."""
        siblings = []
        for name, content in self.files.items():
            sibling: dict[str, Any] = {"rfilename": name}
            if with_hashes:
                sibling |= {"size": len(content), "blobId": _blob(content)}
                if _is_lfs(name):
                    sibling["lfs"] = {"sha256": _sha256(content), "size": len(content), "pointerSize": 130}
            siblings.append(sibling)
        times = {"createdAt": "2024-01-01T00:00:00.000Z", "lastModified": "2024-01-01T00:00:00.000Z"}
        return {
            "id": self.name, "sha": self.commit, "siblings": siblings, "private": False, "gated": False,
            "disabled": False, "tags": [], "downloads": 0, "likes": 0, **times,
        }  # fmt: skip

    def entry(self, name: str) -> dict[str, Any] | None:
        """What the endpoints tree and paths-info say of a file or folder."""
        content = self.files.get(name)
        if content is None:
            is_folder = any(file.startswith(f"{name}/") for file in self.files)
            return {"type": "directory", "oid": _sha1(name.encode()), "size": 0, "path": name} if is_folder else None
        entry: dict[str, Any] = {"type": "file", "oid": _blob(content), "size": len(content), "path": name}
        if _is_lfs(name):
            entry["lfs"] = {"oid": _sha256(content), "size": len(content), "pointerSize": 130}
        return entry

    def tree(self, folder: str, recursive: bool) -> list[dict[str, Any]] | None:
        """Files and folders under `folder`; None where there is no such folder."""
        start = f"{folder}/" if folder else ""
        below = [name.removeprefix(start) for name in self.files if name.startswith(start)]
        parts = {"/".join(name.split("/")[:depth]) for name in below for depth in range(1, name.count("/") + 2)}
        entries = (self.entry(start + part) for part in sorted(parts) if recursive or "/" not in part)
        return [entry for entry in entries if entry is not None] if below else None


class _Handler(BaseHTTPRequestHandler):
    hub: HubServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def log_message(self, format: str, *arguments: Any) -> None:
        pass  # pytest's output is no place for an access log

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        asked = f" {self.headers['Range']}" if self.headers["Range"] else ""
        self.hub.requests.append(f"{self.command} {unquote(self.path)} {int(code)}{asked}")

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        url = urlsplit(self.path)
        query = parse_qs(url.query)
        parts = [unquote(part) for part in url.path.strip("/").split("/")]
        if self.hub.refusals and self.hub.refused in self.path:
            self.hub.refusals -= 1
            self._error(429, "", "Too many requests", {"Retry-After": str(self.hub.retry_after)})
        elif parts[0] == "api" and len(parts) >= 4 and parts[1] in KINDS:
            self._api(parts[1], f"{parts[2]}/{parts[3]}", parts[4:], query, parse_qs(body.decode()))
        elif "resolve" in parts:
            kind, rest = ("datasets", parts[1:]) if parts[0] == "datasets" else ("models", parts)
            self._resolve(kind, "/".join(rest[:2]), rest[3], "/".join(rest[4:]))
        else:
            self._error(404, "", "Not found")

    def _repository(self, kind: str, name: str, revision: str) -> Repository | None:
        """The repository at this revision, or None after the error was sent."""
        repository = Repository(kind, name, self.hub.folder / kind / name)
        if not repository.folder.is_dir():
            self._error(404, "RepoNotFound", "Repository not found")
            return None
        if revision not in ("main", repository.commit):
            self._error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
            return None
        return repository

    def _api(self, kind: str, name: str, rest: list[str], query: dict[str, list[str]], form: dict[str, Any]) -> None:
        what, revision, path = [*rest, "", ""][0], [*rest, "main", "main"][1], "/".join(rest[2:])
        repository = self._repository(kind, name, "main" if what in ("", "refs") else revision)
        if repository is None:
            return
        if what in ("", "revision"):
            self._json(repository.info(with_hashes="blobs" in query))
        elif what == "tree":
            tree = repository.tree(path, recursive=query.get("recursive", [""])[0].lower() in ("true", "1"))
            if tree is None:
                self._error(404, "EntryNotFound", "Entry not found")
            else:
                self._json(tree)
        elif what == "paths-info":
            entries = (repository.entry(path) for path in form.get("paths", []))
            self._json([entry for entry in entries if entry is not None])
        elif what == "refs":
            main = {"name": "main", "ref": "refs/heads/main", "targetCommit": repository.commit}
            self._json({"branches": [main], "tags": [], "converts": []})
        else:
            self._error(404, "", "Not found")

    def _resolve(self, kind: str, name: str, revision: str, path: str) -> None:
        repository = self._repository(kind, name, revision)
        if repository is None:
            return
        if name in self.hub.gated and self.headers["Authorization"] != f"Bearer {self.hub.token}":
            status = 403 if self.headers["Authorization"] else 401
            self._error(status, "GatedRepo", f"Access to {kind[:-1]} {name} is restricted.")
            return
        content = repository.files.get(path)
        commit = {"X-Repo-Commit": repository.commit}
        if content is None:
            self._error(404, "EntryNotFound", "Entry not found", commit)
            return
        etag = f'"{_sha256(content) if _is_lfs(path) else _blob(content)}"'
        linked = {"X-Linked-Etag": etag, "X-Linked-Size": str(len(content))} if _is_lfs(path) else {}
        if path in self.hub.wrong:
            content = bytes([content[0] ^ 1]) + content[1:]
        self._send_content(content, {**commit, "ETag": etag, "Accept-Ranges": "bytes", **linked})

    def _send_content(self, content: bytes, headers: dict[str, str]) -> None:
        status, total = 200, len(content)
        if asked := self.headers["Range"]:
            first, _, last = asked.removeprefix("bytes=").partition("-")
            begin, end = int(first), min(int(last or total - 1), total - 1)
            status, content = 206, content[begin : end + 1]
            headers["Content-Range"] = f"bytes {begin}-{end}/{total}"
        if self.hub.cuts and self.command == "GET":
            self.hub.cuts -= 1
            self._send(status, content[: self.hub.cut_after], headers, length=len(content))
            self.close_connection = True
        else:
            self._send(status, content, headers)

    def _json(self, value: Any) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _error(self, status: int, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        codes = {"X-Error-Code": code} if code else {}
        self._send(status, b"", {"X-Error-Message": message, **codes, **(headers or {})})

    def _send(self, status: int, body: bytes, headers: dict[str, str], length: int | None = None) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _is_lfs(name: str) -> bool:
    return Path(name).suffix in LFS


def _sha1(content: bytes) -> str:
    return hashlib.sha1(content, usedforsecurity=False).hexdigest()


def _blob(content: bytes) -> str:
    return _sha1(b"blob %d\0" % len(content) + content)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
