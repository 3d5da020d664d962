"""Why a version passed or not, and what people and promoters made of it, for `wpn explain`."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pipelines import artifacts
from pipelines.promotion import REFUSED
from pipelines.registry import find_version
from wpn.errors import InputError

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion


def explain(client: "MlflowClient", name: str, number: str) -> list[str]:
    """A line for every criterion and every judgement.

    Raises:
        InputError: no such version, or its decision is gone.
    """
    version = find_version(client, name, number)
    try:
        decision = artifacts.decision(client, version)
    except artifacts.Missing as error:
        raise InputError(f"{name} version {number}: {error}; register it again with `wpn run`") from None
    return list(_sentences(name, version, decision))


def _sentences(name: str, version: "ModelVersion", decision: dict[str, Any]) -> Iterator[str]:
    from wpn.gate import Verdict

    tags = version.tags
    tried = " (dry_run: nothing is promoted by it)" if decision["mode"] != "enforce" else ""
    yield f"{name} version {version.version}: gate {tags.get('gate')}{tried}, approval {tags.get('approval')}"
    for each in decision["criteria"]:
        verdict = Verdict(**each)
        sign = "holds" if verdict.passed else "fails"
        margin = "" if verdict.margin is None else f" (margin {verdict.margin:+.4f})"
        yield f"  {sign}: {verdict.reason}{margin}"
    spoken = {Verdict(**each).reason for each in decision["criteria"]}
    yield from (f"  refused: {reason}" for reason in decision["reasons"] if reason not in spoken)
    for what, words in (
        ("gate_override", "overridden"), ("approval", tags.get("approval")), ("rolled_back", "rolled back")
    ):  # fmt: skip
        if by := tags.get(f"{what}_by"):
            yield f"  {words} by {by} at {tags.get(f'{what}_at')}: {tags.get(f'{what}_reason')}"
    if promoted := tags.get("promoted_at"):
        replaced = tags.get("replaced_version")
        place = "" if replaced in (None, "none") else f", in place of version {replaced}"
        yield f"  promoted by {tags.get('promoted_by')} at {promoted}{place}"
    if refused := tags.get(REFUSED):
        yield f"  not promoted: {refused}"
    if drift := tags.get("drift"):
        found = tags.get("drift_reasons")
        yield f"  re-assessed at {tags.get('drift_at')}: drift {drift}" + (f": {found}" if found else "")
