"""params.yaml, read once and strictly; what is wrong with it is one sentence."""

import difflib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from wpn.config.params import Params
from wpn.config.section import Section
from wpn.errors import InputError

PARAMS_FILE = Path("params.yaml")


def load_params(path: Path = PARAMS_FILE) -> Params:
    """Read params.yaml as YAML 1.2, the version DVC reads (1e-5 is a number there).

    Raises:
        InputError: the file is missing, is no YAML, or has an unknown key, a wrong type or a value out of range;
            the sentence names the key and the remedy.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; run the command in the project's folder") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not valid YAML: {error}; correct it") from None
    return parse_params(text, path)


def parse_params(text: str, path: Path) -> Params:
    """What `load_params` makes of a text; `path` is the file that its sentences name."""
    from ruamel.yaml import YAML, YAMLError

    try:
        raw = YAML(typ="safe", pure=True).load(text)
    except YAMLError as error:
        raise InputError(f"{path} is not valid YAML: {' '.join(str(error).split())}; correct it") from None
    try:
        return Params.model_validate(raw)
    except ValidationError as error:
        raise InputError(f"{path}: {_sentence(error)}") from None


def _sentence(error: ValidationError) -> str:
    """The first problem as one sentence: key, value, what is wrong, what to do."""
    errors = error.errors()
    # a misspelt key is unknown and missing at once: the first says more
    first = next((each for each in errors if each["type"] == "extra_forbidden"), errors[0])
    key = ".".join(_path(first["loc"]))
    if first["type"] == "extra_forbidden":
        return f"unknown key {key}; {_suggestion(str(first['loc'][-1]))}"
    if first["type"] == "missing":
        return f"the key {key} is missing; add it"
    message = first["msg"].removeprefix("Value error, ")
    # of a section as a whole the sentence itself names what in it is wrong
    value = "" if isinstance(first["input"], dict) else f" = {_short(first['input'])}"
    where = f"{key}{value}: " if key else ""
    return f"{where}{message[0].lower()}{message[1:]}; correct the value"


def _path(loc: tuple[int | str, ...]) -> list[str]:
    """The keys as they stand in the file: pydantic puts a recipe's kind behind its name, and a row's method too."""
    parts = [str(part) for part in loc]
    if parts[:1] == ["recipes"]:
        parts = parts[:2] + parts[3:]
    return parts[:4] + parts[5:] if parts[2:3] == ["methods"] else parts


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _suggestion(key: str) -> str:
    known = sorted({name for section in _sections(Section) for name in section.model_fields})
    close = difflib.get_close_matches(key, known, n=1)
    return f"did you mean {close[0]}?" if close else "remove it"


def _sections(parent: type[Section]) -> Iterator[type[Section]]:
    for section in parent.__subclasses__():
        yield section
        yield from _sections(section)
