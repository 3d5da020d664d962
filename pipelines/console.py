"""What `wpn run` shows of a flow: the stages' own lines, a bar on a terminal, and no line of Prefect's."""

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

if TYPE_CHECKING:
    from pipelines.history import Change

ENGINE = ("prefect.flow_runs", "prefect.task_runs")  # Prefect's own words on a run, which `wpn run` says itself
WIDTH = 110  # of a log file, a pipe or a page of CI output, which have no width of their own


class StageLines(logging.Handler):
    """Prints the records that flows.say marked, and warnings of others; moves the bar as stages end."""

    def __init__(self, console: Console, progress: Progress) -> None:
        super().__init__()
        self._console = console
        self._progress = progress
        self._bar = progress.add_task("stages", total=None, visible=False)

    def emit(self, record: logging.LogRecord) -> None:
        marks = getattr(record, "wpn", None)
        if marks is None and (record.levelno < logging.WARNING or record.name.startswith(ENGINE)):
            return
        name = getattr(record, "task_run_name", "") if marks is not None else record.name
        self._console.print(f"{name:<24} {record.getMessage()}", markup=False, highlight=False, soft_wrap=True)
        if marks:
            done = marks.get("done", marks.get("started", 1) - 1)
            self._progress.update(self._bar, completed=done, total=marks["total"], description=name, visible=True)


def make_console() -> Console:
    """Standard output, at its own width on a terminal."""
    console = Console()
    return console if console.is_terminal else Console(width=WIDTH)


def history_table(changes: "Iterable[Change]") -> Table:
    """When, who, from which version to which, and why."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1))
    for name in ("when (UTC)", "who", "what", "from", "to", "why"):
        table.add_column(name, no_wrap=name not in ("who", "why"))
    for change in changes:
        at = change.at[:19].replace("T", " ")
        table.add_row(at, change.by, change.action, change.replaced or "-", change.to or "-", change.why)
    return table


@contextmanager
def stage_lines(console: Console) -> Iterator[None]:
    """Show a flow that runs inside. Call it after importing Prefect, which sets its own console handler up.

    That handler is put aside for the rest of the process; those that send the runs' lines to the server stay.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        logging.getLogger().handlers[:] = [StageLines(console, progress)]
        yield
