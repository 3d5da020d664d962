"""A clone of the project in a temporary folder: another commit or other settings, and this one is not touched."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipelines.adopt import document_text, read_document
from wpn.errors import InputError


@contextmanager
def clone(root: Path, commit: str, params: str, cached: bool = True) -> Iterator[Path]:
    """A clone at a commit, with this params.yaml and with data/, for as long as it is used.

    Places of this machine that params.yaml names from the project (path: {location: ../model}) are those of `root`.

    Args:
        cached: it has the DVC cache of `root`, and its registry to take models from; else an empty cache, so that
            everything is computed, and a registry of its own.
    Raises:
        InputError: the repository has no such commit.
        RuntimeError: data/ cannot be had.
    """
    if _git(root, "cat-file", "-e", f"{commit}^{{commit}}").returncode:
        raise InputError(f"this repository has no commit {commit}; fetch it")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "wpn"
        _must(_git(root, "clone", "--quiet", str(root), str(folder)), "git clone")
        _must(_git(folder, "checkout", "--quiet", commit), "git checkout")
        (folder / "params.yaml").write_text(_anchored(params, root), encoding="utf-8")
        if cached:
            if (root / "registry").exists():
                (folder / "registry").symlink_to(root / "registry")
            cache = str(root / ".dvc" / "cache")
            _must(_python(folder, "dvc", "cache", "dir", "--local", cache), "dvc cache dir")
        if _python(folder, "dvc", "checkout", "--quiet", "data.dvc").returncode:
            _must(_python(folder, "pipelines.cli", "data", "fetch"), "wpn data fetch")
        yield folder


def _anchored(params: str, root: Path) -> str:
    yaml, document = read_document(params)
    relative = [place for place in _places(document) if not Path(place["location"]).expanduser().is_absolute()]
    for place in relative:
        place["location"] = str((root / place["location"]).resolve())
    return document_text(yaml, document) if relative else params


def _places(node: Any) -> Iterator[Any]:
    """The content of every `path:`."""
    for key, value in node.items():
        if isinstance(value, dict):
            yield from [value] if key == "path" else _places(value)


def _must(done: subprocess.CompletedProcess[str], what: str) -> None:
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise RuntimeError(f"`{what}` failed in the clone: {said[-1] if said else 'without a word'}")


def _python(folder: Path, module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", module, *arguments], cwd=folder, capture_output=True, text=True, check=False
    )


def _git(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=False)
