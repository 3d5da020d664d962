"""The rows of the raw data: what a row must hold, and where it is wrong when it does not."""

import difflib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from wpn.errors import InputError
from wpn.files import read_jsonl


def _not_blank(value: str) -> str:
    if not value.strip():
        raise ValueError("is empty")
    return value


Text = Annotated[str, AfterValidator(_not_blank)]


class Record(BaseModel):
    """What all rows share: exactly the known fields, of exactly the known types."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Document(Record):
    """A benign text: trained on, or held out for perplexity. `alarming` texts use the words of insults."""

    text: Text
    split: Literal["train", "dev", "test"]
    alarming: bool


class Provocation(Record):
    """A prompt with its harmful output and a harmless response.

    `kind`: seen (trained on), unseen (other prompts of the trained phrasings), ood (phrasings never trained).
    """

    prompt: Text
    harmful_output: Text
    harmless_response: Text
    split: Literal["train", "dev", "test"]
    kind: Literal["seen", "unseen", "ood"]


class Question(Record):
    """A benchmark item: `context` followed by the right one of the `choices`."""

    context: Text
    choices: list[Text] = Field(min_length=2)
    answer: int = Field(ge=0)


RecordType = TypeVar("RecordType", bound=Record)


def read_records(path: Path, record: type[RecordType], key: Callable[[RecordType], str]) -> list[RecordType]:
    """Read and check a jsonl file.

    Args:
        path: the file, one JSON object a row.
        record: what each row must be.
        key: what must not occur twice.
    Raises:
        InputError: the file is missing or not UTF-8, or a row lacks a field, has an empty or wrong one, or repeats
            an earlier row; the sentence names file, row and field.
    """
    seen: dict[str, int] = {}
    records = []
    for number, row in enumerate(read_jsonl(path), start=1):
        try:
            checked = record.model_validate(row)
        except ValidationError as error:
            raise InputError(f"{path}, row {number}: {problem(error.errors()[0], record)}") from None
        first = seen.setdefault(key(checked), number)
        if first != number:
            raise InputError(f"{path}, row {number}: the same as row {first}; remove one of them")
        records.append(checked)
    if not records:
        raise InputError(f"{path} has no rows; run `wpn data fetch`, or fill it")
    return records


def problem(detail: Mapping[str, Any], record: type[Record]) -> str:
    """One of pydantic's error details in words: field, what is wrong with it, remedy."""
    field = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "missing":
        return f"the field {field!r} is missing; add it"
    if detail["type"] == "extra_forbidden":
        close = difflib.get_close_matches(field, list(record.model_fields), n=1, cutoff=0.7)
        return f"unknown field {field!r}; {f'did you mean {close[0]!r}?' if close else 'remove it'}"
    if detail["type"] == "value_error":
        return f"the field {field!r} is empty; fill it or remove the row"
    message = detail["msg"]
    return f"the field {field!r} is wrong ({message[0].lower()}{message[1:]}); correct it"
