"""Rows of the files that public data sets come in: jsonl, jsonl.gz, json, csv, parquet."""

import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wpn.errors import InputError

KINDS = (".jsonl", ".jsonl.gz", ".json", ".csv", ".parquet")
REMEDY = "fetch the file again, or correct it"


def files_of(folder: Path, endings: tuple[str, ...]) -> list[Path]:
    """The files of a fetched source with one of these endings, by their path in it; the folder may be one itself.

    Raises:
        InputError: the folder has none.
    """
    inside = [folder] if folder.is_file() else folder.rglob("*")
    found = sorted(file for file in inside if file.name.endswith(endings) and file.is_file())
    if not found:
        raise InputError(f"{folder} has no file that ends in {', '.join(endings)}; name such files in the source's row")
    return found


def utf8_text(file: Path) -> str:
    """The text of a file, which must be UTF-8 (else an `InputError`); a byte order mark is not part of it."""
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{file} is not UTF-8; save it as UTF-8") from None


def table_rows(folder: Path) -> Iterator[tuple[Path, int, dict[str, Any]]]:
    """(file, row number from 1, row) of every table in the folder, file after file; blank lines do not count as rows.

    Values are what the format holds: text only in csv, typed in the others. A csv may begin with a comment line (#).

    Raises:
        InputError: the folder has no table, or one is not of the kind that its name says.
    """
    for file in files_of(folder, KINDS):
        for number, row in enumerate(_rows(file), start=1):
            if not isinstance(row, dict):
                raise InputError(f"{file}, row {number}: not an object with fields; {REMEDY}")
            yield file, number, row


def _rows(file: Path) -> Iterator[Any]:
    if file.suffix == ".parquet":
        return _parquet(file)
    content = file.read_bytes()
    if file.suffix == ".gz":
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(f"{file} is not a whole gzip file ({error}); {REMEDY}") from None
    if file.suffix == ".csv":
        return _csv(file, content)
    if content.lstrip().startswith(b"["):  # hubs name both a list and a row a line .json
        return iter(_json(f"{file}", content))
    lines = (line for line in content.splitlines() if line.strip())
    return (_json(f"{file}, row {number}", line) for number, line in enumerate(lines, start=1))


def _json(where: str, content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError as error:  # no JSON, or no UTF-8
        raise InputError(f"{where}: not JSON ({error}); {REMEDY}") from None


def _csv(file: Path, content: bytes) -> Iterator[Any]:
    try:
        text = content.decode("utf-8-sig")
        if text.startswith("#"):
            text = text.partition("\n")[2]
        yield from csv.DictReader(io.StringIO(text, newline=""))
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{file} is not a csv in UTF-8 ({error}); {REMEDY}") from None


def _parquet(file: Path) -> Iterator[Any]:
    import pyarrow.parquet  # comes with datasets, whose loader would copy the file into a cache first
    from pyarrow import ArrowInvalid

    try:
        table = pyarrow.parquet.read_table(file)
    except ArrowInvalid as error:
        raise InputError(f"{file} is not a parquet file ({error}); {REMEDY}") from None
    return iter(table.to_pylist())
