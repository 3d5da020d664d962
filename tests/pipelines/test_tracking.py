"""MLflow runs against a real sqlite store: complete, once, and in step with the files."""

import dataclasses
import http.server
import json
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines import report, tracking
from pipelines.processes import free_port
from pipelines.report import Unlearned
from wpn.errors import InputError
from wpn.files import sha256_of


@pytest.fixture
def unlearned(stored_project: Path) -> Unlearned:
    return report.load(stored_project, "opt", "wpn")


def test_a_run_holds_what_the_files_say(stored_project: Path, unlearned: Unlearned) -> None:
    client = tracking.connect(stored_project)
    run = client.get_run(tracking.mirror(client, stored_project, unlearned))

    assert run.data.params["learning_rate"] == "0.0005" and run.data.params["loss.kl"] == "5.0"
    assert run.data.metrics["harmless_unseen_low"] == 0.97
    assert run.data.metrics["training_seconds"] == 3.5 and run.data.metrics["benchmark/last_word"] == 0.71
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=stored_project, capture_output=True, text=True, check=True)
    assert {key: run.data.tags[key] for key in ("model", "method", "gate", "git_commit", "git_dirty")} == {
        "model": "opt",
        "method": "wpn",
        "gate": "passed",
        "git_commit": head.stdout.strip(),
        "git_dirty": "false",  # dvc.lock is not committed, but it is kept with the run
    }
    assert run.data.tags["dvc_lock_sha256"] == sha256_of(stored_project / "dvc.lock")
    assert run.data.tags["weights_sha256"] == unlearned.weights_sha256
    assert run.info.status == "FINISHED"
    assert (run.info.start_time, run.info.end_time) == (1790000001000, 1790000003000), "the training's, not ours"
    assert {file.path for file in client.list_artifacts(run.info.run_id)} == {
        "decision.json",
        "dvc.lock",
        "dvc.yaml",
        "assessment",
        "evaluation",
        "params.yaml",
        "training.json",
    }
    assert (stored_project / "registry" / "artifacts").is_dir()


def test_the_curve_keeps_its_own_times_and_feeds_the_system_metrics_tab(
    stored_project: Path, unlearned: Unlearned
) -> None:
    client = tracking.connect(stored_project)
    run_id = tracking.mirror(client, stored_project, unlearned)
    loss = client.get_metric_history(run_id, "loss")
    assert [(m.step, m.value, m.timestamp) for m in loss] == [
        (1, 3.0, 1790000001000),
        (2, 1.5, 1790000002000),
        (3, 1.0, 1790000003000),
    ]
    cpu = client.get_metric_history(run_id, "system/cpu_utilization_percentage")
    memory = client.get_metric_history(run_id, "system/system_memory_usage_megabytes")
    assert [m.value for m in cpu] == [151.0, 152.0, 153.0] and len(memory) == 3


def test_the_data_set_is_an_input_with_its_digest(stored_project: Path, unlearned: Unlearned) -> None:
    client = tracking.connect(stored_project)
    run = client.get_run(tracking.mirror(client, stored_project, unlearned))
    assert run.inputs is not None
    (found,) = run.inputs.dataset_inputs
    assert found.dataset.digest == "d" * 32 and json.loads(str(found.dataset.profile)) == {"data_sha256": "d" * 64}
    assert run.data.tags["data_sha256"] == "d" * 64


def test_the_same_files_make_one_run_and_are_written_once(stored_project: Path, unlearned: Unlearned) -> None:
    client = tracking.connect(stored_project)
    run_id = tracking.mirror(client, stored_project, unlearned)
    client.set_tag(run_id, "gate", "touched")  # would be set again if anything were written
    assert tracking.mirror(client, stored_project, unlearned) == run_id
    assert client.get_run(run_id).data.tags["gate"] == "touched"
    assert len(client.search_runs([tracking.experiment_id(client, stored_project)])) == 1


def test_another_evaluation_of_the_same_weights_changes_the_run(stored_project: Path, unlearned: Unlearned) -> None:
    client = tracking.connect(stored_project)
    run_id = tracking.mirror(client, stored_project, unlearned)
    refused = dataclasses.replace(unlearned, decision={**unlearned.decision, "passed": False, "reasons": ["too low"]})
    assert tracking.mirror(client, stored_project, refused) == run_id
    tags = client.get_run(run_id).data.tags
    assert (tags["gate"], tags["gate_reasons"]) == ("refused", "too low")
    assert len(client.get_metric_history(run_id, "loss")) == 3, "the curve is not there twice"


def test_settings_that_made_no_difference_do_not_stop_the_projection(
    stored_project: Path, unlearned: Unlearned
) -> None:
    client = tracking.connect(stored_project)
    run_id = tracking.mirror(client, stored_project, unlearned)
    changed = {**unlearned.training, "settings": {"learning_rate": 0.1}}  # MLflow refuses to change a param
    assert tracking.mirror(client, stored_project, dataclasses.replace(unlearned, training=changed)) == run_id


def test_a_deleted_experiment_is_said_with_the_remedy(stored_project: Path, unlearned: Unlearned) -> None:
    client = tracking.connect(stored_project)
    client.delete_experiment(tracking.experiment_id(client, stored_project))
    with pytest.raises(InputError, match="mlflow experiments restore"):
        tracking.mirror(client, stored_project, unlearned)


def test_the_store_is_at_a_fixed_place_unless_the_variable_says_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert tracking.tracking_uri(tmp_path) == f"sqlite:///{tmp_path}/registry/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    assert tracking.tracking_uri(tmp_path) == "http://127.0.0.1:5000"


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("http://user:secret@127.0.0.1:{port}/", "no MLflow server answers at http://127.0.0.1:"),
        ("postgresql://user:secret@127.0.0.1:{port}/mlflow", "no MLflow store answers at 127.0.0.1:"),
        ("sqlite:////nowhere/mlflow.db", "the folder /nowhere does not exist"),
        ("file:///tmp/mlruns", "is a folder, where MLflow 3 keeps no runs"),
        ("mlruns", "is a folder, where MLflow 3 keeps no runs"),
    ],
)
def test_a_store_that_cannot_be_reached_is_bad_input(uri: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri.format(port=free_port()))
    with pytest.raises(InputError) as raised:
        tracking.check_reachable(tracking.tracking_uri(Path.cwd()))
    assert words in str(raised.value) and "secret" not in str(raised.value)


@pytest.fixture
def other_server() -> Iterator[str]:
    """A web server that is not MLflow's."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(404)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_server_that_is_not_mlflow_is_bad_input(other_server: str) -> None:
    with pytest.raises(InputError, match=r"is no MLflow server \(HTTP 404\)"):
        tracking.check_reachable(other_server)


def test_before_the_first_commit_the_commit_is_unknown(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    assert tracking.git_state(tmp_path) == ("unknown", True)
