"""One stage in a subprocess: its lines, its outcome, and how its failures read."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipelines import repro, stages
from pipelines.repro import DIVERGED, StageDiverged, StageFailed, StageInterrupted, StageRunner, run_lock
from tests.pipelines.toy import REPOSITORY, breaks, stages_run
from wpn.errors import InputError


def test_a_stage_is_computed_once_and_its_lines_come_through(fresh_project: Path) -> None:
    lines: list[str] = []
    assert StageRunner(fresh_project).run("settings", lines.append) == "computed"
    assert lines == ["toy settings"], "DVC's advice to a person at a prompt is left out"
    assert StageRunner(fresh_project).run("settings", lines.append) == "unchanged"


def test_outputs_that_were_deleted_are_restored_without_running(project: Path) -> None:
    (project / "build" / "settings" / "opt" / "unlearn.json").unlink()
    assert StageRunner(project).run("settings", print) in ("restored", "unchanged")
    assert (project / "build" / "settings" / "opt" / "unlearn.json").exists()
    assert not (project / "runs.log").exists()


def test_bad_input_of_a_stage_is_its_own_sentence(fresh_project: Path) -> None:
    breaks(fresh_project, "settings", "input")
    with pytest.raises(InputError) as raised:
        StageRunner(fresh_project).run("settings", print)
    assert str(raised.value) == "data/raw.jsonl, row 3: the prompt is empty; fill it or delete the row"


def test_of_all_stages_each_is_told_as_it_begins_and_the_failed_one_is_named(fresh_project: Path) -> None:
    breaks(fresh_project, "settings", "crash")
    begun: list[str] = []
    with pytest.raises(StageFailed, match=r"stage settings failed \(exit code 1\); its last lines:\n"):
        StageRunner(fresh_project).run_all(begun.append)
    assert begun == ["settings"], "what comes after it is not begun"
    breaks(fresh_project, "settings", "input")
    with pytest.raises(InputError, match=r"^data/raw.jsonl, row 3: the prompt is empty; fill it or delete the row$"):
        StageRunner(fresh_project).run_all(begun.append)


def test_one_target_is_forced_with_what_it_needs_and_nothing_else(project: Path) -> None:
    begun: list[str] = []
    StageRunner(project).run_all(begun.append, ["unlearn@opt-sft"])
    assert begun == [], "it is up to date"
    StageRunner(project).run_all(begun.append, ["unlearn@opt-sft"], force=True)
    assert sorted(begun) == ["pairs@opt", "prepare@opt", "pretrain@opt", "settings", "unlearn@opt-sft"]
    assert sorted(stages_run(project)) == sorted(begun), "each once"


def test_a_message_of_several_lines_stays_whole(fresh_project: Path) -> None:
    breaks(fresh_project, "settings", "inputs")
    with pytest.raises(InputError) as raised:
        StageRunner(fresh_project).run("settings", print)
    assert str(raised.value) == "2 problems in the rows:\n  row 1: empty\n  row 3: empty"


def test_a_failed_stage_shows_its_last_lines(fresh_project: Path) -> None:
    breaks(fresh_project, "settings", "crash")
    with pytest.raises(StageFailed) as raised:
        StageRunner(fresh_project).run("settings", print)
    assert not isinstance(raised.value, StageInterrupted)
    assert str(raised.value).startswith("stage settings failed (exit code 1); its last lines:\n")
    assert "ZeroDivisionError" in str(raised.value)


def test_a_stage_whose_training_diverged_is_known_by_its_exit_code(fresh_project: Path) -> None:
    breaks(fresh_project, "settings", "diverges")
    with pytest.raises(StageDiverged, match="the loss is not finite at step 2"):
        StageRunner(fresh_project).run("settings", print)


@pytest.mark.parametrize(("error", "code"), [(FloatingPointError, DIVERGED), (MemoryError, 1), (InputError, 2)])
def test_a_stage_that_cannot_go_on_says_one_sentence(error, code, monkeypatch, capsys) -> None:
    def fail(_params: object) -> None:
        raise error("it is so")

    monkeypatch.setitem(stages.STAGES, "settings", fail)
    monkeypatch.setattr(stages, "set_up_process", lambda online: None)
    monkeypatch.chdir(REPOSITORY)
    assert stages.main(["settings"]) == code
    assert capsys.readouterr().err == "it is so\n"


def test_a_trial_leaves_nothing_in_the_cache(fresh_project: Path) -> None:
    def kept() -> set[Path]:
        return {path for path in (fresh_project / ".dvc" / "cache").rglob("*") if path.is_file()}

    before = kept()
    assert StageRunner(fresh_project).run("settings", print, commit=False) == "computed"
    assert (fresh_project / "build" / "settings").exists() and kept() == before


def test_a_killed_stage_may_be_tried_again(fresh_project: Path) -> None:
    breaks(fresh_project, "settings", "killed once")
    runner = StageRunner(fresh_project)
    with pytest.raises(StageInterrupted, match="killed"):
        runner.run("settings", print)
    assert runner.run("settings", print) == "computed"


@contextmanager
def dvc_busy(root: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Another process holds DVC's lock, until the block or the process ends."""
    code = "import sys, zc.lockfile; lock = zc.lockfile.LockFile(sys.argv[1]); print(1, flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", code, str(root / ".dvc" / "tmp" / "lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        yield holder
        assert holder.stdin is not None
        holder.stdin.close()


def test_a_stage_waits_for_another_command_of_dvc(project: Path) -> None:
    (project / ".dvc" / "tmp").mkdir(exist_ok=True)
    said: list[str] = []
    with dvc_busy(project) as holder:

        def heard(line: str) -> None:
            said.append(line)
            holder.kill()

        assert StageRunner(project).run("settings", heard) == "unchanged"
    assert "Unable to acquire lock" in said[0]


def test_a_dvc_that_stays_busy_may_be_tried_again(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repro, "BUSY_TRIES", 1)
    (project / ".dvc" / "tmp").mkdir(exist_ok=True)
    with dvc_busy(project), pytest.raises(StageInterrupted, match="another DVC command"):
        StageRunner(project).run("settings", print)


def test_closing_ends_a_running_stage_and_starts_no_other(fresh_project: Path) -> None:
    breaks(fresh_project, "settings", "hang")
    runner = StageRunner(fresh_project)
    started = threading.Event()
    errors: list[BaseException] = []

    def work() -> None:
        try:
            runner.run("settings", lambda line: started.set() if line == "hanging" else None)
        except StageFailed as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    assert started.wait(timeout=30)
    runner.close()
    thread.join(timeout=60)
    assert not thread.is_alive()
    assert "ended with the run" in str(errors[0]) and not isinstance(errors[0], StageInterrupted)
    with pytest.raises(StageFailed, match="not started"):
        runner.run("settings", print)


def test_a_second_run_in_the_checkout_is_refused_at_once(project: Path) -> None:
    code = f"""
from pathlib import Path
from pipelines.repro import run_lock
with run_lock(Path({str(project)!r})):
    print("never")
"""
    with run_lock(project), run_lock(project):  # the same process may take it again: the command, then the flow
        other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "another `wpn run` is running" in other.stderr and "never" not in other.stdout
    subprocess.run([sys.executable, "-c", code], check=True)
