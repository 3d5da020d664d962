"""`wpn reproduce`: what made a registered version, and whether it can be made again, weight for weight."""

from contextlib import closing
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines import artifacts, registry
from pipelines.clone import clone
from pipelines.repro import StageRunner
from wpn.errors import InputError
from wpn.files import sha256_of

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run


@dataclass(frozen=True)
class Origin:
    """What a version was made of.

    Attributes:
        model: row of `models`; method: row of `methods`.
        commit: of the code; `dirty`: with changes that no commit holds.
        weights_sha256: of the version; data_sha256: of what training and evaluation saw.
        params: params.yaml of that run, as text.
        run_id: of MLflow's run, whose artifact it is.
        lock_sha256: of dvc.lock.
    """

    model: str
    method: str
    commit: str
    dirty: bool
    weights_sha256: str
    data_sha256: str
    params: str
    run_id: str
    lock_sha256: str

    def lines(self) -> list[str]:
        """For a reader."""
        return [
            f"model    {self.model}, method {self.method}",
            f"commit   {self.commit}{' and uncommitted changes' if self.dirty else ''}",
            f"weights  {self.weights_sha256}",
            f"data     {self.data_sha256}",
            f"params   {sha256(self.params.encode()).hexdigest()}, params.yaml of the MLflow run {self.run_id}",
            f"dvc.lock {self.lock_sha256}",
        ]


def origin(client: "MlflowClient", uri: str) -> Origin:
    """Read it from the registry.

    Args:
        uri: models:/NAME/VERSION or models:/NAME@ALIAS.
    Raises:
        InputError: there is no such version, not one that `wpn run` made, or what the run kept of it is gone.
    """
    version = registry.find(client, uri)
    if not version.run_id:
        raise InputError(f"{uri} has no MLflow run: `wpn run` did not make it")
    run = _run(client, uri, version.run_id)
    tags = run.data.tags
    try:
        return Origin(
            model=tags["model"], method=version.tags["method"], commit=tags["git_commit"],
            dirty=tags["git_dirty"] == "true", weights_sha256=version.tags["weights_sha256"],
            data_sha256=tags["data_sha256"], lock_sha256=tags["dvc_lock_sha256"], run_id=run.info.run_id,
            params=_params(client, uri, run),
        )  # fmt: skip
    except KeyError as missing:
        raise InputError(f"{uri} has no tag {missing}: `wpn run` did not make it") from None


def _run(client: "MlflowClient", uri: str, run_id: str) -> "Run":
    from mlflow.exceptions import MlflowException

    try:
        return client.get_run(run_id)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        raise InputError(
            f"the MLflow run {run_id}, which says what made {uri}, is gone; only a backup of the registry has it"
        ) from None


def _params(client: "MlflowClient", uri: str, run: "Run") -> str:
    """params.yaml of a run, as text."""
    try:
        with artifacts.downloaded(client, f"{run.info.artifact_uri}/params.yaml") as file:
            return file.read_text(encoding="utf-8")
    except artifacts.Missing as gone:
        raise InputError(f"params.yaml of {uri} is gone: {gone}; only a backup of the registry has it") from None


def again(root: Path, made: Origin) -> str:
    """Train it again, in a fresh clone of its commit with its params.yaml; returns the hash of the weights.

    Raises:
        InputError: the commit is not to be had, the version was made with changes that no commit holds, or a stage
            says that its input is bad.
        StageFailed: a stage failed.
    """
    if made.dirty:
        raise InputError(
            f"the version was made of commit {made.commit} and uncommitted changes, which are lost; commit before a run"
        )
    with clone(root, made.commit, made.params) as folder, closing(StageRunner(folder)) as runner:
        # forced: nothing may come out of the cache that is to be made again
        runner.run_all(_unheard, [f"unlearn@{made.model}-{made.method}"], force=True)
        return sha256_of(folder / "build" / "unlearned" / made.model / made.method / "model" / registry.WEIGHTS)


def _unheard(_stage: str) -> None:
    """Nobody is told which stage begins: what counts are the weights at the end, or the sentence of a failure."""
