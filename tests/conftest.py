"""What tests share: a toy project, a real Prefect server, an MLflow store; all in temporary folders."""

import atexit
import os
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from filelock import FileLock

from pipelines.processes import free_port, spawn, wait_until_answers
from pipelines.server import use_prefect_api

# Before anything imports Prefect or MLflow, and inherited by every process that a test starts.
os.environ.update(
    {
        "DO_NOT_TRACK": "1",
        "DVC_NO_ANALYTICS": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "OMP_NUM_THREADS": "1",  # models this small only wait for a second thread
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
    log = prefect_home / "server.log"
    command = ["prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port), "--no-ui"]
    server = spawn(command, log, {"PREFECT_HOME": str(prefect_home)})
    atexit.register(end, server)
    url = f"http://127.0.0.1:{port}/api"
    wait_until_answers("Prefect server", f"{url}/health", server, log)
    use_prefect_api(url)
    return url


@pytest.fixture(scope="session")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A toy project in which nothing has run; copy it, never use it."""
    from tests.pipelines.toy import make_project

    return made_once(tmp_path_factory, "untouched", make_project)


@pytest.fixture(scope="session")
def finished(untouched: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy project after `dvc repro`; copy it, never use it."""
    from tests.pipelines.toy import run

    def make(root: Path) -> None:
        shutil.copytree(untouched, root, symlinks=True)
        run(root, "dvc repro")
        (root / "runs.log").unlink()

    return made_once(tmp_path_factory, "finished", make)


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """A project that the first of pytest's processes to ask for it makes, while the others wait."""
    own = factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    os.environ["DVC_SITE_CACHE_DIR"] = str(own / "site")
    root, done = shared / "toy" / name, shared / f"{name}.done"
    with FileLock(shared / f"{name}.lock"):
        if not done.exists():
            make(root)
            done.touch()
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
def mlflow_server(tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a real `mlflow server` with an empty store, which this process uses then."""
    port = free_port()
    command = ["mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    stores = [
        "--backend-store-uri",
        f"sqlite:///{tmp_path / 'mlflow.db'}",
        "--artifacts-destination",
        str(tmp_path / "artifacts"),
    ]
    log = tmp_path / "server.log"
    server = spawn([*command, *stores], log, {})
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until_answers("MLflow server", f"{url}/health", server, log)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
        yield url
    finally:
        end(server)


@pytest.fixture
def stored_project(project: Path, empty_store: Path) -> Path:
    """An up-to-date toy project whose own MLflow store exists and is empty."""
    (project / "registry").mkdir()
    shutil.copy(empty_store, project / "registry" / "mlflow.db")
    return project


@pytest.fixture(scope="session")
def registered(finished: Path, empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The finished toy project with opt / wpn in its own MLflow store; copy it, never use it."""
    from pipelines import tracking
    from pipelines.enrol import enrol
    from wpn.config.loading import load_params

    root = tmp_path_factory.mktemp("registered") / "project"
    shutil.copytree(finished, root, symlinks=True)
    (root / "registry").mkdir()
    shutil.copy(empty_store, root / "registry" / "mlflow.db")
    made = enrol(tracking.connect(root), root, load_params(root / "params.yaml"), "opt", "wpn")
    assert (made["name"], made["version"], made["gate"]) == ("wpn-opt", "1", "passed")
    return root


@pytest.fixture
def registered_project(registered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = _own_copy(registered, tmp_path, monkeypatch)
    _move_artifacts(root / "registry" / "mlflow.db", registered, root)
    return root


def _move_artifacts(store: Path, old: Path, new: Path) -> None:
    """MLflow keeps absolute places: those of a copied store are to be the copy's, so that tests share no file."""
    from mlflow.tracking._tracking_service.utils import _artifact_repos_cache

    _artifact_repos_cache.clear()  # by run, and all copies have the same runs
    places = {
        "experiments": ["artifact_location"],
        "runs": ["artifact_uri"],
        "logged_models": ["artifact_location"],
        "model_versions": ["source", "storage_location"],
    }
    with closing(sqlite3.connect(store)) as database, database:
        for table, columns in places.items():
            for column in columns:
                database.execute(f"UPDATE {table} SET {column} = replace({column}, ?, ?)", (str(old), str(new)))
