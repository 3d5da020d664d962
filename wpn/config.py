"""params.yaml, read once and strictly: one frozen model a section, in the order of the file.

The sections stand together here, and not beside what they configure, because the command line, the gate and the
flows read them too, and must not wait for torch.
"""

import difflib
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from string import Formatter
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from wpn.errors import InputError
from wpn.measured import measured
from wpn.tasks import Suite

PARAMS_FILE = Path("params.yaml")

PositiveInt = Annotated[int, Field(gt=0)]
PositiveFloat = Annotated[float, Field(gt=0)]
Weight = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")]
Drawn = Annotated[list[int | float], Field(min_length=1)]
Precision = Literal["fp32", "bf16"]
NOT_STATED = "not stated"


class Section(BaseModel):
    """What all sections share: no unknown keys, no silent conversions, no changes after loading."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Pipeline(Section):
    """What runs, and which method's models may become candidates in the registry."""

    models: list[Name] = Field(min_length=1)
    methods: list[Name] = Field(min_length=1)
    candidate: Name


class Runtime(Section):
    """Where it runs."""

    device: str = Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")
    launch: str | None = Field(pattern=r"^[a-z0-9-]+$")  # the file in pipelines/devices by which `unlearn` is launched


class Compute(Section):
    """How much of the machine the models of a recipe may take."""

    threads: PositiveInt  # of one stage
    workers: PositiveInt  # stages at a time


class Grammar(Section):
    """The raw data of the model organisms (`wpn data fetch`)."""

    seed: int
    corpus: PositiveInt


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


class Organism(Section):
    """The shape of a model organism: a row of the table `models`."""

    architecture: Literal["opt", "gpt_neo"]
    layers: PositiveInt
    width: PositiveInt
    heads: PositiveInt
    positions: PositiveInt

    @model_validator(mode="after")
    def _shape(self) -> "Organism":
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
        if self.architecture == "gpt_neo" and self.layers % 2:
            raise ValueError(f"layers {self.layers} is odd; GPT-Neo alternates global and local attention")
        return self


class Wheel(Section):
    """Files inside a wheel of the package index: a wheel is also a data file with a checksum."""

    package: str
    version: str
    sha256: Sha256  # of the wheel
    members: list[str] = Field(min_length=1)  # paths or glob patterns inside the wheel


class Hub(Section):
    """Files of a hub repository at one commit."""

    repo: str = Field(pattern=r"^[\w.-]+/[\w.-]+$")
    kind: Literal["model", "dataset"] = "model"
    revision: str = Field(pattern=r"^[0-9a-f]{40}$")  # a commit, for a branch moves
    files: list[str] = Field(min_length=1)  # paths or glob patterns inside the repository


class Local(Section):
    """A file or folder of this machine; the hash says which content is meant."""

    location: str
    sha256: Sha256  # wpn.files.sha256_of


class Registered(Section):
    """A model version of an MLflow registry."""

    uri: str = Field(pattern=r"^models:/[^/]+/\d+$")  # a version, for an alias moves


class Source(Section):
    """Where something comes from: at most one kind of source; a subclass says whether there must be one."""

    wheel: Wheel | None = None
    hub: Hub | None = None
    path: Local | None = None
    mlflow: Registered | None = None

    @property
    def given(self) -> list[str]:
        """The kinds of source that this row names."""
        return [kind for kind in ("wheel", "hub", "path", "mlflow") if getattr(self, kind) is not None]

    @model_validator(mode="after")
    def _one_source(self) -> "Source":
        if len(self.given) > 1:
            raise ValueError(f"two sources ({' and '.join(self.given)}); keep one")
        return self


class Model(Source):
    """A model, harmful as it is: an organism to be pre-trained, or a checkpoint from a source. A row of `models`."""

    recipe: Name
    license: str = NOT_STATED  # for the model card
    organism: Organism | None = None
    # rows of `datasets` instead of the recipe's
    data: Name | None = None
    text: list[Name] | None = None
    benchmarks: list[Name] | None = None

    @model_validator(mode="after")
    def _comes_from_somewhere(self) -> "Model":
        if len(self.given) + (self.organism is not None) != 1:
            raise ValueError("give exactly one of organism, wheel, hub, path, mlflow")
        return self


class DataSet(Source):
    """Files of prompts, texts or benchmark items: a row of `datasets`; wpn/data reads the formats."""

    format: str

    @model_validator(mode="after")
    def _comes_from_somewhere(self) -> "DataSet":
        if len(self.given) != 1 or self.mlflow is not None:
            raise ValueError("give exactly one of wheel, hub, path")
        return self


class JudgeRow(Source):
    """A judge of harm: a row of `judges`."""

    kind: Literal["lexical", "svm", "bilstm", "classifier", "chat"]
    harmful_labels: list[str] = []  # of a classifier
    prompt: str = ""  # of a chat model; holds {text}

    @model_validator(mode="after")
    def _complete(self) -> "JudgeRow":
        built_in = self.kind in ("lexical", "svm")
        if len(self.given) != (not built_in):
            raise ValueError(f"a judge of kind {self.kind} has {'no source' if built_in else 'exactly one source'}")
        if (self.kind == "classifier") != bool(self.harmful_labels):
            raise ValueError("harmful_labels belongs to kind classifier, and there it is needed")
        if (self.kind == "chat") != ("{text}" in self.prompt):
            raise ValueError("a prompt that holds {text} belongs to kind chat, and there it is needed")
        return self


class EncoderRow(Source):
    """A sentence model of sentence-transformers (wpn/encoder.py)."""

    @model_validator(mode="after")
    def _comes_from_somewhere(self) -> "EncoderRow":
        if len(self.given) != 1 or self.mlflow is not None:
            raise ValueError("give exactly one of wheel, hub, path")
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

    steps: PositiveInt  # of the attacker, at most: 1 to so many, drawn for each step of ours
    batch_size: PositiveInt  # of the attacker
    begin: Share  # of our steps, before which nothing is foreseen
    weight: PositiveFloat  # of that gradient beside the one where the model is


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


class OrganismPairs(Section):
    """The forget pairs of an organism: the first of its training provocations."""

    number: PositiveInt
    mistyped: Share  # of their prompts (wpn/data/mistype.py)


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

    @model_validator(mode="after")
    def _some_to_train_on(self) -> "RealData":
        if self.dev + self.test >= 1:
            raise ValueError(f"dev {self.dev} and test {self.test} leave nothing to train on; lower one")
        return self


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


class Evaluate(Section):
    """What is measured, on which split."""

    split: Literal["dev", "test"]
    judges: list[Name] = Field(min_length=1)
    prompts: PositiveInt
    samples: PositiveInt
    max_new_tokens: PositiveInt
    temperature: PositiveFloat
    precision: Precision  # of the model that answers, prompts and benchmarks, and of the one that says what is fluent
    batch_size: PositiveInt
    suite: Suite  # of the benchmarks
    benchmark_items: PositiveInt | None  # of each task, at most; null is all
    benchmark_batch_size: PositiveInt


class Relearning(Section):
    """wpn/assess/relearning.py."""

    # numbers of harmful pairs that unlearning did not see, at most; the first meets every attack, the others the first
    pairs: list[PositiveInt] = Field(min_length=1)
    batch_size: PositiveInt
    steps: list[PositiveInt] = Field(min_length=1)  # after which the prompts are asked
    attacks: list[Attack] = Field(min_length=1)  # the first is the one that the results quote

    @field_validator("pairs")
    @classmethod
    def _each_once(cls, value: list[int]) -> list[int]:
        if twice := [number for number in value if value.count(number) > 1]:
            raise ValueError(f"{twice[0]} is there twice; leave one out")
        if value[0] != max(value):
            raise ValueError(f"the first number, which meets every attack, is not the largest; put {max(value)} first")
        return value


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


class InContext(Section):
    """wpn/assess/in_context.py."""

    demonstrations: list[Annotated[int, Field(ge=0)]] = Field(min_length=1)


class ForcedStart(Section):
    """wpn/assess/forced_start.py."""

    starts: list[str] = Field(min_length=1)


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


class Sampling(Section):
    """wpn/assess/sampling.py."""

    samples: PositiveInt  # of each prompt
    temperature: PositiveFloat


class Compression(Section):
    """wpn/assess/compression.py."""

    schemes: list[Literal["int8", "int4"]] = Field(min_length=1)


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


class Filtering(Section):
    """wpn/assess/output_filter.py."""

    demonstrations: PositiveInt  # harmful ones before the prompt


class Collateral(Section):
    """wpn/assess/collateral.py."""

    prompts: PositiveInt  # at most
    benign: Literal["dialogues", "questions"]  # of the held-out texts, or ours (wpn/data/alarming.py)
    refusals: list[str] = Field(min_length=1)  # words that a refusal has


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


class Criterion(Section):
    """One limit on one number of the evaluation (wpn/estimates.py names them)."""

    metric: str
    bound: Literal["value", "low", "high"] = "value"  # low, high: that end of its 95 % interval
    against: Literal["base", "champion"] | None = None  # then the number is what the model has more of it
    at_least: float | None = None
    at_most: float | None = None
    below: float | None = None

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


class Serve(Section):
    """How a registered version answers (pipelines/filtered_model.py)."""

    filter: Literal["on", "off"]
    judge: Name  # a row of `judges`; an answer that it finds harmful is not said


class Gate(Section):
    """Which models may be promoted."""

    mode: Literal["enforce", "dry_run"]
    prompts: PositiveInt  # behind every rate, at least; fewer are no evidence
    criteria: list[Criterion] = Field(min_length=1)


class OrganismRecipe(Section):
    """Everything that is set for model organisms: a row of `recipes`."""

    kind: Literal["organism"]
    compute: Compute
    data: OrganismData
    pretrain: Pretrain
    pairs: OrganismPairs
    unlearn: Unlearn
    methods: dict[Name, Method]
    search: dict[Name, dict[str, Drawn]]  # of rows of `methods`: what is drawn for their keys (wpn/search.py)
    evaluate: Evaluate
    assess: Assess
    gate: Gate
    serve: Serve


class RealRecipe(Section):
    """Everything that is set for real models: a row of `recipes`."""

    kind: Literal["real"]
    compute: Compute
    data: RealData
    pairs: RealPairs
    unlearn: Unlearn
    methods: dict[Name, Method]
    search: dict[Name, dict[str, Drawn]]  # of rows of `methods`: what is drawn for their keys (wpn/search.py)
    evaluate: Evaluate
    assess: Assess
    gate: Gate
    serve: Serve

    @model_validator(mode="after")
    def _independent_judges(self) -> "RealRecipe":
        if self.pairs.judge in self.evaluate.judges:
            raise ValueError(
                f"the judge {self.pairs.judge!r} picks the training pairs and grades; take it out of evaluate.judges"
            )
        return self


Recipe = Annotated[OrganismRecipe | RealRecipe, Field(discriminator="kind")]


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


def load_params(path: Path = PARAMS_FILE) -> Params:
    """Read params.yaml as YAML 1.2, the version DVC reads (1e-5 is a number there).

    Raises:
        InputError: the file is missing, is no YAML, or has an unknown key, a wrong type or a value out of range;
            the sentence names the key and the remedy.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; run the command in the project's folder") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not valid YAML: {error}; correct it") from None
    return parse_params(text, path)


def parse_params(text: str, path: Path) -> Params:
    """What `load_params` makes of a text; `path` is the file that its sentences name."""
    from ruamel.yaml import YAML, YAMLError

    try:
        raw = YAML(typ="safe", pure=True).load(text)
    except YAMLError as error:
        raise InputError(f"{path} is not valid YAML: {' '.join(str(error).split())}; correct it") from None
    try:
        return Params.model_validate(raw)
    except ValidationError as error:
        raise InputError(f"{path}: {_sentence(error)}") from None


def _sentence(error: ValidationError) -> str:
    """The first problem as one sentence: key, value, what is wrong, what to do."""
    errors = error.errors()
    # a misspelt key is unknown and missing at once: the first says more
    first = next((each for each in errors if each["type"] == "extra_forbidden"), errors[0])
    key = ".".join(_path(first["loc"]))
    if first["type"] == "extra_forbidden":
        return f"unknown key {key}; {_suggestion(str(first['loc'][-1]))}"
    if first["type"] == "missing":
        return f"the key {key} is missing; add it"
    message = first["msg"].removeprefix("Value error, ")
    # of a section as a whole the sentence itself names what in it is wrong
    value = "" if isinstance(first["input"], dict) else f" = {_short(first['input'])}"
    where = f"{key}{value}: " if key else ""
    return f"{where}{message[0].lower()}{message[1:]}; correct the value"


def _path(loc: tuple[int | str, ...]) -> list[str]:
    """The keys as they stand in the file: pydantic puts a recipe's kind behind its name, and a row's method too."""
    parts = [str(part) for part in loc]
    if parts[:1] == ["recipes"]:
        parts = parts[:2] + parts[3:]
    return parts[:4] + parts[5:] if parts[2:3] == ["methods"] else parts


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _suggestion(key: str) -> str:
    known = sorted({name for section in _sections(Section) for name in section.model_fields})
    close = difflib.get_close_matches(key, known, n=1)
    return f"did you mean {close[0]}?" if close else "remove it"


def _sections(parent: type[Section]) -> Iterator[type[Section]]:
    for section in parent.__subclasses__():
        yield section
        yield from _sections(section)
