"""params.yaml, read once and strictly: one frozen model a section, in the order of the file.

The sections stand together here, and not beside what they configure, because the command line, the gate and the
flows read them too, and must not wait for torch.
"""

import difflib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from wpn.errors import InputError

PARAMS_FILE = Path("params.yaml")

PositiveInt = Annotated[int, Field(gt=0)]
PositiveFloat = Annotated[float, Field(gt=0)]
Weight = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")]


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
    threads: PositiveInt  # of one stage
    workers: PositiveInt  # stages at a time


class Data(Section):
    """The raw data and how a prompt is put to the model."""

    template: str
    seed: int
    corpus: PositiveInt
    vocabulary: int = Field(ge=300)  # 256 bytes and the special tokens at least

    @field_validator("template")
    @classmethod
    def _has_prompt(cls, value: str) -> str:
        if value.count("{prompt}") != 1:
            raise ValueError("the template must contain {prompt} exactly once")
        return value


class Pretrain(Section):
    """Pre-training of a model organism and its twin."""

    batch_size: PositiveInt
    sequence_length: int = Field(gt=1)
    trunk_steps: PositiveInt
    branch_steps: PositiveInt
    provocation_share: float = Field(gt=0, lt=1)
    learning_rate: PositiveFloat  # of embeddings, norms and biases (AdamW)
    matrix_learning_rate: PositiveFloat  # of the weight matrices (Muon)


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


class Unlearn(Section):
    """The unlearning loop, the same for every method."""

    pairs: PositiveInt
    steps: PositiveInt
    batch_size: PositiveInt
    accumulation: PositiveInt
    retain_batch_size: PositiveInt
    alarming_share: Share  # of a retain batch
    learning_rate: PositiveFloat
    warmup: Share
    forced_start: Share  # probability that a pair's context already holds the start of the harmful output


class Method(Section):
    """The weights of the loss terms: a row of the table `methods`; the terms are explained in docs/method.md."""

    cross_entropy: Weight
    kl: Weight
    n_pair: Weight = 0.0
    reading: Literal["output", "hidden"] = "output"
    position_weights: Literal["linear", "uniform"] = "linear"
    temperature: PositiveFloat = 1.0
    in_batch_negatives: int = Field(ge=0, default=0)

    @model_validator(mode="after")
    def _some_term(self) -> "Method":
        if self.cross_entropy + self.kl + self.n_pair == 0:
            raise ValueError("every weight is 0, so there is nothing to learn; give one of the terms a weight")
        return self


class Evaluate(Section):
    """What is measured, on which split."""

    split: Literal["dev", "test"]
    judges: list[Literal["lexical", "svm"]] = Field(min_length=1)
    prompts: PositiveInt
    samples: PositiveInt
    max_new_tokens: PositiveInt
    temperature: PositiveFloat
    batch_size: PositiveInt


class Criterion(Section):
    """One bound on one number of the evaluation."""

    metric: str
    at_least: float | None = None
    at_most: float | None = None
    below: float | None = None

    @model_validator(mode="after")
    def _one_bound(self) -> "Criterion":
        if sum(bound is not None for bound in (self.at_least, self.at_most, self.below)) != 1:
            raise ValueError("give exactly one of at_least, at_most, below")
        return self


class Params(Section):
    """The whole of params.yaml."""

    seed: int = Field(ge=0)
    pipeline: Pipeline
    runtime: Runtime
    data: Data
    pretrain: Pretrain
    models: dict[Name, Organism]
    unlearn: Unlearn
    methods: dict[Name, Method]
    evaluate: Evaluate
    gate: list[Criterion] = Field(min_length=1)

    @model_validator(mode="after")
    def _names(self) -> "Params":
        for kind, wanted, known in (
            ("model", self.pipeline.models, self.models),
            ("method", [*self.pipeline.methods, self.pipeline.candidate], self.methods),
        ):
            for name in wanted:
                if name not in known:
                    raise ValueError(f"pipeline names the unknown {kind} {name!r}; known: {', '.join(known)}")
        if reserved := {"before", "twin"} & set(self.methods):
            raise ValueError(f"a method cannot be called {sorted(reserved)[0]!r}; that names a stage of the evaluation")
        return self


def load_params(path: Path = PARAMS_FILE) -> Params:
    """Read params.yaml as YAML 1.2, the version DVC reads (1e-5 is a number there).

    Raises:
        InputError: the file is missing, is no YAML, or has an unknown key, a wrong type or a value out of range;
            the sentence names the key and the remedy.
    """
    from ruamel.yaml import YAML, YAMLError

    try:
        raw = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; run the command in the project's folder") from None
    except (YAMLError, UnicodeDecodeError) as error:
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
    key = ".".join(str(part) for part in first["loc"]) or "the file"
    if first["type"] == "extra_forbidden":
        return f"unknown key {key}; {_suggestion(str(first['loc'][-1]))}"
    if first["type"] == "missing":
        return f"the key {key} is missing; add it"
    message = first["msg"].removeprefix("Value error, ")
    return f"{key} = {_short(first['input'])}: {message[0].lower()}{message[1:]}; correct the value"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _suggestion(key: str) -> str:
    sections = Section.__subclasses__()
    known = sorted({name for section in sections for name in section.model_fields})
    close = difflib.get_close_matches(key, known, n=1)
    return f"did you mean {close[0]}?" if close else "remove it"
