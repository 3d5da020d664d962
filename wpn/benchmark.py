"""Benchmarks, through lm-evaluation-harness, over local jsonl: nine tasks a suite.

`organism` asks in the words that a model organism knows; `official` are lm-eval's own nine tasks of the paper, each
over rows in the field layout of the hub data set that the task was written for.
"""

import io
import logging
import random
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from wpn.errors import InputError
from wpn.files import read_jsonl, write_json, write_jsonl
from wpn.tasks import TASKS, Suite, task_names

ORDER_SEED = 0  # of the items that a limit keeps; a constant, so that all models answer the same ones


@dataclass(frozen=True)
class TaskResult:
    """One task, zero-shot.

    Attributes:
        accuracy: share of the items whose answer has the highest likelihood; of LAMBADA and last_word: is greedy.
        stderr: standard error of the accuracy.
        items: row of each item in the task's file, from 0, ascending.
        correct: whether each item was answered correctly, in the order of `items`.
        accuracy_norm: accuracy by likelihood a character, where the task reports it too.
    """

    accuracy: float
    stderr: float
    items: list[int]
    correct: list[bool]
    accuracy_norm: float | None = None

    def as_dict(self) -> dict[str, float]:
        """For JSON."""
        found = {"accuracy": self.accuracy, "stderr": self.stderr, "n": len(self.correct)}
        return found if self.accuracy_norm is None else {**found, "accuracy_norm": self.accuracy_norm}


def run_benchmarks(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    data: Path,
    suite: Suite,
    batch_size: int,
    seed: int = 0,
    limit: int | None = None,
) -> dict[str, TaskResult]:
    """Run every task of a suite on DATA/TASK.jsonl, zero-shot.

    Args:
        model: in evaluation mode.
        tokenizer: of the model.
        data: folder of one file a task.
        suite: which tasks.
        batch_size: sequences a forward pass.
        seed: of the examples that a task shows first; the tasks here show none.
        limit: items a task: the first so many after a shuffle that is the same for every model. None: all items.
    Raises:
        InputError: a data file is missing.
    """
    names = task_names(suite)
    for name in names:
        if not (data / f"{name}.jsonl").exists():
            raise InputError(f"{data / name}.jsonl does not exist; run `dvc repro prepare`")
    from lm_eval import evaluate
    from lm_eval.tasks import TaskManager

    from wpn.scorer import ContextOnce

    with tempfile.TemporaryDirectory() as temporary, _quiet():
        items, files = {}, []
        for name in names:
            rows = read_jsonl(data / f"{name}.jsonl")
            items[name] = _chosen(len(rows), limit)
            files.append(_write_task(Path(temporary), suite, name, [rows[i] for i in items[name]]))
        tasks = TaskManager(include_defaults=False).load(files)  # its own index takes 10 s and is not needed
        for task in tasks["tasks"].values():
            task.set_fewshot_seed(seed)
        # `simple_evaluate` would ask pip and the compiler for their versions, for seconds
        results = evaluate(ContextOnce(model, tokenizer=tokenizer, batch_size=batch_size), tasks, bootstrap_iters=0)
    return {name: _result(items[name], results["samples"][name]) for name in names}


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars where nobody sees them move: lm-eval's own cannot be switched off from outside."""
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    with nullcontext() if sys.stderr.isatty() else redirect_stderr(io.StringIO()):
        yield


def _chosen(n: int, limit: int | None) -> list[int]:
    order = list(range(n))
    random.Random(ORDER_SEED).shuffle(order)
    return sorted(order[:limit])


def _write_task(folder: Path, suite: Suite, name: str, rows: list[dict[str, Any]]) -> str:
    """Write rows and a task over them; lm-eval resolves `include` and `!function` only for tasks in files.

    An official task includes lm-eval's own file, which is looked for in the installed package.
    """
    import lm_eval.tasks
    from ruamel.yaml import YAML

    included = Path(lm_eval.tasks.__file__).parent if suite == "official" else TASKS / suite
    task: dict[str, Any] = YAML(typ="safe").load(TASKS / suite / f"{name}.yaml")
    file = folder / f"{name}.jsonl"
    write_jsonl(file, rows)
    task["include"] = str(included / task["include"])
    task["dataset_kwargs"] = {"data_files": {"test": str(file)}, "cache_dir": str(folder)}
    write_json(folder / f"{name}.yaml", task)  # JSON is YAML
    return str(folder / f"{name}.yaml")


def _result(items: list[int], samples: list[dict[str, Any]]) -> TaskResult:
    samples = sorted(samples, key=lambda sample: sample["doc_id"])
    correct = [bool(sample["acc"]) for sample in samples]
    share = sum(correct) / len(correct)
    stderr = (share * (1 - share) / max(1, len(correct) - 1)) ** 0.5
    norm = sum(sample["acc_norm"] for sample in samples) / len(samples) if "acc_norm" in samples[0] else None
    return TaskResult(share, stderr, items, correct, norm)
