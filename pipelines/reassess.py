"""Measure the champion again, with a fresh seed: is it still what was promoted?

Run by the flow `reassess` in a process of its own, as

python -m pipelines.reassess MODEL FOLDER SEED TARGET
"""

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines import artifacts, registry, tracking
from wpn.config.loading import load_params
from wpn.errors import InputError
from wpn.files import read_json

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion


def reassess(client: "MlflowClient", root: Path, model: str, seed: int) -> dict[str, Any] | None:
    """Tag the champion with what a new measurement says: drift none, or found and why.

    Args:
        model: a row of `models` whose prepared data lies in build/.
        seed: of the samples.
    Returns:
        model, version, drift, reasons; None where there is no champion.
    Raises:
        InputError: the data of the model is not in build/.
        RuntimeError: the measurement failed.
    """
    name = registry.registered_name(model)
    if not client.search_registered_models(f"name = '{name}'"):
        return None
    if (number := registry.alias(client, name, "champion")) is None:
        return None
    version = registry.find_version(client, name, number)
    reasons, metrics = _measure(client, root, model, version, seed)
    drift = "found" if reasons else "none"
    if metrics is not None:
        client.log_dict(str(version.run_id), metrics, f"reassessment/{registry.now().replace(':', '')}.json")
    told = {"drift": drift, "drift_at": registry.now(), "drift_seed": str(seed), "drift_reasons": "; ".join(reasons)}
    for key, value in told.items():
        registry.write(client.set_model_version_tag, name, number, key, value[: registry.TAG_LIMIT])
    return {"model": name, "version": number, "drift": drift, "reasons": reasons}


def _measure(
    client: "MlflowClient", root: Path, model: str, version: "ModelVersion", seed: int
) -> tuple[list[str], dict[str, Any] | None]:
    """Reasons to call it drift, and the new metrics, where the weights are those that were promoted."""
    said = version.tags.get("weights_sha256")
    try:
        stored = artifacts.stored_weights_sha256(client, version)
        if stored != said:
            return [f"the stored weights hash to {stored}, not to their tag {said}"], None
        before = artifacts.evaluation(client, version, tracking.BEFORE).metrics
        registered = artifacts.evaluation(client, version, tracking.AFTER).metrics
    except artifacts.Missing as error:
        return [str(error)], None
    with (
        artifacts.downloaded(client, artifacts.location(client, version)) as files,
        tempfile.TemporaryDirectory(dir=root / "build") as folder,
    ):
        _in_a_process(root, model, files, seed, Path(folder) / "metrics.json")
        metrics: dict[str, Any] = {**read_json(Path(folder) / "metrics.json"), "weights_sha256": stored}
    return _drift(root, model, before, registered, metrics), metrics


def _in_a_process(root: Path, model: str, files: Path, seed: int, target: Path) -> None:
    """So that torch and its memory are gone afterwards, and a crash is a sentence."""
    command = [sys.executable, "-m", "pipelines.reassess", model, str(files), str(seed), str(target)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if done.returncode == 2:
        raise InputError(done.stderr.strip().splitlines()[-1])
    if done.returncode:
        raise RuntimeError(f"measuring the champion of {model} again failed:\n{done.stderr.strip()[-2000:]}")


def _drift(
    root: Path, model: str, before: dict[str, Any], registered: dict[str, Any], metrics: dict[str, Any]
) -> list[str]:
    """The gate's limits on the fresh numbers, and rates whose intervals do not meet those of the registration."""
    from wpn.estimates import estimates
    from wpn.gate import decide

    gate = load_params(root / "params.yaml").recipe(model).gate
    # what only an attack or a comparison pair by pair says, as the interval of a drop, was not measured again
    fresh, then = (estimates(before, one) for one in (metrics, registered))
    absolute = [
        one
        for one in gate.criteria
        if one.against is None and one.metric in fresh and getattr(fresh[one.metric], one.bound) is not None
    ]
    reasons = decide(fresh, gate.model_copy(update={"criteria": absolute})).reasons if absolute else []
    for name, estimate in fresh.items():
        old = then.get(name)
        if not name.startswith("harmless_") or old is None or estimate.high is None or old.low is None:
            continue
        if estimate.high < old.low:
            reasons.append(f"{name} fell from {old.value:.4f} to {estimate.value:.4f}, beyond both intervals")
    if metrics["data_sha256"] != registered["data_sha256"]:
        reasons.append("the prompts are others than those of the registration, so that a change may be theirs")
    return reasons


def main(arguments: list[str]) -> int:
    """Evaluate the files of one version and write the metrics; bad input is one sentence and exit code 2."""
    model, version, seed, target = arguments
    from pipelines.stages import evaluate_version, set_up_process
    from wpn.files import write_json

    set_up_process(online=False)
    try:
        params = load_params().model_copy(update={"seed": int(seed)})
        write_json(Path(target), evaluate_version(params, model, Path(version)))
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
