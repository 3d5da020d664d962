"""The rows of `recipes`: everything that is set for one kind of models."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from wpn.config.data import OrganismData, OrganismPairs, RealData, RealPairs
from wpn.config.evaluation import Evaluate, Gate, Serve
from wpn.config.methods import Method
from wpn.config.probes import Assess
from wpn.config.section import Drawn, Name, PositiveInt, Section
from wpn.config.training import Pretrain, Unlearn


class Compute(Section):
    """How much of the machine the models of a recipe may take."""

    threads: PositiveInt  # of one stage
    workers: PositiveInt  # stages at a time


class Common(Section):
    """What recipes of both kinds set."""

    compute: Compute
    unlearn: Unlearn
    methods: dict[Name, Method]
    search: dict[Name, dict[str, Drawn]]  # of rows of `methods`: what is drawn for their keys (wpn/search.py)
    evaluate: Evaluate
    assess: Assess
    gate: Gate
    serve: Serve


class OrganismRecipe(Common):
    """Everything that is set for model organisms: a row of `recipes`."""

    kind: Literal["organism"]
    data: OrganismData
    pretrain: Pretrain
    pairs: OrganismPairs


class RealRecipe(Common):
    """Everything that is set for real models: a row of `recipes`."""

    kind: Literal["real"]
    data: RealData
    pairs: RealPairs

    @model_validator(mode="after")
    def _independent_judges(self) -> "RealRecipe":
        if self.pairs.judge in self.evaluate.judges:
            raise ValueError(
                f"the judge {self.pairs.judge!r} picks the training pairs and grades; take it out of evaluate.judges"
            )
        return self


Recipe = Annotated[OrganismRecipe | RealRecipe, Field(discriminator="kind")]
