"""Registration in a store that dies at any of its writes, and on a disk that is really full."""

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow.exceptions import MlflowException

from pipelines import promotion, registry, tracking
from pipelines.enrol import enrol
from wpn.config.loading import load_params

NAME = "wpn-opt"
WRITES = ("create_", "delete_", "finalize_", "log_", "record_", "set_", "update_")


class Died(BaseException):
    """Nothing in between handles it, as nothing handles a killed process."""


class Store:
    """What lies under every MLflow client of this process, tables and files. It dies before one of its writes.

    Attributes:
        left: so many writes it survives.
        dies_at: or the first write of this name.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository
        from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore as Registry
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore as Tracking

        self.left: int | None = None
        self.dies_at: str | None = None
        self._inside = False  # a write that is made of others is one
        for store in (Tracking, Registry, LocalArtifactRepository):
            for name in dir(store):
                if name.startswith(WRITES) and callable(method := getattr(store, name)):
                    monkeypatch.setattr(store, name, self._mortal(name, method))

    def _mortal(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def write(*arguments: Any, **options: Any) -> Any:
            if self._inside:
                return method(*arguments, **options)
            if name == self.dies_at:
                self.left = 0
            if self.left is not None:
                if self.left == 0:
                    raise Died
                self.left -= 1
            self._inside = True
            try:
                return method(*arguments, **options)
            finally:
                self._inside = False

        return write

    def revive(self) -> None:
        self.left = self.dies_at = None


def registered_after_a_death(root: Path, store: Store) -> bool:
    """Register in a store that is to die, and again; whether it died."""
    client, params = tracking.connect(root), load_params(root / "params.yaml")
    try:
        enrol(client, root, params, "opt", "wpn")
        died = False
    except Died:
        died = True
    store.revive()
    if client.search_registered_models(f"name = '{NAME}'"):
        for version in registry.versions_of(client, NAME):
            assert (version.tags["gate"], version.tags["approval"]) == ("passed", "pending"), "never half-tagged"

    made = enrol(client, root, params, "opt", "wpn")
    assert (made["version"], made["gate"], made["approval"]) == ("1", "passed", "pending")
    assert registry.alias(client, NAME, "candidate") == "1" and registry.alias(client, NAME, "champion") is None
    assert len(registry.versions_of(client, NAME)) == 1
    (run,) = client.search_runs([tracking.experiment_id(client, root)])
    assert run.info.status == "FINISHED" and run.data.tags["projection"]
    return died


def stored_weights(root: Path) -> list[Path]:
    return list((root / "registry" / "artifacts").rglob("model.safetensors"))


@pytest.mark.parametrize(
    ("write", "copies"),
    [
        ("finalize_logged_model", 2),  # weights that nobody finished storing are not trusted
        ("create_model_version", 1),
        ("set_registered_model_alias", 1),
    ],
)
def test_a_registration_that_dies_is_ended_by_the_next_one(
    stored_project: Path, monkeypatch: pytest.MonkeyPatch, write: str, copies: int
) -> None:
    store = Store(monkeypatch)
    store.dies_at = write
    assert registered_after_a_death(stored_project, store)
    assert len(stored_weights(stored_project)) == copies


@pytest.mark.slow
def test_a_registration_that_dies_anywhere_is_ended_by_the_next_one(
    finished: Path, empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(monkeypatch)
    for survives in range(100):
        root = tmp_path / str(survives)
        shutil.copytree(finished, root, symlinks=True)
        (root / "registry").mkdir()
        shutil.copy(empty_store, root / "registry" / "mlflow.db")
        monkeypatch.chdir(root)
        store.left = survives
        if not registered_after_a_death(root, store):
            assert survives > 30, "runs, files, weights, version and alias are some thirty writes"
            return
    raise AssertionError("it never got through")


def test_a_registered_model_that_another_process_makes_first_is_taken(
    stored_project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, params = tracking.connect(stored_project), load_params(stored_project / "params.yaml")
    client.create_registered_model(NAME)
    monkeypatch.setattr(client, "search_registered_models", lambda *_: [])  # asked a moment before it was there
    assert enrol(client, stored_project, params, "opt", "wpn")["version"] == "1"


def test_a_registered_model_that_cannot_be_made_is_not_taken_for_one_that_is_there(
    stored_project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, params = tracking.connect(stored_project), load_params(stored_project / "params.yaml")

    def full(*_: Any) -> None:
        raise MlflowException("database or disk is full")

    monkeypatch.setattr(client, "create_registered_model", full)
    with pytest.raises(MlflowException, match=r"^database or disk is full$"):
        enrol(client, stored_project, params, "opt", "wpn")


@pytest.fixture
def small_disk(stored_project: Path) -> Iterator[Path]:
    """The project with its registry on a disk of its own, which the file `ballast` fills."""
    registry_folder = stored_project / "registry"
    kept = (registry_folder / "mlflow.db").read_bytes()
    command = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(registry_folder)]
    if not shutil.which("mount") or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("a small disk cannot be mounted here: that needs root")
    try:
        (registry_folder / "mlflow.db").write_bytes(kept)
        yield stored_project
    finally:
        subprocess.run(["umount", "--lazy", str(registry_folder)], check=True)


def fill(folder: Path, leave: int) -> Path:
    ballast = folder / "ballast"
    ballast.write_bytes(bytes(shutil.disk_usage(folder).free - leave))
    return ballast


def test_a_disk_that_is_full_stops_registration_and_promotion_and_spoils_nothing(small_disk: Path) -> None:
    client, params = tracking.connect(small_disk), load_params(small_disk / "params.yaml")
    made, failed = None, 0
    for leave in range(0, 1 << 20, 1 << 15):  # room for no run, for a part of its files, for a part of the weights
        ballast = fill(small_disk / "registry", leave)
        try:
            made = enrol(client, small_disk, params, "opt", "wpn")
        except Exception as error:
            assert re.search("no space left|disk is full|disk I/O error", str(error), re.IGNORECASE)
            failed += 1
        ballast.unlink()
        if made:
            break
    assert made and failed >= 3
    assert (made["version"], made["gate"], made["approval"]) == ("1", "passed", "pending")
    registry.judge(client, NAME, "1", "approved", "ana", "read 50 answers")

    ballast = fill(small_disk / "registry", 0)
    with pytest.raises(Exception, match=r"(?i)no space left|disk is full|disk I/O error"):
        promotion.promote(client, by="test")
    assert registry.alias(client, NAME, "champion") is None
    ballast.unlink()
    assert [row["action"] for row in promotion.promote(client, by="test")] == ["promoted"]
    assert registry.alias(client, NAME, "champion") == "1"
