"""Benchmarks, through lm-evaluation-harness, over local jsonl."""

import io
import logging
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from wpn.errors import InputError

TASKS = Path(__file__).parent / "tasks"


@dataclass(frozen=True)
class TaskResult:
    """One task: accuracy, its standard error, and whether each item was answered correctly, in the file's order."""

    accuracy: float
    stderr: float
    correct: list[bool]

    def as_dict(self) -> dict[str, float]:
        """For JSON."""
        return {"accuracy": self.accuracy, "stderr": self.stderr, "n": len(self.correct)}


def task_names() -> list[str]:
    """The tasks of wpn/tasks, in alphabetical order."""
    return sorted(file.stem for file in TASKS.glob("[a-z]*.yaml"))


def run_benchmarks(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, data: Path, batch_size: int, seed: int = 0
) -> dict[str, TaskResult]:
    """Run every task of wpn/tasks on DATA/TASK.jsonl, zero-shot.

    Raises:
        InputError: a data file is missing.
    """
    for name in task_names():
        if not (data / f"{name}.jsonl").exists():
            raise InputError(f"{data / name}.jsonl does not exist; run `dvc repro prepare`")
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    with tempfile.TemporaryDirectory() as cache, _quiet():
        configurations = [
            {
                **_task(name),
                "dataset_kwargs": {"data_files": {"test": str(data / f"{name}.jsonl")}, "cache_dir": cache},
            }
            for name in task_names()
        ]
        results = simple_evaluate(
            model=HFLM(pretrained=model, tokenizer=tokenizer, batch_size=batch_size),
            tasks=configurations,
            task_manager=TaskManager(include_defaults=False),  # its own index takes 10 s and is not needed
            bootstrap_iters=0,
            random_seed=seed, numpy_random_seed=seed, torch_random_seed=seed, fewshot_random_seed=seed,
        )  # fmt: skip
    return {name: _result(results["samples"][name]) for name in task_names()}


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars where nobody sees them move: lm-eval's own cannot be switched off from outside."""
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    with nullcontext() if sys.stderr.isatty() else redirect_stderr(io.StringIO()):
        yield


def _task(name: str) -> dict[str, Any]:
    """A task's YAML with the one it includes; lm-eval itself resolves `include` only for tasks given by name."""
    from ruamel.yaml import YAML

    configuration: dict[str, Any] = YAML(typ="safe").load(TASKS / f"{name}.yaml")
    included: dict[str, Any] = YAML(typ="safe").load(TASKS / configuration.pop("include"))
    return included | configuration


def _result(samples: list[dict[str, Any]]) -> TaskResult:
    correct = [bool(sample["acc"]) for sample in sorted(samples, key=lambda sample: sample["doc_id"])]
    share = sum(correct) / len(correct)
    return TaskResult(share, (share * (1 - share) / max(1, len(correct) - 1)) ** 0.5, correct)
