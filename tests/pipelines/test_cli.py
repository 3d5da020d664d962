"""`wpn ...` as a user types it: what it prints, and its exit codes."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from pipelines.processes import free_port
from pipelines.repro import run_lock
from tests.pipelines.toy import breaks, stages_run

WPN = [sys.executable, "-m", "pipelines.cli"]


def wpn(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command in the current folder, which is the test's project."""
    return subprocess.run(
        [*WPN, *words],
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def assert_one_sentence(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """Exit code 2 and one line on standard error that holds `words`."""
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1 and done.stderr.startswith("wpn: "), done.stderr
    assert all(word in done.stderr for word in words), done.stderr


@pytest.fixture
def own_server(registered_project: Path, prefect_api: str, prefect_home: Path) -> dict[str, str]:
    """Settings under which `wpn run` starts its temporary server, with a database that need not be migrated."""
    home = registered_project / "build" / "prefect"
    home.mkdir(parents=True)
    databases = (prefect_home / "prefect.db", home / "prefect.db")
    source, copy = (sqlite3.connect(file) for file in databases)
    with closing(source), closing(copy):
        source.backup(copy)
    return {"PREFECT_API_URL": "", "PREFECT_HOME": str(prefect_home)}


def test_help_imports_nothing_heavy() -> None:
    code = "import sys, pipelines.cli; print([m for m in ('prefect', 'mlflow', 'dvc', 'torch') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert wpn("--help").returncode == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("run", "--model", "bert"), ("unknown model 'bert'", "opt, gpt-neo")),
        (("run", "--method", "dpoo"), ("unknown method 'dpoo'", "wpn, sft")),
        (("results", "--model", "bert"), ("unknown model 'bert'", "opt, gpt-neo")),
    ],
)
def test_an_unknown_name_is_one_sentence(project: Path, words: tuple[str, ...], said: tuple[str, ...]) -> None:
    assert_one_sentence(wpn(*words), *said)


def test_bad_parameters_are_one_sentence(project: Path) -> None:
    parameters = (project / "params.yaml").read_text()
    (project / "params.yaml").write_text(f"{parameters}sead: 1\n")
    assert_one_sentence(wpn("run"), "params.yaml", "sead")


def test_outside_a_project_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert_one_sentence(wpn("results"), "no dvc.yaml")


def test_a_second_run_in_the_checkout_is_one_sentence(project: Path) -> None:
    with run_lock(project):
        assert_one_sentence(wpn("run"), "another `wpn run` is running")


def test_mlflow_out_of_reach_is_one_sentence(project: Path) -> None:
    address = f"http://127.0.0.1:{free_port()}"
    assert_one_sentence(wpn("run", MLFLOW_TRACKING_URI=address), address, "unset it")
    assert_one_sentence(
        wpn("approve", "wpn-opt", "1", "--by", "ana", "--reason", "why", MLFLOW_TRACKING_URI=address), address
    )


def test_a_prefect_server_out_of_reach_is_one_sentence(stored_project: Path) -> None:
    address = f"http://127.0.0.1:{free_port()}/api"
    assert_one_sentence(wpn("run", PREFECT_API_URL=address), address, "unset it")


def test_results_are_a_table_or_json(project: Path) -> None:
    table = wpn("results")
    assert table.returncode == 0 and "gpt-neo" in table.stdout and "opt / sft was refused" in table.stdout
    rows = json.loads(wpn("results", "--json").stdout)
    assert rows == json.loads((project / "build" / "report" / "results.json").read_text())


def test_what_each_stage_took_is_a_table_or_json(project: Path) -> None:
    table = wpn("results", "--usage", "--model", "opt")
    assert table.returncode == 0 and "evaluate-reference" in table.stdout and "gpt-neo" not in table.stdout
    assert all(len(line) <= 80 for line in table.stdout.splitlines())
    rows = json.loads(wpn("results", "--usage", "--json").stdout)
    assert rows == json.loads((project / "build" / "report" / "usage.json").read_text())
    stages = {(row["method"], row["stage"]) for row in rows if row["model"] == "opt"}
    assert (None, "prepare") in stages and ("sft", "unlearn") in stages and len(stages) == 5 + 2 * 4


def test_results_of_a_part_show_the_part(project: Path) -> None:
    (project / "build" / "gate" / "gpt-neo" / "wpn.json").unlink()
    rows = json.loads(wpn("results", "--json").stdout)
    assert ("gpt-neo", "wpn") not in {(row["model"], row["method"]) for row in rows} and len(rows) == 7
    assert_one_sentence(
        wpn("results", "--model", "gpt-neo", "--method", "wpn"), "run `wpn run --model gpt-neo --method wpn`"
    )


def test_results_of_nothing_say_how_to_make_them(fresh_project: Path) -> None:
    assert_one_sentence(wpn("results"), "run `wpn run --model opt`")


def test_a_run_ends_with_its_results_and_what_to_type_next(
    registered_project: Path, own_server: dict[str, str]
) -> None:
    done = wpn("run", **own_server)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "", "neither Prefect nor MLflow talks of itself"
    for words in (
        "97.0-100",
        "opt / wpn passed the gate",
        "gpt-neo / sft was refused by the gate: lower 95 % bound of harmless_unseen is 0.8800",
        "Nothing was recomputed: every stage is up to date.",
        "Registered: wpn-opt version 1, gate passed, approval pending.",
        'wpn approve wpn-opt 1 --by "$USER"',
        "mlflow ui --backend-store-uri sqlite:///registry/mlflow.db",
    ):
        assert words in done.stdout, done.stdout
    assert done.stdout.index("Next:") < done.stdout.index("wpn promote")
    assert stages_run(registered_project) == []
    assert not processes_of(registered_project), "the temporary server has ended"


def processes_of(root: Path) -> list[list[str]]:
    """Command lines of stages of the project, and of temporary servers with their database in it."""
    found = []
    for process in psutil.process_iter():
        try:
            own = process.cwd() == str(root) or str(root) in " ".join(process.environ().values())
            if own and process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.cmdline())
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def test_a_run_that_is_ended_leaves_no_process(registered_project: Path, own_server: dict[str, str]) -> None:
    (registered_project / "quality.json").write_text("{}")
    breaks(registered_project, "evaluate@opt-wpn", "hang")
    command = [*WPN, "run", "--model", "opt", "--method", "wpn"]
    run = subprocess.Popen(command, env={**os.environ, **own_server}, stdout=subprocess.PIPE, text=True)
    assert run.stdout is not None
    for line in run.stdout:
        if "hanging" in line:
            break
    run.send_signal(signal.SIGTERM)
    assert run.wait(timeout=60) != 0
    run.stdout.close()
    deadline = time.monotonic() + 10
    while (left := processes_of(registered_project)) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert left == []
    with run_lock(registered_project):
        pass  # given back


def test_a_failed_stage_is_one_readable_message(stored_project: Path, prefect_api: str) -> None:
    (stored_project / "quality.json").write_text("{}")
    breaks(stored_project, "evaluate@opt-wpn", "crash")
    done = wpn("run", "--model", "opt", "--method", "wpn")
    assert done.returncode == 1
    assert done.stderr.startswith("wpn: stage evaluate@opt-wpn failed (exit code 1); its last lines:\n")
    assert "ZeroDivisionError" in done.stderr and "prefect" not in done.stderr
    assert "toy evaluate opt wpn" in done.stdout, "a stage's lines are shown as they come"


def test_a_person_approves_and_the_command_promotes(registered_project: Path, prefect_api: str) -> None:
    done = wpn("approve", "wpn-opt", "1", "--by", "ana", "--reason", "read 50 answers")
    assert done.stdout == "wpn-opt version 1 is approved by ana.\n"
    promoted = wpn("promote")
    assert promoted.returncode == 0 and "wpn-opt: promoted" in promoted.stdout
