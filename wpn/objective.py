"""What every method's objective is made of: the two models, the terms, and what holds the model on benign text."""

from dataclasses import dataclass, field

import torch
from torch import Tensor
from transformers import PreTrainedModel

from wpn.config.methods import Retention
from wpn.data.batches import Batch, Row, collate
from wpn.data.forget import Step
from wpn.likelihood import forward, token_log_likelihoods, wide
from wpn.losses.cross_entropy import cross_entropy
from wpn.losses.kl import forward_kl
from wpn.models import positions_of


@dataclass(frozen=True)
class Models:
    """The model in training, the frozen one it came from, and the id that fills batches."""

    trained: PreTrainedModel
    frozen: PreTrainedModel
    fill: int
    bf16: bool = False  # matrix products in bfloat16; weights and losses stay as they are

    def collate(self, rows: list[Row]) -> Batch:
        """Rows as a batch on the model's device."""
        return collate(rows, self.fill, "both", positions_of(self.trained)).to(self.trained.device)

    def log_likelihoods(self, rows: list[Row]) -> tuple[Tensor, Tensor]:
        """(R, T) log-likelihoods of the counted tokens under the model in training, and the (R, T) mask."""
        batch = self.collate(rows)
        return token_log_likelihoods(forward(self.trained, batch).logits, batch)

    @torch.no_grad()
    def frozen_log_likelihoods(self, rows: list[Row]) -> Tensor:
        """(R, T) the same under the frozen model."""
        batch = self.collate(rows)
        return token_log_likelihoods(forward(self.frozen, batch).logits, batch)[0]


@dataclass(frozen=True)
class Terms:
    """The terms of a loss, as scalars, by the name of their weight in the method's settings.

    Attributes:
        forget: means over the examples of a step.
        retain: means over its benign texts.
    """

    forget: dict[str, Tensor] = field(default_factory=dict)
    retain: dict[str, Tensor] = field(default_factory=dict)

    def shared(self, part: Step, step: Step) -> "Terms":
        """The terms of a part of a step, times its share of the sequences, so that those of all parts add up.

        Every term is a mean over sequences.
        """
        return Terms(
            {name: term * (len(part.examples) / len(step.examples)) for name, term in self.forget.items()},
            {name: term * (len(part.retain) / len(step.retain)) for name, term in self.retain.items()},
        )

    def __or__(self, other: "Terms") -> "Terms":
        return Terms(self.forget | other.forget, self.retain | other.retain)


def retain_terms(models: Models, retain: list[Row], settings: Retention) -> Terms:
    """The divergence from the frozen model and the cross-entropy on benign text, where they have a weight.

    Both speak of the same logits, so one forward pass gives both.
    """
    if not retain or not (settings.kl or settings.retain):
        return Terms()
    batch = models.collate(retain)
    logits = forward(models.trained, batch).logits  # (R, K, V)
    terms = {}
    if settings.retain:
        terms["retain"] = cross_entropy(*token_log_likelihoods(logits, batch))
    if settings.kl:
        with torch.no_grad():
            frozen = wide(forward(models.frozen, batch).logits)[:, :-1]  # (R, K-1, V)
        kept = wide(logits)[:, :-1]
        terms["kl"] = forward_kl(frozen, kept, batch.response[:, -kept.shape[1] :])
    return Terms(retain=terms)
