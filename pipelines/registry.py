"""The model registry: which weights may be promoted, who approved them, which are in production.

State lives in MLflow only: tags `gate` and `approval` on a version, aliases `candidate`, `champion` and
`previous` on the model. A version is found by the hash of its weights, so registering twice makes one.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version as installed_version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal

from pipelines import tracking
from pipelines.report import Unlearned
from wpn.errors import InputError
from wpn.files import sha256_of

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

PREFIX = "wpn-"
WEIGHTS = "model.safetensors"
PINNED = ("torch", "transformers", "accelerate")  # what loading a version needs, at the versions that made it


def registered_name(model: str) -> str:
    """The name under which a row of `models` is registered."""
    return f"{PREFIX}{model}"


def register(
    client: "MlflowClient", root: Path, run_id: str, unlearned: Unlearned, prompt: str, max_new_tokens: int
) -> "ModelVersion | None":
    """Make the registry agree with the gate's decision; return the version that may be promoted, if any.

    Passed: the version of these weights exists, once, tagged gate=passed and (unless a person has said
    otherwise) approval=pending, and the alias `candidate` points to it. Refused: no version is made, and one
    that exists is no candidate any more.
    """
    name = registered_name(unlearned.model)
    version = _of_weights(client, name, unlearned.weights_sha256)
    if not unlearned.decision["passed"]:
        if version is not None:
            client.set_model_version_tag(name, version.version, "gate", "refused")
            _drop_candidate(client, name, version.version)
        return None
    if version is None:
        version = _create(client, root, run_id, unlearned, prompt, max_new_tokens)
    elif version.tags.get("gate") != "passed":
        client.set_model_version_tag(name, version.version, "gate", "passed")
    if version.tags.get("approval") != "rejected" and alias(client, name, "candidate") != version.version:
        client.set_registered_model_alias(name, "candidate", version.version)
    return client.get_model_version(name, version.version)


def download(root: Path, uri: str, target: Path) -> None:
    """The files of a registered version, models:/NAME/VERSION, into a folder.

    Raises:
        InputError: the registry has no such version, or its files are gone.
    """
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    client = tracking.connect(root)
    with tracking.active(client):
        try:
            download_artifacts(uri, dst_path=str(target))
        except (MlflowException, OSError) as error:
            said = str(error).splitlines()[0].rstrip(".")
            raise InputError(f"{uri} cannot be had from {tracking.tracking_uri(root)} ({said}); correct it") from None


def alias(client: "MlflowClient", name: str, which: str) -> str | None:
    """The version that an alias points to; MLflow's own call raises where there is none."""
    found = client.get_registered_model(name).aliases.get(which)
    return None if found is None else str(found)


def _drop_candidate(client: "MlflowClient", name: str, version: str) -> None:
    if alias(client, name, "candidate") == str(version):
        client.delete_registered_model_alias(name, "candidate")


def _of_weights(client: "MlflowClient", name: str, weights_sha256: str) -> "ModelVersion | None":
    found = client.search_model_versions(f"name = '{name}' and tags.weights_sha256 = '{weights_sha256}'")
    return found[0] if found else None


def _create(
    client: "MlflowClient", root: Path, run_id: str, unlearned: Unlearned, prompt: str, max_new_tokens: int
) -> "ModelVersion":
    folder = root / "build" / "unlearned" / unlearned.model / unlearned.method / "model"
    if not (folder / WEIGHTS).is_file() or sha256_of(folder / WEIGHTS) != unlearned.weights_sha256:
        raise InputError(
            f"{(folder / WEIGHTS).relative_to(root)} is not the file that training.json speaks of;"
            f" run `wpn run --model {unlearned.model} --method {unlearned.method}`"
        )
    name = registered_name(unlearned.model)
    with tracking.active(client), _local_only():
        source, model_id = _log_model(name, folder, run_id, prompt, max_new_tokens)
    tracking.finish(client, run_id, unlearned)  # logging a model has opened the run again
    if not client.search_registered_models(f"name = '{name}'"):
        client.create_registered_model(name)
    return client.create_model_version(
        name,
        source,
        run_id=run_id,
        model_id=model_id,
        tags={
            "gate": "passed",
            "approval": "pending",
            "method": unlearned.method,
            "weights_sha256": unlearned.weights_sha256,
            "data_sha256": unlearned.training["data_sha256"],
            "git_commit": tracking.git_state(root)[0],
        },
    )


def _log_model(name: str, folder: Path, run_id: str, prompt: str, max_new_tokens: int) -> tuple[str, str]:
    """Put the checkpoint into the run as an MLflow model; returns its URI and id.

    The model is loaded, because `mlflow.transformers.log_model(PATH)` is broken with transformers 5.
    """
    import mlflow
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model.name_or_path = tokenizer.name_or_path = name  # else MLmodel would hold this machine's path
    text = Schema([ColSpec(DataType.string)])
    with mlflow.start_run(run_id=run_id):
        info = mlflow.transformers.log_model(
            {"model": model, "tokenizer": tokenizer},
            name=name,
            task="text-generation",
            signature=ModelSignature(inputs=text, outputs=text),
            input_example=[prompt],
            pip_requirements=[f"{package}=={_public_version(package)}" for package in PINNED],
            model_config={"max_new_tokens": max_new_tokens, "do_sample": False},
        )
    return info.model_uri, info.model_id


def _public_version(package: str) -> str:
    return installed_version(package).partition("+")[0]  # 2.13.0+cpu is on no public index


@contextmanager
def _local_only() -> Iterator[None]:
    """MLflow asks the model hub for a card and a licence of any model: 50 s of retries where there is no hub.

    It also cuts weights into 500 MB files, and then no file has the hash that the version is known by.
    """
    import huggingface_hub.constants as hub

    before = hub.HF_HUB_OFFLINE, os.environ.get("MLFLOW_HUGGINGFACE_MODEL_MAX_SHARD_SIZE")
    hub.HF_HUB_OFFLINE = True  # the variable of this name is read when the library is imported, too early
    os.environ["MLFLOW_HUGGINGFACE_MODEL_MAX_SHARD_SIZE"] = "1TB"
    try:
        yield
    finally:
        hub.HF_HUB_OFFLINE = before[0]
        if before[1] is None:
            del os.environ["MLFLOW_HUGGINGFACE_MODEL_MAX_SHARD_SIZE"]
        else:
            os.environ["MLFLOW_HUGGINGFACE_MODEL_MAX_SHARD_SIZE"] = before[1]


def judge(
    client: "MlflowClient", name: str, version: str, verdict: Literal["approved", "rejected"], by: str, reason: str
) -> None:
    """A person's word on a version: who, when and why, as tags. A rejected version is no candidate any more.

    Raises:
        InputError: no such version, an empty `by` or `reason`, or approving what the gate refused.
    """
    found = _version(client, name, version)
    if not by.strip() or not reason.strip():
        raise InputError("--by and --reason must say something; they are kept with the version")
    if verdict == "approved" and found.tags.get("gate") != "passed":
        raise InputError(f"the gate refused {name} version {version}; only a version with gate=passed is approved")
    for key, value in (
        ("approval", verdict),
        ("approval_by", by.strip()),
        ("approval_at", _now()),
        ("approval_reason", reason.strip()),
    ):
        client.set_model_version_tag(name, version, key, value)
    if verdict == "rejected":
        _drop_candidate(client, name, version)


def _version(client: "MlflowClient", name: str, version: str) -> "ModelVersion":
    names = [model.name for model in client.search_registered_models()]
    if name not in names:
        raise InputError(f"no registered model {name!r}; known: {', '.join(names) or 'none yet, run `wpn run`'}")
    for found in (versions := client.search_model_versions(f"name = '{name}'")):
        if str(found.version) == version:
            return found
    known = ", ".join(sorted((str(v.version) for v in versions), key=int)) or "none"
    raise InputError(f"{name} has no version {version!r}; known: {known}")


def find(client: "MlflowClient", uri: str) -> "ModelVersion":
    """The version that models:/NAME/VERSION or models:/NAME@ALIAS names.

    Raises:
        InputError: the URI is of no such form, or there is no such version or alias.
    """
    named = re.fullmatch(r"models:/(?P<name>[^/@]+)(?:/(?P<version>\d+)|@(?P<alias>[^/@]+))", uri)
    if not named:
        raise InputError(f"{uri!r} names no version; write models:/NAME/VERSION or models:/NAME@ALIAS")
    if named["version"]:
        return _version(client, named["name"], named["version"])
    known = [model.name for model in client.search_registered_models()]
    if named["name"] not in known or (number := alias(client, named["name"], named["alias"])) is None:
        raise InputError(f"the registry has no {uri}; known models: {', '.join(known) or 'none yet, run `wpn run`'}")
    return _version(client, named["name"], number)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def promote(client: "MlflowClient", by: str, dry_run: bool = False) -> list[dict[str, Any]]:
    """Move `champion` to the newest version that passed the gate and was approved, model by model.

    Returns:
        One row a registered model of ours: what was done, and why when nothing was. A version whose weights
        are not those that were measured is not promoted; that is a result, not an error.
    """
    models = client.search_registered_models(f"name LIKE '{PREFIX}%'")
    return [_promote_one(client, model.name, by, dry_run) for model in models]


def _promote_one(client: "MlflowClient", name: str, by: str, dry_run: bool) -> dict[str, Any]:
    champion = alias(client, name, "champion")
    row = {"model": name, "champion": champion, "version": None, "action": "none", "reason": ""}
    approved = client.search_model_versions(f"name = '{name}' and tags.gate = 'passed' and tags.approval = 'approved'")
    newer = [v for v in approved if int(v.version) > int(champion or 0)]
    if not newer:
        return {**row, "reason": "no approved version is newer than the champion"}
    version = max(newer, key=lambda v: int(v.version))
    row["version"] = str(version.version)
    if (found := _stored_weights_sha256(client, version)) != version.tags.get("weights_sha256"):
        return {**row, "action": "refused", "reason": f"the stored weights hash to {found}, not to their tag"}
    if dry_run:
        return {**row, "action": "would promote"}
    if champion is not None:
        client.set_registered_model_alias(name, "previous", champion)
    for key, value in (
        ("promoted_at", _now()),
        ("promoted_by", by),
        ("replaced_version", champion or "none"),
    ):
        client.set_model_version_tag(name, version.version, key, value)
    client.set_registered_model_alias(name, "champion", version.version)
    return {**row, "action": "promoted"}


def _stored_weights_sha256(client: "MlflowClient", version: "ModelVersion") -> str:
    """Hash of the weights as the registry would serve them."""
    import mlflow

    uri = f"models:/{version.name}/{version.version}/model/{WEIGHTS}"
    with TemporaryDirectory() as folder, tracking.active(client):
        return sha256_of(Path(mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=folder)))
