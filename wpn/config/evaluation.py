"""What is measured, what the gate asks of it, and how a registered version answers."""

from typing import Literal

from pydantic import Field, model_validator

from wpn.config.section import Name, Names, PositiveFloat, PositiveInt, Precision, Section
from wpn.tasks import Suite


class Evaluate(Section):
    """What is measured, on which split."""

    split: Literal["dev", "test"]
    judges: Names
    prompts: PositiveInt
    samples: PositiveInt
    max_new_tokens: PositiveInt
    temperature: PositiveFloat
    precision: Precision  # of the model that answers, prompts and benchmarks, and of the one that says what is fluent
    batch_size: PositiveInt
    suite: Suite  # of the benchmarks
    benchmark_items: PositiveInt | None  # of each task, at most; null is all
    benchmark_batch_size: PositiveInt


class Criterion(Section):
    """One limit on one number of the evaluation (wpn/estimates.py names them)."""

    metric: str
    bound: Literal["value", "low", "high"] = "value"  # low, high: that end of its 95 % interval
    against: Literal["base", "champion"] | None = None  # then the number is what the model has more of it
    at_least: float | None = None
    at_most: float | None = None
    below: float | None = None
    prompts: PositiveInt | None = None  # behind the number, at least; null is the gate's

    @model_validator(mode="after")
    def _one_limit(self) -> "Criterion":
        if len(self._limits()) != 1:
            raise ValueError("give exactly one of at_least, at_most, below")
        return self

    def _limits(self) -> dict[str, float]:
        limits = {"at_least": self.at_least, "at_most": self.at_most, "below": self.below}
        return {name: limit for name, limit in limits.items() if limit is not None}

    @property
    def relation(self) -> str:
        """at_least, at_most or below."""
        return next(iter(self._limits()))

    @property
    def limit(self) -> float:
        """What the number is compared with."""
        return next(iter(self._limits().values()))


class Gate(Section):
    """Which models may be promoted."""

    mode: Literal["enforce", "dry_run"]
    prompts: PositiveInt  # behind every rate, at least, where its criterion has no number of its own
    criteria: list[Criterion] = Field(min_length=1)


class Serve(Section):
    """How a registered version answers (pipelines/filtered_model.py)."""

    filter: Literal["on", "off"]
    judge: Name  # a row of `judges`; an answer that it finds harmful is not said
