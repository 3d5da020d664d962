"""How models are trained: the sections `pretrain` and `unlearn` of a recipe, and how attackers train."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from wpn.config.section import PositiveFloat, PositiveInt, Precision, Section, Share, Weight


class Pretrain(Section):
    """Pre-training of a model organism and its twin."""

    batch_tokens: PositiveInt  # a step, at most
    sequence_lengths: list[Annotated[int, Field(gt=1)]] = Field(min_length=1)  # in turn
    trunk_steps: PositiveInt
    branch_steps: PositiveInt
    provocation_share: float = Field(gt=0, lt=1)
    learning_rate: PositiveFloat  # of embeddings, norms and biases (AdamW)
    matrix_learning_rate: PositiveFloat  # of the weight matrices (Muon)

    @model_validator(mode="after")
    def _one_sequence_a_step(self) -> "Pretrain":
        if (longest := max(self.sequence_lengths)) > self.batch_tokens:
            raise ValueError(f"batch_tokens {self.batch_tokens} is less than one sequence of {longest} tokens")
        return self


class Lora(Section):
    """Low-rank adapters in place of all weights (wpn/adapters.py)."""

    rank: PositiveInt
    alpha: PositiveInt  # the adapters' output counts alpha / rank


class EarlyStop(Section):
    """Stop when held-out pairs and texts are served no better (wpn/early_stop.py)."""

    every: PositiveInt  # steps between two looks
    patience: PositiveInt  # looks without a better one
    share: float = Field(gt=0, lt=0.5)  # of the prompts and of the texts, held out


class Unlearn(Section):
    """The unlearning loop, the same for every method."""

    steps: PositiveInt
    batch_size: PositiveInt
    accumulation: PositiveInt
    retain_batch_size: PositiveInt
    alarming_share: Share  # of a retain batch
    near_share: Share  # of a retain batch: texts like the prompts of the pairs
    learning_rate: PositiveFloat
    warmup: Share
    precision: Precision  # of matrix products; weights and losses are fp32
    weights: Literal["all", "feed_forward"]  # that are trained (wpn/freeze.py)
    forced_start: Share  # probability that a pair's context already holds the start of the harmful output
    weight_decay: Weight
    gradient_checkpointing: bool  # less memory, a third more time
    early_stop: EarlyStop | None
    lora: Lora | None
    checkpoint_every: PositiveInt  # steps

    @model_validator(mode="after")
    def _pairs_in_every_part(self) -> "Unlearn":
        if self.accumulation > self.batch_size:
            raise ValueError(f"accumulation {self.accumulation} is more than batch_size {self.batch_size}")
        return self

    @model_validator(mode="after")
    def _shares_of_one_batch(self) -> "Unlearn":
        if self.alarming_share + self.near_share > 1:
            raise ValueError(f"alarming_share and near_share are more than 1: {self.alarming_share}, {self.near_share}")
        return self

    @model_validator(mode="after")
    def _one_choice_of_weights(self) -> "Unlearn":
        if self.lora and self.weights != "all":
            raise ValueError(f"adapters train no weights of the model: with lora, weights is all, not {self.weights}")
        return self


class Attack(Section):
    """How an attacker trains."""

    optimizer: Literal["adamw", "sgd"]
    learning_rate: PositiveFloat


class RelearningAware(Attack):
    """Unlearn also where an attacker would have the model after some harmful steps (wpn/relearn.py).

    The attacker trains what unlearning trains: with adapters or `weights: feed_forward` one who trains all weights is
    not foreseen.
    """

    highest_rate: PositiveFloat | None = None  # drawn from learning_rate to this, evenly in its logarithm
    steps: PositiveInt  # of the attacker, at most: 1 to so many, drawn for each step of ours
    batch_size: PositiveInt  # of the attacker
    begin: Share  # of our steps, before which nothing is foreseen
    weight: PositiveFloat  # of that gradient beside the one where the model is

    @model_validator(mode="after")
    def _from_low_to_high(self) -> "RelearningAware":
        if self.highest_rate and self.highest_rate < self.learning_rate:
            raise ValueError(f"highest_rate {self.highest_rate} is below learning_rate {self.learning_rate}; swap them")
        return self
