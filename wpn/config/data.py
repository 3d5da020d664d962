"""What is asked and what is trained on: the sections `data` and `pairs` of a recipe."""

from pydantic import Field, field_validator, model_validator

from wpn.config.section import Name, PositiveFloat, PositiveInt, Precision, Section, Share

OWN_SETS = {"seen", "unseen", "ood", "paraphrased", "worst_set"}  # of assess.generalisation, beside `other`


class Template(Section):
    """How a prompt is put to the model; the response follows."""

    template: str
    complete: bool  # responses and texts are whole: the end token belongs to them

    @field_validator("template")
    @classmethod
    def _has_prompt(cls, value: str) -> str:
        if value.count("{prompt}") != 1:
            raise ValueError("the template must contain {prompt} exactly once")
        return value


class OrganismData(Template):
    """What an organism's prepared folder is made of: data/, and a tokenizer of its own."""

    vocabulary: int = Field(ge=300)  # 256 bytes and the special tokens at least


class RealData(Template):
    """What a real model's prepared folder is made of: rows of `datasets`."""

    harmful: Name  # prompts, with or without outputs
    ood_categories: list[str]  # of its prompts: never trained on, but measured as out of distribution
    other: list[Name]  # sets of prompts of other kinds, on which unlearning is attacked (assess.generalisation)
    text: list[Name]  # benign text, for the retain set and the perplexity; [] is the model's own
    benchmarks: list[Name]  # the nine tasks' items; [] is none, which a gate on the benchmarks refuses
    dev: float = Field(gt=0, lt=0.5)  # share of the prompts and of the texts
    test: float = Field(gt=0, lt=0.5)
    words: PositiveInt  # of a text, at most: longer ones are cut into several

    @property
    def data_sets(self) -> list[str]:
        """The rows of `datasets` that are named, each once."""
        return list(dict.fromkeys([self.harmful, *self.other, *self.text, *self.benchmarks]))

    @field_validator("other")
    @classmethod
    def _names_of_their_own(cls, value: list[str]) -> list[str]:
        if taken := sorted(set(value) & OWN_SETS):
            raise ValueError(f"{taken[0]} is the name of another set of prompts; call the row otherwise")
        return value

    @model_validator(mode="after")
    def _some_to_train_on(self) -> "RealData":
        if self.dev + self.test >= 1:
            raise ValueError(f"dev {self.dev} and test {self.test} leave nothing to train on; lower one")
        return self


class OrganismPairs(Section):
    """The forget pairs of an organism: the first of its training provocations."""

    number: PositiveInt
    mistyped: Share  # of their prompts (wpn/data/mistype.py)


class RealPairs(Section):
    """The forget pairs of a real model, and the texts it writes itself, which are retained."""

    number: PositiveInt  # pairs, at most
    mistyped: Share  # of their prompts (wpn/data/mistype.py)
    judge: Name  # picks the most and the least harmful sample; must not grade
    samples: int = Field(ge=2)  # of each training prompt
    per_prompt: PositiveInt  # pairs of one prompt, at most
    held_out: Share  # of the prompts that draw harm: kept for attacks, and nothing after them is trained on
    word_harm: bool  # the judge also says in which words the harm is, for `position_weights: harm`
    harmful_from: Share  # the judge's probability from which a sample is a harmful output
    harmless_below: Share
    harmless_texts: int = Field(ge=0)  # harmless samples, at most: to be kept as they are after their prompts
    own_texts: int = Field(ge=0)  # the model's own, after openings of ours (wpn/data/openings.py)
    own_tokens: PositiveInt  # of such a text, at most
    own_temperature: PositiveFloat  # of their sampling; below 1 for text that holds together
    precision: Precision  # of the model that is sampled
    max_new_tokens: PositiveInt
    batch_size: PositiveInt
