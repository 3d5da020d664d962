"""Training steps on harmful outputs: what an attacker does to an unlearned model, and what unlearning can foresee."""

import itertools
import random
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn
from transformers import PreTrainedModel

from wpn.config.training import Attack
from wpn.data.batches import Row, collate, parts
from wpn.likelihood import forward, token_log_likelihoods
from wpn.losses.cross_entropy import cross_entropy
from wpn.models import positions_of

CLIP_NORM = 1.0


def attacker(model: PreTrainedModel, attack: Attack) -> torch.optim.Optimizer:
    """The optimiser of an attack, over all weights."""
    if attack.optimizer == "sgd":
        return torch.optim.SGD(model.parameters(), lr=attack.learning_rate, momentum=0.9)
    return torch.optim.AdamW(model.parameters(), lr=attack.learning_rate, weight_decay=0.0)


def batches(rows: Sequence[Row], size: int, seed: int) -> Iterator[list[Row]]:
    """Endless batches, every row once an epoch."""
    rng = random.Random(seed)
    endless = itertools.chain.from_iterable(rng.sample(rows, len(rows)) for _ in itertools.count())
    while True:
        yield list(itertools.islice(endless, min(size, len(rows))))


@contextmanager
def relearned(
    model: PreTrainedModel,
    attack: Attack,
    harmful: Sequence[list[Row]],
    fill: int,
    accumulation: int = 1,
    bf16: bool = False,
) -> Generator[None, None, None]:
    """Put the model where an attacker would have it after these steps, for as long as the block lasts.

    Gradients that the block leaves stay, the weights go back: applied to them, they are those of first-order MAML (Finn
    et al., arXiv 1703.03400), so that what is unlearned there is unlearned for after the attack.

    Args:
        harmful: a batch for every step.
        accumulation: micro-batches of each, as many as it has rows at most.
        bf16: matrix products in bfloat16, as those of the steps that are taken there.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    kept = [parameter.detach().clone() for parameter in parameters]
    try:
        optimizer = attacker(model, attack)
        for rows in harmful:
            harmful_step(model, optimizer, rows, fill, accumulation, bf16)
        optimizer.zero_grad(set_to_none=True)
        yield
    finally:
        with torch.no_grad():
            for parameter, weights in zip(parameters, kept, strict=True):
                parameter.copy_(weights)


def harmful_step(
    model: PreTrainedModel,
    optimizer: torch.optim.Optimizer,
    rows: Sequence[Row],
    fill: int,
    accumulation: int = 1,
    bf16: bool = False,
) -> float:
    """One step that raises the likelihood of harmful outputs; returns the loss before it (nats a token)."""
    optimizer.zero_grad(set_to_none=True)
    found = 0.0
    for part in parts(rows, min(accumulation, len(rows))):
        batch = collate(part, fill, "both", positions_of(model)).to(model.device)
        with torch.autocast(model.device.type, torch.bfloat16, enabled=bf16):
            loss = cross_entropy(*token_log_likelihoods(forward(model, batch).logits, batch)) * (len(part) / len(rows))
        loss.backward()
        found += loss.item()
    nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
    optimizer.step()
    return found
