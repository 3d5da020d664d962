"""Files out of wheels, from a package index that is a folder, or a server on the loopback."""

import hashlib
import importlib.util
import os
import sys
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pipelines.processes import free_port
from wpn.config.sources import Source, Wheel
from wpn.errors import InputError
from wpn.sources import fetch
from wpn.sources.wheel import cache_folder

RUN = "raise SystemExit('a wheel is data: nothing in it may run')\n"


def build(folder: Path, members: dict[str, str], version: str = "1.0") -> Path:
    """A wheel of the package `assets`, with the least that pip asks for."""
    folder.mkdir(parents=True, exist_ok=True)
    info = f"assets-{version}.dist-info"
    metadata = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: assets\nVersion: {version}\nRequires-Python: <3\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": "",
    }
    wheel = folder / f"assets-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, text in {**members, **metadata}.items():
            archive.writestr(name, text)
    return wheel


def row(wheel: Path, *members: str, package: str = "assets", version: str = "1.0", sha256: str = "") -> Source:
    found = hashlib.sha256(wheel.read_bytes()).hexdigest()
    return Source(wheel=Wheel(package=package, version=version, sha256=sha256 or found, members=list(members)))


def keep(wheel: Path) -> None:
    """Put a wheel into the cache as if it had been fetched before: no pip is needed then."""
    cache = cache_folder() / "wheels"
    cache.mkdir(parents=True, exist_ok=True)
    wheel.rename(cache / f"{hashlib.sha256(wheel.read_bytes()).hexdigest()}.whl")


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that pip takes wheels from, and no other settings of pip."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    folder = tmp_path / "index"
    folder.mkdir()
    settings = {"CONFIG_FILE": os.devnull, "NO_CACHE_DIR": "1", "DISABLE_PIP_VERSION_CHECK": "1"}
    for name, value in {**settings, "NO_INDEX": "1", "FIND_LINKS": str(folder)}.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    monkeypatch.setenv("WPN_CACHE", str(tmp_path / "cache"))
    return folder


@pytest.fixture
def target(tmp_path: Path) -> Path:
    folder = tmp_path / "target"
    folder.mkdir()
    return folder


def test_members_arrive_and_the_wheel_is_kept(index, target, capfd):
    wheel = build(index, {"assets/a.json": "{}", "assets/deep/b.txt": "b", "assets/__init__.py": RUN, "setup.py": RUN})
    source = row(wheel, "assets/a.json", "*/deep/*.txt")
    fetch(source, target)
    assert {path.name: path.read_text() for path in target.iterdir()} == {"a.json": "{}", "b.txt": "b"}
    assert capfd.readouterr() == ("", ""), "no bar where there is no terminal"

    (cached,) = cache_folder().rglob("*.whl")
    assert cached.name == f"{source.wheel.sha256}.whl"
    assert [path.name for path in cached.parent.iterdir()] == [cached.name], "nothing else is left"
    wheel.unlink()
    (target / "a.json").unlink()
    fetch(source, target)  # from the cache: the index holds nothing now
    assert (target / "a.json").exists()


def test_a_broken_file_of_the_cache_is_fetched_again(index, target, monkeypatch):
    wheel = build(index, {"assets/a.json": "{}"})
    source, content = row(wheel, "assets/a.json"), wheel.read_bytes()
    monkeypatch.setattr("wpn.sources.wheel._download", lambda source, folder: wheel)  # pip has its own tests here
    cached = cache_folder() / "wheels" / f"{source.wheel.sha256}.whl"
    cached.parent.mkdir(parents=True)
    cached.write_bytes(content[:-1])
    fetch(source, target)
    assert cached.read_bytes() == content and (target / "a.json").read_text() == "{}"


def test_a_wheel_of_another_hash_is_not_read(index, target, monkeypatch):
    wheel = build(index, {"assets/a.json": "{}"})
    monkeypatch.setattr("wpn.sources.wheel._download", lambda source, folder: wheel)
    found = row(wheel, "x").wheel.sha256
    with pytest.raises(InputError, match=rf"the wheel assets 1.0 has the sha256 {found}, but {'0' * 64} is pinned; "):
        fetch(row(wheel, "assets/a.json", sha256="0" * 64), target)
    assert not list(target.iterdir()) and not list(cache_folder().rglob("*.whl"))


def test_an_unknown_package_and_an_unknown_version_are_said(index, target):
    wheel = build(index, {"assets/a.json": "{}"}, "1.0")
    build(index, {"assets/a.json": "{}"}, "1.1")
    with pytest.raises(InputError, match=r"the package index has no wheel of asets; correct the package's name"):
        fetch(row(wheel, "a", package="asets"), target)
    with pytest.raises(InputError, match=r"assets has no wheel of version 2.0; the newest are 1.0, 1.1"):
        fetch(row(wheel, "a", version="2.0"), target)


def test_an_index_out_of_reach_is_said(index, target, monkeypatch):
    wheel = build(index, {})
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{free_port()}/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    with pytest.raises(InputError, match=r"the package index cannot be reached for the wheel assets 1.0 .* network"):
        fetch(row(wheel, "a"), target)


class Index(BaseHTTPRequestHandler):
    """A package index whose first transfer breaks off half way."""

    wheel: Path
    transfers: list[str]

    def do_GET(self) -> None:
        body = f'<a href="/{self.wheel.name}">{self.wheel.name}</a>'.encode()
        if is_wheel := self.path.endswith(".whl"):
            body = self.wheel.read_bytes()
            self.transfers.append(self.headers["Range"] or "whole")
        first = int((self.headers["Range"] or "=0-").partition("=")[2].partition("-")[0])
        self.send_response(206 if first else 200)
        self.send_header("Content-Type", "application/octet-stream" if is_wheel else "text/html")
        self.send_header("Content-Length", str(len(body) - first))
        self.send_header("ETag", '"1"')
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if is_wheel and len(self.transfers) == 1 else body[first:])

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def breaking_index(tmp_path: Path, index: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Index]]:
    wheel = build(tmp_path / "served", {"assets/a.txt": "a" * 50_000})
    handler = type("Handler", (Index,), {"wheel": wheel, "transfers": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{server.server_port}/simple")
    yield handler
    server.shutdown()
    server.server_close()


def test_a_transfer_that_breaks_off_is_taken_up(breaking_index, target):
    fetch(row(breaking_index.wheel, "*.txt"), target)
    assert (target / "a.txt").read_text() == "a" * 50_000
    assert len(breaking_index.transfers) == 2  # the second starts in the middle where pip can (25.1 and later)


def test_an_unknown_member_is_said_with_the_closest(index, target):
    wheel = build(index, {"assets/prompts.jsonl": "", "assets/zebra": ""})
    source = row(wheel, "assets/promts.jsonl")
    keep(wheel)
    message = (
        r"the wheel assets 1.0 holds nothing that matches 'assets/promts.jsonl'; the closest are assets/prompts.js"
    )
    with pytest.raises(InputError, match=message):
        fetch(source, target)


def test_two_members_of_one_base_name_are_refused(index, target):
    wheel = build(index, {"assets/en/words.txt": "", "assets/de/words.txt": ""})
    source = row(wheel, "assets/*/words.txt")
    keep(wheel)
    message = r"assets/en/words.txt and assets/de/words.txt have the same base name; name one of them"
    with pytest.raises(InputError, match=message):
        fetch(source, target)


@pytest.mark.parametrize("member", ["../outside.txt", "/outside.txt", "assets/../../outside.txt"])
def test_a_member_that_points_out_of_the_wheel_is_refused(index, target, member):
    wheel = build(index, {member: "evil"})
    source = row(wheel, "*.txt")
    keep(wheel)
    with pytest.raises(InputError, match=r"points out of it; do not use this wheel"):
        fetch(source, target)
    assert not list(target.parent.rglob("outside.txt"))


def test_a_python_without_pip_is_said(index, target, monkeypatch):
    wheel = build(index, {"assets/a.json": "{}"})
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"needs pip, which this Python lacks; run `python -m ensurepip`"):
        fetch(row(wheel, "assets/a.json"), target)


def test_the_cache_is_the_users_unless_named(monkeypatch, tmp_path):
    monkeypatch.delenv("WPN_CACHE", raising=False)
    if sys.platform == "linux":
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        assert cache_folder() == tmp_path / "wpn"
    monkeypatch.setenv("WPN_CACHE", str(tmp_path / "other"))
    assert cache_folder() == tmp_path / "other"
