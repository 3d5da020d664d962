"""From the files of one model and method to MLflow: the run, the decision completed, and the version with its card."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines import artifacts, card, registry, report, tracking
from pipelines.registry import Filter, Registration
from pipelines.report import Unlearned
from wpn.config.evaluation import Serve
from wpn.config.params import Params
from wpn.config.sources import JudgeRow
from wpn.data.template import put
from wpn.files import read_json

if TYPE_CHECKING:
    from mlflow import MlflowClient


def enrol(client: "MlflowClient", root: Path, params: Params, model: str, method: str) -> dict[str, Any]:
    """Mirror the run; the candidate method's weights also become a version, whatever the gate said of them.

    Returns:
        model, method, run_id, and of a version: name, version, gate, approval (else None).
    Raises:
        InputError: the files are missing, or of different weights.
    """
    name = registry.registered_name(model)
    unlearned = _against_champion(client, root, name, report.load(root, model, method))
    run_id = tracking.mirror(client, root, unlearned)
    row: dict[str, Any] = {"model": model, "method": method, "run_id": run_id}
    if method != params.pipeline.candidate:
        return {**row, "name": None, "version": None, "gate": None, "approval": None}
    rows = report.rows(root, [(model, method)])
    made = _registration(root, params, unlearned, rows)
    client.log_text(run_id, made.card, "card.md")
    client.log_dict(run_id, {"rows": rows}, "report.json")
    version = registry.register(client, root, run_id, unlearned, made)
    tags = version.tags
    return {**row, "name": name, "version": str(version.version), "gate": tags["gate"], "approval": tags["approval"]}


def _against_champion(client: "MlflowClient", root: Path, name: str, unlearned: Unlearned) -> Unlearned:
    """The decision with what it holds against the champion, which no file knows."""
    from pipelines.evaluations import read_evaluation

    folder = root / "build" / "evaluation" / unlearned.model / unlearned.method
    measured = read_evaluation(folder, unlearned.decision["assessment"])
    known = client.search_registered_models(f"name = '{name}'")
    champion = registry.alias(client, name, "champion") if known else None
    decision = artifacts.against_champion(client, unlearned.decision, measured, name, champion)
    return dataclasses.replace(unlearned, decision=decision)


def _registration(root: Path, params: Params, unlearned: Unlearned, rows: list[report.Row]) -> Registration:
    recipe = params.recipe(unlearned.model)
    grading = read_json(root / "build" / "judges" / unlearned.model / "grading" / "judges.json")
    judges = card.judge_versions({name: JudgeRow.model_validate(row) for name, row in grading.items()})
    return Registration(
        card=card.model_card(params, unlearned, rows, judges, tracking.git_state(root)[0]),
        prompt=put(recipe.data.template, "how are you ?"),
        max_new_tokens=recipe.evaluate.max_new_tokens,
        judges=judges,
        filter=_filter(root, unlearned.model, recipe.serve),
    )


def _filter(root: Path, model: str, serve: Serve) -> Filter | None:
    if serve.filter == "off":
        return None
    folder = root / "build" / "judges" / model / "filtering"
    row = JudgeRow.model_validate(read_json(folder / "judges.json")[serve.judge])
    edition = card.judge_versions({serve.judge: row})[serve.judge]
    return Filter(serve.judge, row, edition, folder / serve.judge)
