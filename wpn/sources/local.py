"""A file or folder of this machine as a source; its hash says which content is meant."""

import os
import shutil
from pathlib import Path

from wpn.config.sources import Local
from wpn.errors import InputError
from wpn.files import sha256_of


def described(location: str) -> Local:
    """The row for what is at `location` now, its path made absolute: stages may run in another folder.

    Raises:
        InputError: nothing is there, or an empty folder.
    """
    path = Path(location).expanduser().absolute()
    _check(path)
    return Local(location=str(path), sha256=sha256_of(path))


def fetch(source: Local, target: Path) -> None:
    """Put the content of the folder, or the file under its name, into `target`; hardlinked where possible.

    A hardlink costs neither time nor space, and weights can be several GB. Nothing of this project writes into an
    existing file, so the original is safe; with DVC's `cache.type hardlink`, which is not its default, the original
    becomes a part of DVC's cache, and read-only.

    Raises:
        InputError: nothing is there, or its content is not what the row pins.
    """
    path = Path(source.location).expanduser()
    _check(path)
    if (found := sha256_of(path)) != source.sha256:
        raise InputError(
            f"{path} has the content {found} now, but {source.sha256} is pinned; put the old content back, "
            "or run `wpn run` with the same option again, which takes the new one"
        )
    if path.is_file():
        link_or_copy(path, target / path.name)
        return
    for file in path.rglob("*"):
        if file.is_file():
            place = target / file.relative_to(path)
            place.parent.mkdir(parents=True, exist_ok=True)
            link_or_copy(file, place)


def link_or_copy(file: Path, place: Path) -> None:
    """Make `place` the same file by a hardlink, or a copy where the file system or its owner allows none."""
    try:
        os.link(file.resolve(), place)
    except OSError:
        shutil.copyfile(file, place)


def _check(path: Path) -> None:
    if not path.exists():
        raise InputError(f"{path} does not exist; correct the path, or put the file or folder there")
    if path.is_dir() and not any(file.is_file() for file in path.rglob("*")):
        raise InputError(f"{path} holds no files; name the folder that does")
