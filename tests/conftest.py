"""What tests share: a toy project, a real Prefect server, an MLflow store; all in temporary folders."""

import atexit
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from pipelines.server import use_prefect_api

# Before anything imports Prefect or MLflow, and inherited by every process that a test starts.
os.environ.update(
    {
        "DO_NOT_TRACK": "1",
        "DVC_NO_ANALYTICS": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "TOKENIZERS_PARALLELISM": "false",
    }
)
for variable in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "PREFECT_API_URL", "PREFECT_PROFILE"):
    os.environ.pop(variable, None)

REPOSITORY = Path(__file__).parents[1]
# Toy stages, workers and commands run elsewhere and must find this checkout's packages.
os.environ["PYTHONPATH"] = os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("filterwarnings", "ignore:_NoneStep.value:DeprecationWarning")  # DVC of pygtrie


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def wait_until_answers(url: str, process: subprocess.Popen[bytes], seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert process.poll() is None, f"the server of {url} ended with {process.returncode}"
        try:
            urllib.request.urlopen(url, timeout=2).close()
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise AssertionError(f"nothing answers at {url} after {seconds} s")


def start(command: list[str], log: Path, **environment: str) -> subprocess.Popen[bytes]:
    """A server or worker in a process group of its own, its output in `log`."""
    with log.open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-m", *command],
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process and all that it started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(timeout=10)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue
    process.wait()


@pytest.fixture(scope="session")
def prefect_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("prefect")


@pytest.fixture(scope="session")
def prefect_api(prefect_home: Path) -> str:
    """The API address of a real `prefect server`, which flows in this process and in those it starts then use.

    It is ended when Python exits and not here, because Prefect sends its last lines then and waits for an answer.
    """
    port = free_port()
    server = start(
        ["prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port), "--no-ui"],
        prefect_home / "server.log",
        PREFECT_HOME=str(prefect_home),
    )
    atexit.register(end, server)
    url = f"http://127.0.0.1:{port}/api"
    wait_until_answers(f"{url}/health", server)
    use_prefect_api(url)
    return url


@pytest.fixture(scope="session")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A toy project in which nothing has run; copy it, never use it."""
    from tests.pipelines.toy import make_project

    folder = tmp_path_factory.mktemp("toy")
    os.environ["DVC_SITE_CACHE_DIR"] = str(folder / "site")
    make_project(folder / "untouched")
    return folder / "untouched"


@pytest.fixture(scope="session")
def finished(untouched: Path) -> Path:
    """The toy project after `dvc repro`; copy it, never use it."""
    from tests.pipelines.toy import run

    root = untouched.with_name("finished")
    shutil.copytree(untouched, root, symlinks=True)
    run(root, "dvc repro")
    (root / "runs.log").unlink()
    return root


@pytest.fixture
def fresh_project(untouched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A toy project of the test's own, and the current folder."""
    return _own_copy(untouched, tmp_path, monkeypatch)


@pytest.fixture
def project(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same with every stage up to date."""
    return _own_copy(finished, tmp_path, monkeypatch)


def _own_copy(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "project"
    shutil.copytree(template, root, symlinks=True)
    monkeypatch.chdir(root)
    return root


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database with its tables and nothing in it; making one takes seconds, copying it none."""
    import mlflow

    file = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    mlflow.MlflowClient(f"sqlite:///{file}").search_experiments(max_results=1)
    return file


@pytest.fixture
def stored_project(project: Path, empty_store: Path) -> Path:
    """An up-to-date toy project whose own MLflow store exists and is empty."""
    (project / "registry").mkdir()
    shutil.copy(empty_store, project / "registry" / "mlflow.db")
    return project


@pytest.fixture(scope="session")
def registered(finished: Path, empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The finished toy project with opt / wpn in its own MLflow store; copy it, never use it.

    Logging a model takes seconds. The artifacts of a copy are those of this one.
    """
    from pipelines import registry, report, tracking
    from tests.pipelines.toy import MAX_NEW_TOKENS, PROMPT

    root = tmp_path_factory.mktemp("registered") / "project"
    shutil.copytree(finished, root, symlinks=True)
    (root / "registry").mkdir()
    shutil.copy(empty_store, root / "registry" / "mlflow.db")
    client = tracking.connect(root)
    unlearned = report.load(root, "opt", "wpn")
    run_id = tracking.mirror(client, root, unlearned)
    assert registry.register(client, root, run_id, unlearned, PROMPT, MAX_NEW_TOKENS) is not None
    return root


@pytest.fixture
def registered_project(registered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return _own_copy(registered, tmp_path, monkeypatch)
