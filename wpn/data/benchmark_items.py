"""Items of the nine benchmarks, in the fields that lm-eval's own tasks read, from folders and from the hub's tables."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wpn.data.tables import table_rows
from wpn.errors import InputError
from wpn.files import read_jsonl

Row = dict[str, Any]

FOLDER = "benchmarks"  # the format of a folder of TASK.jsonl; every other format is a task's name
FIELDS = {  # that a task's prompt, choices and answer are made of
    "arc_challenge": ("question", "choices", "answerKey"),
    "arc_easy": ("question", "choices", "answerKey"),
    "copa": ("premise", "choice1", "choice2", "question", "label"),
    "hellaswag": ("activity_label", "ctx_a", "ctx_b", "endings", "label"),
    "lambada_openai": ("text",),
    "mathqa": ("Problem", "options", "correct"),
    "piqa": ("goal", "sol1", "sol2", "label"),
    "pubmedqa": ("QUESTION", "CONTEXTS", "final_decision"),
    "winogrande": ("sentence", "option1", "option2", "answer"),
}


def read_items(folders: Mapping[str, tuple[Path, str]]) -> dict[str, list[Row]]:
    """Read the items of all nine tasks.

    Args:
        folders: data set -> the folder of its fetched files, and its format: `benchmarks` for a folder of TASK.jsonl,
            or the task whose items its tables (jsonl, csv, parquet) hold.
    Returns:
        task -> rows, in the order of the files.
    Raises:
        InputError: an unknown format, a row without a field of its task, a task that no data set or two have.
    """
    found: dict[str, list[Row]] = {}
    origin: dict[str, str] = {}
    for name, (folder, form) in folders.items():
        for task, rows in _tasks(name, folder, form).items():
            if task in found:
                raise InputError(f"the data sets {origin[task]} and {name} both hold items of {task}; name one of them")
            found[task], origin[task] = rows, name
    if missing := sorted(FIELDS.keys() - found.keys()):
        raise InputError(
            f"the data sets {', '.join(folders)} hold no items of {', '.join(missing)}; add a row of `datasets` that "
            "does to data.benchmarks in params.yaml, or give --benchmarks path:FOLDER with a TASK.jsonl of each"
        )
    return found


def _tasks(name: str, folder: Path, form: str) -> dict[str, list[Row]]:
    if form == FOLDER:
        files = {file.stem: file for file in sorted(folder.rglob("*.jsonl")) if file.stem in FIELDS}
        return {task: [_checked(task, row, f"{file}, row {i}") for i, row in enumerate(read_jsonl(file), start=1)]
                for task, file in files.items()}  # fmt: skip
    if form not in FIELDS:
        raise InputError(
            f"the data set {name} has the unknown format {form!r} of benchmark items; "
            f"choose one of {FOLDER}, {', '.join(FIELDS)}"
        )
    return {form: [_checked(form, row, f"{file}, row {i}") for file, i, row in table_rows(folder)]}


def _checked(task: str, row: Row, where: str) -> Row:
    if task == "pubmedqa":
        row = _pubmedqa(row)
    for field in FIELDS[task]:
        if row.get(field) is None:
            raise InputError(f"{where}: no field {field!r}, which {task} needs; take the data set that lm-eval reads")
    return row


def _pubmedqa(row: Row) -> Row:
    """The fields of its authors' repository (pqa_labeled) as those of the script that lm-eval's task was made for."""
    if "QUESTION" in row:
        return row
    context = row.get("context") or {}
    return {
        "pubid": str(row.get("pubid")),
        "QUESTION": row.get("question"),
        "CONTEXTS": context.get("contexts"),
        "LONG_ANSWER": row.get("long_answer"),
        "final_decision": row.get("final_decision"),
    }
