"""MLflow runs as a projection of the files that the stages left: the same files give the same run, once.

A stage may be restored from DVC's cache without running, so nothing is tracked while it trains; the curve holds
its own times, and this module copies it. A run is found by (model, method, weights), never by a stored id.
"""

import json
import math
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, unquote, urlsplit

from pipelines.report import Unlearned
from wpn.errors import InputError
from wpn.files import sha256_of

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Run

EXPERIMENT = "wpn"
PATIENCE = 3.0  # seconds for a server's first answer; MLflow itself would try for minutes
# Files and folders of a run's artifacts.
DECISION = "decision.json"
AFTER, BEFORE, ATTACKED = "evaluation/after", "evaluation/before", "assessment"
KEPT = (":!params.yaml", ":!dvc.lock")  # as git excludes them
BATCH = 1000  # MLflow takes at most so many metrics in a call
# A curve's columns that MLflow shows in a run's "System metrics" tab, by the names its own sampler uses.
SYSTEM_METRICS = {
    "cpu_percent": "system/cpu_utilization_percentage",
    "memory_mb": "system/system_memory_usage_megabytes",
}


def default_uri(root: Path) -> str:
    """The fixed place in the project. MLflow's own default is sqlite in whatever folder one happens to be in."""
    return f"sqlite:///{root / 'registry' / 'mlflow.db'}"


def tracking_uri(root: Path) -> str:
    """MLFLOW_TRACKING_URI where it is set, else the project's own store."""
    return os.environ.get("MLFLOW_TRACKING_URI") or default_uri(root)


def check_reachable(uri: str) -> None:
    """Find out in seconds, without importing MLflow, that nothing will come of it.

    Raises:
        InputError: nobody answers there, it is no MLflow server, or MLflow 3 has no such store.
    """
    parts = urlsplit(uri)
    remedy = "start it, correct MLFLOW_TRACKING_URI, or unset it to use registry/mlflow.db"
    if parts.scheme in ("http", "https"):
        _check_server(parts, remedy)
    elif parts.scheme.startswith("sqlite"):
        folder = Path(unquote(parts.path[1:]) or ".").parent
        if not folder.is_dir() and "MLFLOW_TRACKING_URI" in os.environ:
            raise InputError(f"MLFLOW_TRACKING_URI={uri}: the folder {folder} does not exist; make it, or unset it")
    elif parts.scheme in ("", "file"):
        raise InputError(
            f"MLFLOW_TRACKING_URI={uri} is a folder, where MLflow 3 keeps no runs;"
            " use sqlite:///FILE, a server's address, or unset it"
        )
    elif parts.hostname and parts.port:  # a database
        try:
            socket.create_connection((parts.hostname, parts.port), timeout=PATIENCE).close()
        except OSError as error:
            raise InputError(f"no MLflow store answers at {parts.hostname}:{parts.port} ({error}); {remedy}") from None


def _check_server(parts: SplitResult, remedy: str) -> None:
    shown = parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()  # without a password
    try:
        urllib.request.urlopen(f"{shown.rstrip('/')}/version", timeout=PATIENCE).close()
    except urllib.error.HTTPError as error:
        if error.code not in (401, 403):  # it is there and wants credentials, which MLflow's client sends
            raise InputError(f"{shown} is no MLflow server (HTTP {error.code}); {remedy}") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise InputError(f"no MLflow server answers at {shown} ({reason}); {remedy}") from None


def connect(root: Path) -> "MlflowClient":
    """A client of the tracking store; makes the project's own store on first use (some seconds)."""
    uri = tracking_uri(root)
    check_reachable(uri)
    if uri == default_uri(root):
        (root / "registry").mkdir(exist_ok=True)

    from mlflow import MlflowClient

    return MlflowClient(uri)


@contextmanager
def active(client: "MlflowClient") -> Iterator[None]:
    """Make `client`'s store the one of those MLflow functions that take no client (log_model, download_artifacts).

    MLflow also writes it into MLFLOW_TRACKING_URI, where it would pass for the user's own choice: undone here.
    """
    import mlflow

    before = os.environ.get("MLFLOW_TRACKING_URI")
    mlflow.set_tracking_uri(client.tracking_uri)
    try:
        yield
    finally:
        if before is None:
            os.environ.pop("MLFLOW_TRACKING_URI", None)
        else:
            os.environ["MLFLOW_TRACKING_URI"] = before


def experiment_id(client: "MlflowClient", root: Path) -> str:
    """The experiment, made when absent; the project's own store keeps its artifacts beside the database."""
    found = client.get_experiment_by_name(EXPERIMENT)
    if found is None:
        own = tracking_uri(root) == default_uri(root)
        place = (root / "registry" / "artifacts").as_uri() if own else None
        made: str = client.create_experiment(EXPERIMENT, artifact_location=place)
        return made
    if found.lifecycle_stage != "active":
        raise InputError(
            f"the MLflow experiment {EXPERIMENT!r} is deleted;"
            f" run `mlflow experiments restore --experiment-id {found.experiment_id}`"
        )
    return str(found.experiment_id)


def mirror(client: "MlflowClient", root: Path, unlearned: Unlearned) -> str:
    """Make the MLflow run of `unlearned` say what the files say, and return its id.

    Nothing is written when they have not changed since.
    """
    run = _find(client, experiment_id(client, root), unlearned) or _create(client, root, unlearned)
    run_id: str = run.info.run_id
    projection = _digest(unlearned)
    if run.data.tags.get("projection") == projection:
        return run_id
    _log_values(client, run, unlearned)
    _log_data_set(client, run_id, unlearned)
    _log_files(client, root, run_id, unlearned)
    for key, value in _tags(root, unlearned).items():
        client.set_tag(run_id, key, value)
    finish(client, run_id, unlearned)
    client.set_tag(run_id, "projection", projection)  # last: an interrupted projection is done again
    return run_id


def finish(client: "MlflowClient", run_id: str, unlearned: Unlearned) -> None:
    """The run ended when the training did, not when it was copied."""
    client.set_terminated(run_id, "FINISHED", end_time=_milliseconds(unlearned.curve[-1:], time.time()))


def _find(client: "MlflowClient", experiment: str, unlearned: Unlearned) -> "Run | None":
    wanted = {
        "model": unlearned.model,
        "method": unlearned.method,
        "weights_sha256": unlearned.weights_sha256,
    }
    query = " and ".join(f"tags.{key} = '{value}'" for key, value in wanted.items())
    found = client.search_runs([experiment], query, max_results=1)
    return found[0] if found else None


def _create(client: "MlflowClient", root: Path, unlearned: Unlearned) -> "Run":
    return client.create_run(
        experiment_id(client, root),
        start_time=_milliseconds(unlearned.curve[:1], time.time()),
        run_name=f"{unlearned.model}-{unlearned.method}",
        tags={
            "model": unlearned.model,
            "method": unlearned.method,
            "weights_sha256": unlearned.weights_sha256,
        },
    )


def _milliseconds(curve: list[dict[str, Any]], otherwise: float) -> int:
    return int(1000 * (curve[0]["time"] if curve else otherwise))


def _digest(unlearned: Unlearned) -> str:
    parts = (unlearned.training, unlearned.before, unlearned.after, unlearned.decision, unlearned.curve)
    return sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _log_values(client: "MlflowClient", run: "Run", unlearned: Unlearned) -> None:
    from mlflow.entities import Param

    # MLflow refuses to change a param, and the same weights came of settings that made no difference
    params = {k: v for k, v in _params(unlearned.training).items() if k not in run.data.params}
    metrics = _curve_metrics(unlearned.curve) + _result_metrics(unlearned)
    client.log_batch(run.info.run_id, params=[Param(key, value) for key, value in params.items()])
    for start in range(0, len(metrics), BATCH):
        client.log_batch(run.info.run_id, metrics=metrics[start : start + BATCH])


def _params(training: dict[str, Any]) -> dict[str, str]:
    names = ("model", "method", "seed", "steps", "parameters")
    flat: dict[str, Any] = {name: training[name] for name in names if name in training}
    flat |= _flatten(training["settings"])
    return {key: str(value) for key, value in flat.items()}


def _flatten(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        flat |= _flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def _curve_metrics(curve: list[dict[str, Any]]) -> "list[Metric]":
    """Every numeric column of the curve, at the time when it was measured."""
    from mlflow.entities import Metric

    return [
        Metric(SYSTEM_METRICS.get(key, key), float(value), _milliseconds([row], 0), int(row["step"]))
        for row in curve
        for key, value in row.items()
        if key not in ("step", "time") and isinstance(value, int | float)
    ]


def _result_metrics(unlearned: Unlearned) -> "list[Metric]":
    from mlflow.entities import Metric

    from wpn.estimates import estimates, flatten

    training = ("seconds", "tokens", "peak_memory_mb")
    benchmark = unlearned.after.get("benchmark", {}).get("tasks", {})
    numbers: dict[str, float] = {
        **flatten(
            estimates(
                unlearned.before,
                unlearned.after,
                *(unlearned.decision[name] for name in ("comparison", "assessment", "base_assessment")),
            )
        ),
        **{f"training_{key}": unlearned.training[key] for key in training if key in unlearned.training},
    }
    numbers |= {f"benchmark/{task}": scores["accuracy"] for task, scores in benchmark.items()}
    now = int(1000 * time.time())
    return [Metric(key, float(value), now, 0) for key, value in numbers.items() if math.isfinite(value)]


def _log_data_set(client: "MlflowClient", run_id: str, unlearned: Unlearned) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    digest = unlearned.training["data_sha256"]
    dataset = Dataset(
        name="prepared",
        digest=digest[:32],  # all that MLflow's column holds; the profile and a tag have the whole
        source_type="local",
        source=json.dumps({"uri": f"build/pairs/{unlearned.model}"}),
        profile=json.dumps({"data_sha256": digest}),
    )
    client.log_inputs(run_id, datasets=[DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])])


def _log_files(client: "MlflowClient", root: Path, run_id: str, unlearned: Unlearned) -> None:
    for name in ("dvc.lock", "params.yaml", "dvc.yaml"):
        if (root / name).is_file():
            client.log_artifact(run_id, str(root / name))
    for name, content in (("training.json", unlearned.training), (DECISION, unlearned.decision)):
        client.log_dict(run_id, content, name)
    evaluation = root / "build" / "evaluation" / unlearned.model
    for stage, place in (("before", BEFORE), (unlearned.method, AFTER)):
        client.log_artifacts(run_id, str(evaluation / stage), place)
    client.log_artifacts(run_id, str(root / "build" / "assessment" / unlearned.model / unlearned.method), ATTACKED)


def _tags(root: Path, unlearned: Unlearned) -> dict[str, str]:
    commit, dirty = git_state(root)
    return {
        "seed": str(unlearned.training["seed"]),
        "data_sha256": unlearned.training["data_sha256"],
        "dvc_lock_sha256": lock_sha256(root),
        "git_commit": commit,
        "git_dirty": str(dirty).lower(),
        "mlflow.source.git.commit": commit,
        "mlflow.source.name": "wpn run",
        "gate": "passed" if unlearned.decision["passed"] else "refused",
        "gate_reasons": "; ".join(unlearned.decision["reasons"])[:5000],
    }


def lock_sha256(root: Path) -> str:
    """Hash of dvc.lock, 'none' before the first run."""
    lock = root / "dvc.lock"
    return sha256_of(lock) if lock.is_file() else "none"


def git_state(root: Path) -> tuple[str, bool]:
    """The commit ('unknown' before the first one) and whether the working tree differs from it.

    params.yaml and dvc.lock are kept with every run, and change with it, so they do not count.
    """

    def git(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, check=False)

    head = git("rev-parse", "--verify", "HEAD")
    if head.returncode != 0:
        return "unknown", True
    return head.stdout.strip(), bool(git("status", "--porcelain", "--", ".", *KEPT).stdout.strip())
