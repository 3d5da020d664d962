"""DVC stages in a subprocess: their lines as they come, a failure that can be read, one run at a time.

Apart from Prefect, so that what is transient and what is the user's to mend is decided, and tested, in one place.
"""

import os
import re
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout

from wpn.errors import InputError

Outcome = Literal["computed", "restored", "unchanged"]

LINES_SHOWN = 15  # of a failed stage's output, in the error
BUSY = ("Unable to acquire lock", "is busy, it is being blocked by")  # DVC's own words; exit code 255
# Killed from outside (out of memory, a machine going away), as Popen says it and as a shell does. A crash of
# its own (SIGSEGV, SIGABRT) would come again, so it is no reason to try again.
KILLED = {-signal.SIGKILL, -signal.SIGTERM, 128 + signal.SIGKILL, 128 + signal.SIGTERM}
DIVERGED = 3  # the exit code of a stage whose loss is no number
# seconds before a stage that was interrupted is tried again: a killed process may need memory to be freed
RETRY_AFTER: list[float] = [2, 5, 15]
# how often a stage is tried while DVC's lock is held, be it by another stage of this run: every command of DVC holds it
# while it reads and writes dvc.lock, and needs the longer for that the more models and methods there are
BUSY_TRIES = 25  # some two minutes, for DVC itself waits in each
BUSY_PAUSE = 1.0  # seconds
BEGINS = re.compile(r"Running stage '(.+)':")
# What DVC prints for a person at a prompt and is noise in a log.
CHATTER = re.compile(
    r"\s*$|Running stage |> |Generating lock file|Updating lock file|To track the changes with git"
    r"|\tgit add |To enable auto staging|\tdvc config core\.autostage|Use `dvc push`"
    r"|Stage .* (didn't change|is cached)|Data and pipelines are up to date"
    r"|WARNING: '.*twin/evidence' is empty"  # a real model has no twin
)


class StageFailed(RuntimeError):
    """A stage ended badly; the message names it and holds its last lines."""


class StageDiverged(StageFailed):
    """Training came to a loss that is no number: the settings' fault."""


class StageInterrupted(StageFailed):
    """Not the stage's fault: DVC was busy, or the process was killed. Worth another try."""


@contextmanager
def run_lock(root: Path) -> Iterator[None]:
    """One run in a checkout; a second one fails at once. May be taken again inside (the command, then the flow)."""
    path = root / "build" / ".run.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, is_singleton=True, thread_local=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise InputError(f"another `wpn run` is running in {root}; wait until it has ended") from None
    try:
        yield
    finally:
        lock.release()


class StageRunner:
    """Runs stages of one project, and can end those that are running when the flow has to end."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._running: set[subprocess.Popen[str]] = set()
        self._stopped = False

    def run(self, stage: str, log: Callable[[str], None], commit: bool = True) -> Outcome:
        """`dvc repro --single-item STAGE`; every line that it prints goes to `log` at once.

        Args:
            commit: keep its output in DVC's cache.
        Raises:
            InputError: the stage says that its input is bad (exit code 2).
            StageDiverged: its training did (exit code 3).
            StageInterrupted: DVC stayed busy, or something killed the process.
            StageFailed: everything else.
        """

        def heard(line: str) -> None:
            if not CHATTER.match(line):
                log(line)

        arguments = ["--single-item", *([] if commit else ["--no-commit"]), stage]
        for _ in range(BUSY_TRIES):
            if self._stopped:
                raise StageFailed(f"stage {stage} was not started: the run is being ended")
            code, lines = self._repro(arguments, heard)
            if code == 0:
                return _outcome(lines)
            if not _busy(lines):
                break
            time.sleep(BUSY_PAUSE)
        raise self._failure(stage, code, lines)

    def run_all(self, begun: Callable[[str], None], targets: Sequence[str] = (), force: bool = False) -> None:
        """`dvc repro`: every stage in its order; `begun` is called with the name of each that is computed.

        Args:
            targets: only these, and what they need.
            force: compute also what has not changed, or lies in DVC's cache.
        Raises:
            As `run`, for the stage that failed; those after it were not run.
        """
        names = ["of dvc.yaml"]  # before the first one

        def heard(line: str) -> None:
            if found := BEGINS.match(line):
                names.append(found[1])
                begun(found[1])

        code, lines = self._repro([*(["--force"] if force else []), *targets], heard)
        if code != 0:
            raise self._failure(names[-1], code, lines)

    def _repro(self, arguments: list[str], heard: Callable[[str], None]) -> tuple[int, list[str]]:
        process = subprocess.Popen(
            [sys.executable, "-m", "dvc", "repro", *arguments],
            cwd=self._root,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,  # one group, so that `close` reaches DVC's shell and the stage too
        )
        self._running.add(process)
        try:
            assert process.stdout is not None
            lines: list[str] = []
            for line in process.stdout:
                lines.append(line.rstrip())
                heard(lines[-1])
            return process.wait(), lines
        finally:
            _end(process)
            self._running.discard(process)

    def close(self) -> None:
        """End what is running and start nothing more (Ctrl-C, a cancelled flow run)."""
        self._stopped = True
        for process in list(self._running):
            _end(process)

    def _failure(self, stage: str, code: int, lines: list[str]) -> Exception:
        if self._stopped:
            return StageFailed(f"stage {stage} was ended with the run")
        if _busy(lines):
            return StageInterrupted(f"stage {stage} could not start: another DVC command holds DVC's lock")
        said = re.search(r"exited with (-?\d+)$", lines[-1]) if lines else None  # DVC itself exits with 255
        code = int(said.group(1)) if said else code
        body = [line for line in lines if not CHATTER.match(line)]
        if code in KILLED:
            return StageInterrupted(f"stage {stage} was killed (exit code {code}; out of memory?)")
        if said and code == 2 and len(body) > 1:
            return InputError(_without_prefix(_message(body[:-1])))  # what stands before DVC's own last line
        tail = "\n".join(f"  {line}" for line in deque(body, LINES_SHOWN))
        failure = StageDiverged if said and code == DIVERGED else StageFailed
        return failure(f"stage {stage} failed (exit code {code}); its last lines:\n{tail}")


def _busy(lines: list[str]) -> bool:
    return any(words in line for line in lines for words in BUSY)


def _message(lines: list[str]) -> str:
    """The last message of a stage: its last line, with those before it when it is a continuation (indented)."""
    first = next(i for i in reversed(range(len(lines))) if i == 0 or not lines[i].startswith("  "))
    return "\n".join(lines[first:])


def _without_prefix(sentence: str) -> str:
    return re.sub(r"^(wpn|error|stages?): ", "", sentence, flags=re.IGNORECASE)


def _environment() -> dict[str, str]:
    """`python` in dvc.yaml must be the interpreter that runs us, whether or not its environment is active."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    return {**os.environ, "PATH": path, "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"}


def _outcome(lines: list[str]) -> Outcome:
    if any(BEGINS.match(line) for line in lines):
        return "computed"
    return "restored" if any("is cached - skipping run" in line for line in lines) else "unchanged"


def _end(process: subprocess.Popen[str]) -> None:
    """Terminate the process group, kill it when it does not listen; nothing when it has ended."""
    if process.poll() is not None:
        return
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(timeout=5)
            return
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue
