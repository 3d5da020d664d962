"""Benign text to retain: encyclopedia paragraphs, questions with their true answers, the user's own text."""

import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from wpn.data.records import Record, Text
from wpn.data.tables import files_of, table_rows, utf8_text
from wpn.data.validate import validate_rows
from wpn.errors import InputError

logger = logging.getLogger(__name__)

MIN_WORDS = 20  # of an encyclopedia paragraph; shorter ones are captions and list items
MAX_UNKNOWN = 0.02  # share of <unk> from which a paragraph is not worth mending
UNKNOWN = "<unk>"

# WikiText's tokens -> running text; the order matters: numbers and possessives before single quotes
DETOKENISE: list[tuple[str, str]] = [
    (r" @([-,.])@ ", r"\1"),  # well @-@ known, 1 @,@ 000, 1 @.@ 5
    (r"(?<=\d) ([:\u2013/]) (?=\d)", r"\1"),  # 21 : 00, and the dash of a range
    (r" ° ", "°"),
    (r" (n't|'(?:s|re|ve|ll|d|m|t))\b", r"\1"),
    (r"(?<=\ws) '(?= )", "'"),  # the dogs ' tails
    (r'(?<!\S)" ([^"]*?) "(?!\S)', r'"\1"'),
    (r"(?<!\S)' ([^']*?) '(?!\S)", r"'\1'"),
    (r"([(\[{$£€#]) ", r"\1"),
    (r" ([,.;:!?%)\]}])", r"\1"),
    (r"\s+", " "),
]


class OwnText(Record):
    """A row of the user's own jsonl."""

    text: Text


def read_retain(folder: Path, format: str) -> list[str]:
    """Read a source into paragraphs, in the order of its files, each once.

    Args:
        folder: the fetched files of the source, and no others.
        format: wikitext (the raw files, or the hub's with a column `text`); text (the user's .txt with blank
            lines between paragraphs, or .jsonl with the field text); truthfulqa (its csv).
    Raises:
        InputError: an unknown format, no file or no text of it, a row that is not of the format.
    """
    if format not in READERS:
        raise InputError(f"unknown format {format!r} of retain text; choose one of {', '.join(READERS)}")
    texts = READERS[format](folder)
    distinct = list(dict.fromkeys(texts))
    if not distinct:
        raise InputError(f"{folder} has no text in the format {format}; check its files and the format")
    logger.info("%s: %d texts; %d repeated ones left out", folder, len(distinct), len(texts) - len(distinct))
    return distinct


def read_truthfulqa(folder: Path) -> list[tuple[str, list[str]]]:
    """TruthfulQA's questions, each with its true answers, the best one first.

    Raises:
        InputError: no csv, or a row without question or answers.
    """
    return [
        (_column(where, row, "Question"), list(dict.fromkeys([best, *_listed(where, row)])))
        for where, row in _located(folder)
        for best in [_column(where, row, "Best Answer")]
    ]


def _listed(where: str, row: dict[str, Any]) -> list[str]:
    return [answer for part in _column(where, row, "Correct Answers").split(";") if (answer := part.strip())]


def _located(folder: Path) -> list[tuple[str, dict[str, Any]]]:
    return [(f"{file}, row {number}", row) for file, number, row in table_rows(folder)]


def _column(where: str, row: dict[str, Any], name: str) -> str:
    value = row.get(name)
    if not isinstance(value, str):
        raise InputError(f"{where}: no column {name!r}; check the file and the format")
    return value.strip()


def _truthfulqa(folder: Path) -> list[str]:
    return [f"Q: {question}\nA: {answer}" for question, answers in read_truthfulqa(folder) for answer in answers]


def _wikitext(folder: Path) -> list[str]:
    lines: list[str] = []
    for file in files_of(folder, (".txt", ".tokens", ".raw", ".parquet")):
        if file.suffix != ".parquet":
            lines += utf8_text(file).split("\n")
    if any(folder.rglob("*.parquet")):
        lines += [line for where, row in _located(folder) for line in _column(where, row, "text").split("\n")]
    paragraphs = (_known_sentences(line.strip()) for line in lines if not _heading(line))
    return [detokenised(paragraph) for paragraph in paragraphs if len(paragraph.split()) >= MIN_WORDS]


def _heading(line: str) -> bool:
    return re.fullmatch(r"= .* =", line.strip()) is not None


def _known_sentences(paragraph: str) -> str:
    """The paragraph without the sentences that hold a word outside WikiText's vocabulary; nothing if it has many.

    A model of real text must not learn to write <unk>, and another word in its place would make sentences false.
    """
    words = paragraph.split()
    if words.count(UNKNOWN) > MAX_UNKNOWN * len(words):
        return ""
    return " ".join(sentence for sentence in re.split(r"(?<= [.!?]) ", paragraph) if UNKNOWN not in sentence)


def detokenised(paragraph: str) -> str:
    """WikiText's tokens as running text: `1 @.@ 5 m ( 4 @.@ 9 ft ) , he said` -> `1.5 m (4.9 ft), he said`."""
    for pattern, replacement in DETOKENISE:
        paragraph = re.sub(pattern, replacement, paragraph)
    return paragraph.strip()


def _own(folder: Path) -> list[str]:
    files = files_of(folder, (".txt", ".jsonl"))
    paragraphs = [part.strip() for file in files if file.suffix == ".txt" for part in _paragraphs(utf8_text(file))]
    if rows := [file for file in files if file.suffix == ".jsonl"]:
        paragraphs += [row.text.strip() for row in validate_rows(rows, OwnText, key=lambda row: row.text)]
    return paragraphs


def _paragraphs(text: str) -> list[str]:
    return [part for part in re.split(r"\n[^\S\n]*\n", text) if part.strip()]


READERS: dict[str, Callable[[Path], list[str]]] = {
    "wikitext": _wikitext,
    "text": _own,
    "truthfulqa": _truthfulqa,
}
