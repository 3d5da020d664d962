"""The rows of `methods` of a recipe: the weights of each method's terms."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from wpn.config.section import PositiveFloat, PositiveInt, Section, Share, Weight
from wpn.config.sources import EncoderRow
from wpn.config.training import RelearningAware


class Objective(Section):
    """What the rows of `methods` share: the weights of a method's terms, under the terms' names; docs/method.md.

    A weight that a row leaves out is the paper's, where the paper has one.
    """

    learning_rate: PositiveFloat | None = None  # instead of unlearn.learning_rate
    relearning_aware: RelearningAware | None = None


class Retention(Objective):
    """What holds the model on benign text."""

    kl: Weight = 0.0  # divergence from the frozen model
    retain: Weight = 0.0  # cross-entropy


class Ascent(Objective):
    """Gradient ascent on the harmful outputs."""

    ascent: PositiveFloat = 1.0


class Wpn(Retention):
    """wpn/methods/wpn.py."""

    method: Literal["wpn"]
    cross_entropy: Weight
    n_pair: Weight
    reading: Literal["output", "hidden"] = "output"
    position_weights: Literal["linear", "uniform", "reversed", "harm"] = "linear"
    reference: bool = False  # output only: scores count from those of the frozen model
    temperature: PositiveFloat = 1.0
    in_batch_negatives: int = Field(ge=0, default=0)

    @model_validator(mode="after")
    def _fits(self) -> "Wpn":
        if self.cross_entropy + self.n_pair == 0:
            raise ValueError("cross_entropy and n_pair are 0, so there is nothing to learn; give one of them a weight")
        if self.reference and self.reading == "hidden":
            raise ValueError("reference belongs to the reading output; representations have no log-likelihood")
        if self.position_weights == "harm" and (self.reading == "hidden" or self.in_batch_negatives):
            raise ValueError(
                "position_weights harm belongs to the reading output and to a prompt's own harmful output, after which "
                "it knows the harm; set reading: output and in_batch_negatives: 0"
            )
        return self


class Sft(Retention):
    """wpn/methods/sft.py."""

    method: Literal["sft"]
    cross_entropy: PositiveFloat = 1.0


class Ga(Ascent):
    """wpn/methods/ga.py."""

    method: Literal["ga"]


class GradDiff(Ascent, Retention):
    """wpn/methods/grad_diff.py."""

    method: Literal["grad_diff"]
    retain: Weight = 1.0


class Llmu(Ascent, Retention):
    """wpn/methods/llmu.py."""

    method: Literal["llmu"]
    ascent: PositiveFloat = 0.5
    mismatch: Weight = 1.0
    kl: Weight = 1.0


class Npo(Retention):
    """wpn/methods/npo.py."""

    method: Literal["npo"]
    npo: PositiveFloat = 1.0
    beta: PositiveFloat = 0.1


class SimNpo(Retention):
    """wpn/methods/simnpo.py."""

    method: Literal["simnpo"]
    simnpo: PositiveFloat = 1.0
    beta: PositiveFloat = 4.5
    gamma: Weight = 0.0


class Dpo(Retention):
    """wpn/methods/dpo.py."""

    method: Literal["dpo"]
    dpo: PositiveFloat = 1.0
    beta: PositiveFloat = 0.1


class Rmu(Objective):
    """wpn/methods/rmu.py."""

    method: Literal["rmu"]
    misdirection: PositiveFloat = 1.0
    anchor: Weight = 1200.0
    layer: PositiveInt  # 1 is the first block
    coefficient: PositiveFloat  # length of the states that harmful outputs are led to


class SafeUnlearning(Retention):
    """wpn/methods/safe_unlearning.py."""

    method: Literal["safe_unlearning"]
    cross_entropy: Weight = 0.5
    unlikelihood: PositiveFloat = 0.3
    retain: Weight = 1.0


class GradientPenalty(Retention):
    """wpn/methods/gradient_penalty.py."""

    method: Literal["gradient_penalty"]
    penalty: PositiveFloat = 1.0
    cross_entropy: Weight = 0.0
    retain: Weight = 1.0


class Refinement(Section):
    """wpn/refinement.py: when a pair, and when all, are forgotten; the paper's bounds."""

    bleu_below: Share = 0.01
    bleu_order: PositiveInt = 4  # n-grams of BLEU, at most; the paper's 4 is for passages, and short outputs have few
    bertscore_below: Share = 0.3  # asked where the method has an encoder
    window: PositiveInt | None = None  # tokens: a passage's last ones are asked for by as many before; null: the prompt
    n: PositiveInt = 10  # of EL_n
    # tokens: where EL_n has it continued, negative from its end; null: everywhere
    starts: list[int] | None = Field(min_length=1, default=None)
    accuracy_below: Share = 0.5994
    extraction_below: Share = 0.0499


class Icu(Ascent, Retention):
    """wpn/methods/icu.py; `retain` and `kl` are of the neighbours."""

    method: Literal["icu"]
    retain: Weight = 0.5
    kl: Weight = 1.0
    encoder: EncoderRow | None = None  # for neighbours and BERTScore; null takes TF-IDF and BLEU
    refinement: Refinement | None = Refinement()


Method = Annotated[
    Wpn | Sft | Ga | GradDiff | Llmu | Npo | SimNpo | Dpo | Rmu | SafeUnlearning | GradientPenalty | Icu,
    Field(discriminator="method"),
]
