"""Where models, data sets, judges and encoders come from: the rows of the tables at the top of params.yaml."""

from typing import Literal

from pydantic import Field, model_validator

from wpn.config.section import Name, PositiveInt, Section, Sha256

NOT_STATED = "not stated"


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
    harmful_labels: list[str] = Field(default_factory=list)  # of a classifier
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
