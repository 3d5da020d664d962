"""params.yaml as a whole: its sections, and the names by which they speak of each other."""

import difflib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from pydantic import Field, ValidationError, model_validator

from wpn.config.methods import Objective
from wpn.config.recipes import OrganismRecipe, RealRecipe, Recipe
from wpn.config.section import Name, Names, PositiveInt, Section
from wpn.config.sources import DataSet, JudgeRow, Model
from wpn.measured import measured


class Pipeline(Section):
    """What runs, and which method's models may become candidates in the registry."""

    models: Names
    methods: Names
    candidate: Name


class Runtime(Section):
    """Where it runs."""

    device: str = Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")
    launch: str | None = Field(pattern=r"^[a-z0-9-]+$")  # the file in pipelines/devices by which `unlearn` is launched


class Grammar(Section):
    """The raw data of the model organisms (`wpn data fetch`)."""

    seed: int
    corpus: PositiveInt


class Params(Section):
    """The whole of params.yaml."""

    seed: int = Field(ge=0)
    pipeline: Pipeline
    runtime: Runtime
    grammar: Grammar
    models: dict[Name, Model]
    datasets: dict[Name, DataSet]
    judges: dict[Name, JudgeRow]
    recipes: dict[Name, Recipe]

    def recipe(self, model: str) -> OrganismRecipe | RealRecipe:
        """The recipe of a model, with the data sets that its row names instead."""
        row = self.models[model]
        recipe = self.recipes[row.recipe]
        if isinstance(recipe, OrganismRecipe):
            return recipe
        own = {"harmful": row.data, "text": row.text, "benchmarks": row.benchmarks}
        data = recipe.data.model_copy(update={key: name for key, name in own.items() if name is not None})
        return recipe.model_copy(update={"data": data})

    @model_validator(mode="after")
    def _names(self) -> "Params":
        for name in self.pipeline.models:
            _known("pipeline", "model", name, self.models)
        for name, row in self.models.items():
            _known(f"models.{name}", "recipe", row.recipe, self.recipes)
            if (self.recipes[row.recipe].kind == "organism") != (row.organism is not None):
                raise ValueError(f"models.{name} has the recipe {row.recipe!r}, which is for the other kind of models")
            for data_set in [*([row.data] if row.data else []), *(row.text or []), *(row.benchmarks or [])]:
                _known(f"models.{name}", "data set", data_set, self.datasets)
        for name in dict.fromkeys(self.models[model].recipe for model in self.pipeline.models):
            for method in [*self.pipeline.methods, self.pipeline.candidate]:
                _known("pipeline", "method", method, self.recipes[name].methods)
        for name, recipe in self.recipes.items():
            self._names_of(f"recipes.{name}", recipe)
        return self

    def _names_of(self, where: str, recipe: OrganismRecipe | RealRecipe) -> None:
        if reserved := {"before", "twin"} & set(recipe.methods):
            raise ValueError(f"a method cannot be called {sorted(reserved)[0]!r}; that names a stage of the evaluation")
        for name, space in recipe.search.items():
            _known(f"{where}.search", "method", name, recipe.methods)
            _refuse_undrawable(f"{where}.search.{name}", recipe.methods[name], space)
        judges = [*recipe.evaluate.judges, recipe.serve.judge]
        if isinstance(recipe, RealRecipe):
            judges.append(recipe.pairs.judge)
            for data_set in recipe.data.data_sets:
                _known(where, "data set", data_set, self.datasets)
        for judge in judges:
            _known(where, "judge", judge, self.judges)
        _refuse_unmeasured(f"{where}.gate", [criterion.metric for criterion in recipe.gate.criteria], measured(recipe))


def _known(where: str, kind: str, name: str, table: Mapping[str, Any]) -> None:
    if name not in table:
        raise ValueError(f"{where} names the unknown {kind} {name!r}; known: {', '.join(table)}")


def _refuse_unmeasured(where: str, metrics: Sequence[str], known: Collection[str]) -> None:
    for name in metrics:
        if name not in known:
            close = difflib.get_close_matches(name, sorted(known), n=1)
            hint = f"the nearest that it does is {close[0]}" if close else "docs/method.md names those of each probe"
            raise ValueError(f"{where} bounds {name!r}, which this recipe does not measure ({hint})")


def _refuse_undrawable(where: str, row: Objective, space: Mapping[str, list[int | float]]) -> None:
    """Every value that may be drawn must be one that the row could have."""
    for key, values in space.items():
        for value in values:
            try:
                type(row).model_validate({**row.model_dump(), key: value})
            except ValidationError as error:
                raise ValueError(
                    f"{where}.{key} has {value}, which is none for it ({error.errors()[0]['msg']})"
                ) from None
