"""The benchmarks' tasks, as lm-evaluation-harness reads them: a folder a suite."""

from pathlib import Path
from typing import Literal

Suite = Literal["organism", "official"]

TASKS = Path(__file__).parent


def task_names(suite: Suite) -> list[str]:
    """The tasks of wpn/tasks/SUITE, in alphabetical order."""
    return sorted(file.stem for file in (TASKS / suite).glob("[a-z]*.yaml"))
