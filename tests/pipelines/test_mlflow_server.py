"""The same against a real `mlflow server`, which refuses what a database alone lets pass."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines import registry, report, tracking
from tests.conftest import end, free_port, start, wait_until_answers
from tests.pipelines.toy import MAX_NEW_TOKENS, PROMPT

NAME = "wpn-opt"


@pytest.fixture
def mlflow_server(tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    port = free_port()
    command = ["mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    stores = [
        "--backend-store-uri",
        f"sqlite:///{tmp_path / 'mlflow.db'}",
        "--artifacts-destination",
        str(tmp_path / "artifacts"),
    ]
    server = start([*command, *stores], tmp_path / "server.log")
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until_answers(f"{url}/health", server)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
        yield url
    finally:
        end(server)


def test_a_server_takes_the_run_and_serves_the_candidate(project: Path, mlflow_server: str) -> None:
    import mlflow

    client = tracking.connect(project)
    unlearned = report.load(project, "opt", "wpn")
    run_id = tracking.mirror(client, project, unlearned)
    version = registry.register(client, project, run_id, unlearned, PROMPT, MAX_NEW_TOKENS)
    assert version is not None and version.tags["approval"] == "pending"
    assert not (project / "registry").exists(), "nothing is kept in the project"
    assert "decision.json" in {file.path for file in client.list_artifacts(run_id)}

    with tracking.active(client):
        answers = mlflow.pyfunc.load_model(f"models:/{NAME}@candidate").predict([PROMPT])
    assert answers[0].startswith(PROMPT) and len(answers[0]) > len(PROMPT)

    registry.judge(client, NAME, str(version.version), "approved", "ana", "read 50 answers")
    assert registry.promote(client, by="test")[0]["action"] == "promoted"
