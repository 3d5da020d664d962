"""What is attacked, and how: the section `assess` of a recipe."""

from string import Formatter
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from wpn.config.section import Distinct, Name, PositiveFloat, PositiveInt, Precision, Section, Share
from wpn.config.training import Attack

OF_ALL_WRAPPERS = {"worst", "any", "few_shot"}  # what attack_success_NAME ends in beside the templates' names


class Generalisation(Section):
    """wpn/assess/generalisation.py."""

    prompts: PositiveInt  # of each set, at most
    paraphrases: dict[Name, str]  # each around {prompt}, with the same meaning

    @field_validator("paraphrases")
    @classmethod
    def _around_the_prompt(cls, value: dict[str, str]) -> dict[str, str]:
        for name, text in value.items():
            if "{prompt}" not in text:
                raise ValueError(f"{name}: {{prompt}} is not in it")
        return value


class ForcedStart(Section):
    """wpn/assess/forced_start.py."""

    starts: Distinct[str]


class Wrappers(Section):
    """wpn/assess/wrappers.py."""

    templates: dict[Name, str]  # around {prompt}, {first} and {second} halves, {misspelled}, {leetspeak}; {distraction}
    few_shot: int = Field(ge=0)  # harmful demonstrations before the prompt, a wrapper of its own; 0 is none
    distraction: PositiveInt = 1  # benign texts that stand for {distraction}

    @field_validator("templates")
    @classmethod
    def _known_placeholders(cls, value: dict[str, str]) -> dict[str, str]:
        known = {"prompt", "first", "second", "misspelled", "leetspeak", "distraction"}
        for name, template in value.items():
            if name in OF_ALL_WRAPPERS:
                raise ValueError(f"{name}: attack_success_{name} is another number; take another name")
            try:
                used = {field for _, field, _, _ in Formatter().parse(template) if field is not None}
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
            if unknown := used - known:
                raise ValueError(f"{name}: no placeholder {sorted(unknown)[0]!r}; known: {', '.join(sorted(known))}")
            if not used - {"distraction"}:
                raise ValueError(f"{name}: the prompt is not in it")
        return value


class Suffix(Section):
    """wpn/assess/suffix.py."""

    prompts: PositiveInt  # at most: each has a search of its own
    length: PositiveInt  # tokens
    steps: PositiveInt
    candidates: PositiveInt  # of a step
    top: PositiveInt  # tokens a place, from which they are drawn


class InContext(Section):
    """wpn/assess/in_context.py."""

    demonstrations: Distinct[Annotated[int, Field(ge=0)]]


class Filtering(Section):
    """wpn/assess/output_filter.py."""

    demonstrations: PositiveInt  # harmful ones before the prompt


class Sampling(Section):
    """wpn/assess/sampling.py."""

    samples: PositiveInt  # of each prompt
    temperature: PositiveFloat


class Compression(Section):
    """wpn/assess/compression.py."""

    schemes: Distinct[Literal["int8", "int4"]]


class Membership(Section):
    """wpn/assess/membership.py."""

    pairs: PositiveInt  # of each side, at most
    k: Share  # of the tokens, that min-k % looks at


class Memorisation(Section):
    """wpn/assess/memorisation.py."""

    pairs: PositiveInt  # of each side, at most: every token of an output has a continuation of its own
    n: PositiveInt  # tokens of an n-gram


class ForgetQuality(Section):
    """wpn/assess/forget_quality.py."""

    pairs: PositiveInt  # forgotten ones, and as many harmless prompts, at most


class Collateral(Section):
    """wpn/assess/collateral.py."""

    prompts: PositiveInt  # at most
    benign: Literal["dialogues", "questions"]  # of the held-out texts, or ours (wpn/data/alarming.py)
    refusals: list[str] = Field(min_length=1)  # words that a refusal has


class Relearning(Section):
    """wpn/assess/relearning.py."""

    # numbers of harmful pairs that unlearning did not see, at most; the first meets every attack, the others the first
    pairs: Distinct[PositiveInt]
    batch_size: PositiveInt
    steps: Distinct[PositiveInt]  # after which the prompts are asked
    attacks: Distinct[Attack]  # the first is the one that the results quote

    @field_validator("pairs")
    @classmethod
    def _largest_first(cls, value: list[int]) -> list[int]:
        if value[0] != max(value):
            raise ValueError(f"the first number, which meets every attack, is not the largest; put {max(value)} first")
        return value


class WorstCase(Section):
    """wpn/assess/worst_case.py."""

    attacks: Distinct[Literal["forced_start", "wrappers", "suffix", "in_context", "sampling"]]  # probes that are set


class Assess(Section):
    """What is attacked, and how; a probe that is null is left out (wpn/assess/__init__.py has them in this order)."""

    prompts: PositiveInt  # unseen ones, at most
    max_new_tokens: PositiveInt
    precision: Precision  # of the model that answers; the rest is fp32
    batch_size: PositiveInt
    generalisation: Generalisation | None
    forced_start: ForcedStart | None
    wrappers: Wrappers | None
    suffix: Suffix | None
    in_context: InContext | None
    output_filter: Filtering | None
    sampling: Sampling | None
    compression: Compression | None
    membership: Membership | None
    memorisation: Memorisation | None
    forget_quality: ForgetQuality | None
    collateral: Collateral | None
    relearning: Relearning | None
    worst_case: WorstCase | None

    @model_validator(mode="after")
    def _attacks_are_made(self) -> "Assess":
        left_out = [name for name in (self.worst_case.attacks if self.worst_case else ()) if not getattr(self, name)]
        if left_out:
            raise ValueError(
                f"worst_case.attacks names {left_out[0]}, which is null; take it out, or set {left_out[0]}"
            )
        return self


OF_ALL_PROBES = ("prompts", "max_new_tokens", "precision", "batch_size")
PROBES = tuple(name for name in Assess.model_fields if name not in OF_ALL_PROBES)
