"""As many trials for every method: each a row of `methods` in a clone, measured on the development split.

Of a trial nothing stays but its numbers: a hundred models would fill the disk.
"""

import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from pipelines.adopt import document_text, read_document
from pipelines.clone import clone
from pipelines.repro import RETRY_AFTER, StageDiverged, StageInterrupted, StageRunner
from wpn.config.loading import parse_params
from wpn.config.params import Params
from wpn.config.probes import PROBES
from wpn.errors import InputError
from wpn.estimates import estimates, flatten
from wpn.files import read_json, write_text
from wpn.search import drawn, score

Row = dict[str, Any]


def search(
    root: Path, commit: str, models: Sequence[str], tried: Mapping[str, Sequence[Row]], say: Callable[[str], None]
) -> Iterator[Row]:
    """Train, evaluate and attack (by relearning) every trial of every method, with the seed of params.yaml.

    Args:
        models: rows of `models` that share a recipe.
        tried: {method: the settings of its trials} (`trials_of`).
        say: is told of every stage before the trials, and of every trial.
    Yields:
        model, method, trial, settings; and score, seconds (of training) and numbers, or why it `failed`: a rate at
        which training diverges is an answer too.
    Raises:
        InputError: a stage says that its input is bad.
        StageFailed: a stage failed, or was killed over and over.
    """
    text = (root / "params.yaml").read_text(encoding="utf-8")
    params = parse_params(text, root / "params.yaml")
    recipe, first = params.models[models[0]].recipe, next(iter(tried))
    references = [f"{stage}@{model}" for model in models for stage in ("pairs", "evaluate-reference")]
    with (
        clone(root, commit, _document(text, recipe, models, _named(first, tried[first]))) as folder,
        ThreadPoolExecutor(params.recipes[recipe].compute.workers) as pool,
        closing(StageRunner(folder)) as runner,  # first: on Ctrl-C the trials that wait are not begun
    ):
        runner.run_all(lambda stage: say(f"before the trials: {stage}"), references)
        for method, settings in tried.items():
            write_text(folder / "params.yaml", _document(text, recipe, models, _named(method, settings)))
            runner.run("settings", _unheard)
            for row in pool.map(partial(_trial, runner, folder), _rows(models, method, settings)):
                said = f"score {row['score']:.3f}" if "score" in row else row["failed"].splitlines()[-1].strip()
                say(f"{row['model']}, {method}, trial {row['trial']}: {said}")
                yield row


def trials_of(params: Params, recipe: str, method: str, number: int) -> list[Row]:
    """The settings of a method's trials, at most so many: the first its row, the others drawn from `search`.

    Raises:
        InputError: the recipe has nothing to draw them from.
    """
    spaces = params.recipes[recipe].search
    if method not in spaces:
        raise InputError(
            f"recipes.{recipe}.search in params.yaml has no {method!r}, so nothing can be drawn for its trials; "
            "add it, or leave --trials out"
        )
    row = params.recipes[recipe].methods[method].model_dump(mode="json")
    return drawn(row, spaces[method], f"{params.seed}-{method}", number)


def _document(text: str, recipe: str, models: Sequence[str], methods: Mapping[str, Row]) -> str:
    """params.yaml with these rows as the only methods, on the development split."""
    yaml, document = read_document(text)
    document["pipeline"] = {"models": list(models), "methods": list(methods), "candidate": next(iter(methods))}
    section = document["recipes"][recipe]
    section["evaluate"]["split"] = "dev"
    section["methods"], section["search"] = dict(methods), {}
    _only_relearning(section["assess"])
    return document_text(yaml, document)


def _only_relearning(section: Any) -> None:
    """Of the attacks those that the score knows: the first of `relearning`, on all of its pairs."""
    section.update(dict.fromkeys(name for name in PROBES if name != "relearning"))
    if relearning := section["relearning"]:
        relearning["pairs"], relearning["attacks"] = relearning["pairs"][:1], relearning["attacks"][:1]


def _named(method: str, settings: Sequence[Row]) -> dict[str, Row]:
    return {_name(method, trial): each for trial, each in enumerate(settings)}


def _name(method: str, trial: int) -> str:
    return f"{method}-trial-{trial}"


def _rows(models: Sequence[str], method: str, settings: Sequence[Row]) -> list[Row]:
    return [
        {"model": model, "method": method, "trial": trial, "settings": each}
        for trial, each in enumerate(settings)
        for model in models
    ]


def _trial(runner: StageRunner, folder: Path, row: Row) -> Row:
    """The row, with what its settings reach, or why they failed."""
    model, name = row["model"], _name(row["method"], row["trial"])
    try:
        for stage in ("unlearn", "evaluate", "assess"):
            _patiently(runner, f"{stage}@{model}-{name}")
    except StageDiverged as error:
        return {**row, "failed": str(error)}
    shutil.rmtree(folder / "build" / "unlearned" / model / name / "model")
    measured = folder / "build" / "evaluation" / model
    before, after = (read_json(measured / stage / "metrics.json") for stage in ("before", name))
    attacked = read_json(folder / "build" / "assessment" / model / name / "summary.json")
    numbers = flatten(estimates(before, after, assessment=attacked))
    return {**row, "score": round(score(numbers), 4), "seconds": after["training_seconds"], "numbers": numbers}


def _patiently(runner: StageRunner, stage: str) -> None:
    """A stage, tried again where something killed it."""
    for pause in RETRY_AFTER:
        try:
            runner.run(stage, _unheard, commit=False)
        except StageInterrupted:
            time.sleep(pause)
        else:
            return
    runner.run(stage, _unheard, commit=False)


def _unheard(_line: str) -> None:
    """What trials print is of no interest while they go well; their errors hold it."""
