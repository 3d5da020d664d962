"""Checking a user's own rows: every bad row is reported at once, so that one look mends the file."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import ValidationError

from wpn.data.records import RecordType, problem
from wpn.errors import InputError

SHOWN = 20  # problems said in full


def validate_rows(
    files: Sequence[Path], record: type[RecordType], key: Callable[[RecordType], str]
) -> list[RecordType]:
    """Read and check jsonl files as one data set.

    Args:
        files: one JSON object a line each.
        record: what each row must be.
        key: what must not occur twice, in whichever files.
    Raises:
        InputError: a line a problem (file, row, field, what is wrong, the remedy), the first 20 of them.
    """
    problems: list[str] = []
    seen: dict[str, str] = {}
    records = []
    for file in files:
        for number, line in enumerate(file.read_bytes().removeprefix(b"\xef\xbb\xbf").splitlines(), start=1):
            where = f"{file}, row {number}"
            checked = _check(line, record)
            if isinstance(checked, list):
                problems += [f"{where}: {problem}" for problem in checked]
                continue
            first = seen.setdefault(key(checked), where)
            if first != where:
                problems.append(f"{where}: the same as {first}; remove one of them")
            records.append(checked)
    if problems:
        raise InputError(_report(problems))
    if not records:
        raise InputError(f"{', '.join(map(str, files))}: no rows; write one JSON object a line")
    return records


def _check(line: bytes, record: type[RecordType]) -> RecordType | list[str]:
    """The record, or what is wrong with the row."""
    if not line.strip():
        return ["the line is empty; remove it"]
    try:
        row = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError:
        return ["not UTF-8; save the file as UTF-8"]
    except ValueError as error:
        return [f"not JSON ({error}); write one object a line"]
    if not isinstance(row, dict):
        return ["not a JSON object; write one object a line"]
    try:
        return record.model_validate(row)
    except ValidationError as error:
        return [problem(detail, record) for detail in error.errors()]


def _report(problems: list[str]) -> str:
    if len(problems) == 1:
        return problems[0]
    lines = [f"{len(problems)} problems in the rows; correct each of them:", *problems[:SHOWN]]
    if len(problems) > SHOWN:
        lines.append(f"and {len(problems) - SHOWN} more")
    return "\n".join(lines)
