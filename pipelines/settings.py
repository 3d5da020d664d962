"""Each model's part of params.yaml as files, one a section.

DVC can follow a parameter by its path, but not by way of another one (the recipe that a model names). The stage
`settings` follows the link: a stage depends on the files of the sections it uses, and runs again when one changed.
"""

from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from wpn.config.data import OrganismData, OrganismPairs, RealData, RealPairs
from wpn.config.evaluation import Evaluate, Gate
from wpn.config.methods import Method
from wpn.config.params import Params
from wpn.config.probes import Assess
from wpn.config.recipes import OrganismRecipe, RealRecipe
from wpn.config.sources import NOT_STATED, DataSet, JudgeRow, Model
from wpn.config.training import Pretrain, Unlearn  # fmt: skip
from wpn.files import atomic_folder, read_json, write_json

FOLDER = Path("build") / "settings"
READERS: dict[str, TypeAdapter[Any]] = {
    "model": TypeAdapter(Model),
    "threads": TypeAdapter(int),
    "pretrain": TypeAdapter(Pretrain | None),
    "data": TypeAdapter(OrganismData | RealData),
    "datasets": TypeAdapter(dict[str, DataSet]),
    "judges": TypeAdapter(dict[str, dict[str, JudgeRow]]),  # role -> name -> row
    "pairs": TypeAdapter(OrganismPairs | RealPairs),
    "unlearn": TypeAdapter(Unlearn),
    "methods": TypeAdapter(Method),
    "split": TypeAdapter(str),
    "evaluate": TypeAdapter(Evaluate),
    "assess": TypeAdapter(Assess),
    "gate": TypeAdapter(Gate),
}


def write_settings(params: Params) -> None:
    """params.yaml -> build/settings/MODEL/SECTION.json, of every model of the pipeline."""
    with atomic_folder(FOLDER) as target:
        for model in params.pipeline.models:
            for name, value in _sections(params, model).items():
                reader = READERS[name.partition("/")[0]]
                write_json(target / model / f"{name}.json", reader.dump_python(value, mode="json"))


def read_settings(model: str, name: str) -> Any:
    """One section of a model's settings, as the class under wpn/config that it is (READERS).

    Args:
        name: a section, or methods/METHOD.
    Raises:
        InputError: the stage `settings` has not written it.
    """
    return READERS[name.partition("/")[0]].validate_python(read_json(FOLDER / model / f"{name}.json"))


def _sections(params: Params, model: str) -> dict[str, Any]:
    recipe = params.recipe(model)
    data_sets: list[str] = []
    judges = {"training": [], "grading": recipe.evaluate.judges, "filtering": [recipe.serve.judge]}
    if isinstance(recipe, RealRecipe):
        data_sets = recipe.data.data_sets
        judges["training"] = [recipe.pairs.judge]
    return {
        "model": params.models[model].model_copy(update={"license": NOT_STATED}),  # it changes no result
        "threads": recipe.compute.threads,  # and not the workers: they change no result
        "pretrain": recipe.pretrain if isinstance(recipe, OrganismRecipe) else None,
        "data": recipe.data,
        "datasets": {name: params.datasets[name] for name in data_sets},
        "judges": {role: {name: params.judges[name] for name in names} for role, names in judges.items()},
        "pairs": recipe.pairs,
        "unlearn": recipe.unlearn,
        "split": recipe.evaluate.split,  # apart: what else is measured attacks nothing again
        "evaluate": recipe.evaluate,
        "assess": recipe.assess,
        "gate": recipe.gate,
        **{f"methods/{name}": recipe.methods[name] for name in params.pipeline.methods},
    }
