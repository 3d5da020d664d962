"""The versions of the model registry: what the gate said of them, and what people did.

State lives in MLflow only: tags `gate` and `approval` on a version, aliases `candidate`, `champion` and
`previous` on the model (pipelines/promotion.py). A version is found by the hash of its weights and the output filter
before them, so registering twice makes one.
"""

import hashlib
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pipelines import artifacts, filtered_model, tracking
from pipelines.artifacts import WEIGHTS
from pipelines.report import Unlearned
from wpn.config.sources import JudgeRow
from wpn.errors import InputError
from wpn.files import sha256_of

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

PREFIX = "wpn-"
TAG_LIMIT = 5000  # characters of a tag or a description; PostgreSQL refuses more
OPEN = ("passed", "overridden")  # what the tag `gate` must say of a version that is promoted
PINNED = ("torch", "transformers", "accelerate")  # what loading a version needs, at the versions that made it
PINNED_FOR_JUDGES = {"svm": ("alt-profanity-check", "scikit-learn"), "bilstm": ("h5py",)}  # of a filter, by its kind
NO_FILTER = "off"  # the tag `filter` of a version without one


def registered_name(model: str) -> str:
    """The name under which a row of `models` is registered."""
    return f"{PREFIX}{model}"


@dataclass(frozen=True)
class Filter:
    """The judge of an output filter: its name, its row of params.yaml, its edition (card.judge_versions), its files."""

    name: str
    row: JudgeRow
    edition: str
    files: Path

    @property
    def tag(self) -> str:
        """What tells it from every other: another edition or row of the same name is another filter."""
        row = hashlib.sha256(self.row.model_dump_json().encode()).hexdigest()
        return f"{self.name} ({self.edition}, row {row[:8]})"


@dataclass(frozen=True)
class Registration:
    """What makes a version, beside the files of its model and method.

    Attributes:
        card: the model card, in markdown.
        prompt: an example of what the model is asked.
        max_new_tokens: of an answer.
        judges: which judges graded, with their versions.
        filter: the judge that stands between the model and whoever asks it, if there is one.
    """

    card: str
    prompt: str
    max_new_tokens: int
    judges: dict[str, str]
    filter: Filter | None

    @property
    def filter_tag(self) -> str:
        """What the tag `filter` says: which judge, or that there is none."""
        return self.filter.tag if self.filter else NO_FILTER


def register(
    client: "MlflowClient", root: Path, run_id: str, unlearned: Unlearned, registration: Registration
) -> "ModelVersion":
    """Make the registry agree with the gate's decision; return the version of these weights, which exists once.

    The tag `gate` is passed, refused, dry_run (the criteria were only tried), or stays overridden. The alias
    `candidate` points to the version where it may be promoted and no person has said otherwise.
    """
    name = registered_name(unlearned.model)
    version = _known_version(client, name, unlearned.weights_sha256, registration.filter_tag)
    if version is None:
        version = _create(client, root, run_id, unlearned, registration)
    else:
        _retag(client, root, version, unlearned, registration)
    version = client.get_model_version(name, version.version)
    if version.tags["gate"] not in OPEN:
        _drop_candidate(client, name, version.version)
    elif version.tags.get("approval") != "rejected" and alias(client, name, "candidate") != str(version.version):
        write(client.set_registered_model_alias, name, "candidate", version.version)
    return version


def _retag(
    client: "MlflowClient", root: Path, version: "ModelVersion", unlearned: Unlearned, registration: Registration
) -> None:
    """What a new measurement of the same weights changes; a person's word stands."""
    tags = _tags(root, unlearned, registration)
    if version.tags.get("gate") == "overridden" and tags["gate"] == "refused":
        tags["gate"] = "overridden"
    for key, value in tags.items():
        if version.tags.get(key) != value:
            write(client.set_model_version_tag, version.name, version.version, key, value)
    if version.description != (description := _description(registration)):
        client.update_model_version(version.name, version.version, description)


def _description(registration: Registration) -> str:
    """The card as far as MLflow's column goes."""
    if len(registration.card) <= TAG_LIMIT:
        return registration.card
    rest = "\n\n(The whole card is card.md, an artifact of the run.)"
    return registration.card[: TAG_LIMIT - len(rest)] + rest


def _tags(root: Path, unlearned: Unlearned, registration: Registration) -> dict[str, str]:
    decision = unlearned.decision
    verdict = "passed" if decision["passed"] else "refused"
    return {
        "gate": verdict if decision["mode"] == "enforce" else "dry_run",
        "gate_reasons": "; ".join(decision["reasons"])[:TAG_LIMIT],
        "method": unlearned.method,
        "weights_sha256": unlearned.weights_sha256,
        "data_sha256": unlearned.training["data_sha256"],
        "judges": "; ".join(f"{name} {version}" for name, version in registration.judges.items()),
        "filter": registration.filter_tag,
        "git_commit": tracking.git_state(root)[0],
        "dvc_lock_sha256": tracking.lock_sha256(root),
    }


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


def _known_version(client: "MlflowClient", name: str, weights_sha256: str, filter_tag: str) -> "ModelVersion | None":
    """The version of the same weights behind the same filter; one older than filters has no tag of it."""
    found = client.search_model_versions(f"name = '{name}' and tags.weights_sha256 = '{weights_sha256}'")
    return next((each for each in found if each.tags.get("filter", NO_FILTER) == filter_tag), None)


def _create(
    client: "MlflowClient", root: Path, run_id: str, unlearned: Unlearned, registration: Registration
) -> "ModelVersion":
    folder = root / "build" / "unlearned" / unlearned.model / unlearned.method / "model"
    if not (folder / WEIGHTS).is_file() or sha256_of(folder / WEIGHTS) != unlearned.weights_sha256:
        raise InputError(
            f"{(folder / WEIGHTS).relative_to(root)} is not the file that training.json speaks of;"
            f" run `wpn run --model {unlearned.model} --method {unlearned.method}`"
        )
    name = registered_name(unlearned.model)
    if stored := _stored(client, name, run_id, unlearned.weights_sha256, registration.filter_tag):
        source, model_id = stored
    else:
        with tracking.active(client), _local_only():
            source, model_id = _log_model(name, folder, run_id, registration)
    from mlflow.exceptions import MlflowException

    tracking.finish(client, run_id, unlearned)  # logging a model has opened the run again
    if not client.search_registered_models(f"name = '{name}'"):
        try:
            client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":  # made by another process at this moment
                raise
    tags = {"approval": "pending", **_tags(root, unlearned, registration)}
    return client.create_model_version(
        name, source, run_id=run_id, model_id=model_id, tags=tags, description=_description(registration)
    )


def _stored(
    client: "MlflowClient", name: str, run_id: str, weights_sha256: str, filter_tag: str
) -> tuple[str, str] | None:
    """What a registration has stored that died before there was a version: large weights are not stored twice."""
    experiment = client.get_run(run_id).info.experiment_id
    for model in client.search_logged_models([experiment], f"name = '{name}' AND source_run_id = '{run_id}'"):
        # broken off in the middle, or served otherwise
        if model.status != "READY" or model.tags.get("filter", NO_FILTER) != filter_tag:
            continue
        with suppress(artifacts.Missing):
            if artifacts.weights_sha256_at(client, model.artifact_location) == weights_sha256:
                return model.model_uri, model.model_id
    return None


def _log_model(name: str, folder: Path, run_id: str, registration: Registration) -> tuple[str, str]:
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
    named: dict[str, Any] = {
        "name": name,
        "task": "text-generation",
        "signature": ModelSignature(inputs=text, outputs=text),
        "input_example": [registration.prompt],
        "pip_requirements": requirements(registration.filter),
        "model_config": {"max_new_tokens": registration.max_new_tokens, "do_sample": False},
    }
    parts = {"model": model, "tokenizer": tokenizer}
    with mlflow.start_run(run_id=run_id):
        if (chosen := registration.filter) is None:
            info = mlflow.transformers.log_model(parts, **named)
        else:
            info = mlflow.models.Model.log(
                artifact_path=None, flavor=filtered_model, transformers_model=parts, tags={"filter": chosen.tag},
                judge=chosen.row.model_dump(mode="json"), judge_files=chosen.files, **named,
            )  # fmt: skip
    return info.model_uri, info.model_id


def requirements(chosen: Filter | None) -> list[str]:
    """What loading a version needs, behind a filter or without one, pinned to what is installed here."""
    of_filter = ("pydantic", *PINNED_FOR_JUDGES.get(chosen.row.kind, ())) if chosen else ()
    return [f"{package}=={_public_version(package)}" for package in (*PINNED, *of_filter)]


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
    found = find_version(client, name, version)
    gate = found.tags.get("gate")
    if verdict == "approved" and gate not in OPEN:
        raise InputError(
            f"the gate of {name} version {version} is {gate}, so that it is never promoted; see `wpn explain {name}"
            f" {version}`, and override a refusal with `wpn override`"
        )
    _sign(client, found, "approval", verdict, by, reason)
    if "promotion_refused" in found.tags:  # to be tried again
        client.delete_model_version_tag(name, version, "promotion_refused")
    if verdict == "rejected":
        _drop_candidate(client, name, version)


def override(client: "MlflowClient", name: str, version: str, by: str, reason: str) -> None:
    """Let a version be promoted that the gate refused. It needs approval all the same; who and why stay as tags.

    Raises:
        InputError: no such version, an empty `by` or `reason`, or one that the gate has not refused.
    """
    found = find_version(client, name, version)
    if found.tags.get("gate") != "refused":
        raise InputError(
            f"the gate of {name} version {version} is {found.tags.get('gate')}; only a refusal is overridden"
        )
    _sign(client, found, "gate_override", None, by, reason)
    write(client.set_model_version_tag, name, version, "gate", "overridden")  # last: never without who and why
    write(client.set_registered_model_alias, name, "candidate", version)


def _sign(
    client: "MlflowClient", version: "ModelVersion", what: str, verdict: str | None, by: str, reason: str
) -> None:
    if not by.strip() or not reason.strip():
        raise InputError("--by and --reason must say something; they are kept with the version")
    signed = {f"{what}_by": by.strip(), f"{what}_at": now(), f"{what}_reason": reason.strip()[:TAG_LIMIT]}
    for key, value in {**signed, **({what: verdict} if verdict else {})}.items():
        write(client.set_model_version_tag, version.name, version.version, key, value)


def versions_of(client: "MlflowClient", name: str) -> "list[ModelVersion]":
    """All versions of a registered model.

    Raises:
        InputError: there is no such model.
    """
    if not client.search_registered_models(f"name = '{name}'"):
        names = [model.name for model in client.search_registered_models()]
        raise InputError(f"no registered model {name!r}; known: {', '.join(names) or 'none yet, run `wpn run`'}")
    return list(client.search_model_versions(f"name = '{name}'"))


def find_version(client: "MlflowClient", name: str, version: str) -> "ModelVersion":
    """One version.

    Raises:
        InputError: there is no such model or version.
    """
    versions = versions_of(client, name)
    for found in versions:
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
        return find_version(client, named["name"], named["version"])
    known = [model.name for model in client.search_registered_models()]
    if named["name"] not in known or (number := alias(client, named["name"], named["alias"])) is None:
        raise InputError(f"the registry has no {uri}; known models: {', '.join(known) or 'none yet, run `wpn run`'}")
    return find_version(client, named["name"], number)


def write(call: Callable[..., None], *words: str) -> None:
    """Set a tag or an alias that others may be setting too.

    MLflow looks whether it is there and then inserts it, so that of two writers one fails; a second try overwrites.
    """
    from mlflow.exceptions import MlflowException

    for last in (False, False, True):
        try:
            return call(*words)
        except MlflowException as error:
            if last or "IntegrityError" not in str(error):
                raise


def now() -> str:
    """The time that tags carry: UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
