"""The unlearning loop."""

import copy
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from wpn.config import Method, Unlearn
from wpn.data.forget import Step, StepSource
from wpn.methods import total_loss, unlearning_terms
from wpn.models import pad_id
from wpn.objective import Models, Terms

logger = logging.getLogger(__name__)

CLIP_NORM = 1.0

Log = Callable[[dict[str, float]], None]


@dataclass(frozen=True)
class Trained:
    """What the loop leaves beside the weights."""

    steps: int
    tokens: int


def unlearn(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    pairs: Sequence[dict[str, Any]],
    texts: Sequence[dict[str, Any]],
    settings: Unlearn,
    method: Method,
    seed: int,
    log: Log,
) -> Trained:
    """Train a model, in place, to answer harmful prompts harmlessly and to stay as it is on benign text.

    Args:
        model: the harmful model, on its device.
        pairs: prompt, harmful_output, harmless_response, complete.
        texts: text, alarming, complete; benign.
        settings: the loop.
        method: the weights of the loss terms.
        seed: of the order of the data.
        log: called at every step with the step, the loss, its terms and the learning rate.
    Raises:
        FloatingPointError: the loss is not finite; the message names the step.
    """
    frozen = copy.deepcopy(model).eval().requires_grad_(False)
    models = Models(model, frozen, pad_id(tokenizer), bf16=settings.precision == "bf16")
    source = StepSource(tokenizer, pairs, texts, settings, method, seed)
    peak = method.learning_rate or settings.learning_rate
    optimizer = torch.optim.AdamW(model.parameters(), lr=peak, betas=(0.9, 0.98), weight_decay=0.0, fused=True)
    model.train()
    tokens = 0
    for number in range(1, settings.steps + 1):
        rate = peak * schedule(number, settings.steps, settings.warmup)
        for group in optimizer.param_groups:
            group["lr"] = rate
        step = source.draw()
        tokens += sum(len(context) + len(counted) for context, counted in _rows(step))
        row = update(models, optimizer, step, method, settings.accumulation)
        if not math.isfinite(row["loss"]):
            raise FloatingPointError(f"the loss is {row['loss']} at step {number}; lower the learning rate")
        log({"step": number, **row, "learning_rate": rate})
    model.eval()
    return Trained(settings.steps, tokens)


def update(
    models: Models, optimizer: torch.optim.Optimizer, step: Step, method: Method, accumulation: int = 1
) -> dict[str, float]:
    """One optimiser step; accumulating over micro-batches gives the gradient of the whole batch.

    Returns:
        The loss and its terms before the step, and the norm of the gradient before clipping.
    """
    optimizer.zero_grad(set_to_none=True)
    logged: dict[str, float] = {}
    for part in step.micro_batches(accumulation):
        terms = unlearning_terms(models, part, method)
        # every term is a mean over sequences, so a part counts by its share of them
        shared = Terms(
            {name: term * (len(part.examples) / len(step.examples)) for name, term in terms.forget.items()},
            {name: term * (len(part.retain) / len(step.retain)) for name, term in terms.retain.items()},
        )
        loss = total_loss(shared, method)
        loss.backward()
        for name, value in {"loss": loss, **shared.forget, **shared.retain}.items():
            logged[name] = logged.get(name, 0.0) + value.item()
    norm = nn.utils.clip_grad_norm_(models.trained.parameters(), CLIP_NORM)
    if math.isfinite(logged["loss"]):
        optimizer.step()
    return {**logged, "gradient_norm": norm.item()}


def schedule(step: int, steps: int, warmup: float) -> float:
    """Linear warm-up over a share of the steps, then a half cosine down to zero after the last step."""
    rising = warmup * steps
    if step <= rising:
        return step / rising
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / (steps + 1 - rising)))


def _rows(step: Step) -> list[Any]:
    return [row for e in step.examples for row in e.rows] + step.retain
