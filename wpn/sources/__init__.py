"""Where models and texts come from: a wheel of the package index, a hub repository, a place on this machine.

A row of params.yaml pins what it names by a hash or a commit, so that the same row gives the same bytes everywhere.
"""

import difflib
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from wpn.config.sources import Source
from wpn.errors import InputError


def fetch(source: Source, target: Path) -> None:
    """Fill the empty folder `target` with the files of the one source that the row names, each of them checked.

    What fails leaves `target` half filled: wrap the call in `wpn.files.atomic_folder`.

    Raises:
        InputError: the source cannot be reached, does not hold what the row names, or holds other bytes.
        ValueError: the row names nothing that this library fetches.
    """
    if source.wheel is not None:
        from wpn.sources.wheel import fetch as fetch_wheel

        fetch_wheel(source.wheel, target)
    elif source.hub is not None:
        from wpn.sources.hub import fetch as fetch_hub

        fetch_hub(source.hub, target)
    elif source.path is not None:
        from wpn.sources.local import fetch as fetch_local

        fetch_local(source.path, target)
    elif source.mlflow is not None:
        raise ValueError(f"{source.mlflow.uri} is fetched by the outer ring (pipelines); the library imports no mlflow")
    else:
        raise ValueError("the row names no source that wpn.sources fetches; give one of wheel, hub, path")


def select(names: Sequence[str], patterns: Sequence[str], place: str) -> list[str]:
    """The names that a pattern matches, in the order of `names`.

    A pattern is a name or a shell pattern whose `*` crosses folders, as in the hub's own tools.

    Args:
        names: paths in a wheel or repository, with "/".
        patterns: what is wanted; each must match something.
        place: what holds the names, for the sentence.
    Raises:
        InputError: a pattern matches nothing; the sentence has the closest names.
    """
    wanted: set[str] = set()
    for pattern in patterns:
        matched = {name for name in names if name == pattern or fnmatchcase(name, pattern)}
        if not matched:
            closest = difflib.get_close_matches(pattern, names, n=3, cutoff=0.0)
            raise InputError(f"{place} holds nothing that matches {pattern!r}; the closest are {', '.join(closest)}")
        wanted |= matched
    return [name for name in names if name in wanted]
