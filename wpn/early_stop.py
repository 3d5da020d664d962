"""Early stop: training ends when held-out pairs and texts are served no better, and the best weights come back.

Those of the last step are looked at in any case; where ICU finds that all is forgotten, its weights stay.

What is looked at is the same for every method, for many a method's own loss falls for ever (`ga`: the likelihood of
harmful outputs) and says nothing of a model that is destroyed. Ours: does the model say the harmless response rather
than the harmful output, log(1 + exp(s(y-) - s(y+))) with s the mean log-likelihood a token, and is it still itself,
KL(p_frozen || p) on benign text. Both are in nats a token, never below 0, and rise for a model that talks no more.
"""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from wpn.config.methods import Method, Wpn
from wpn.config.training import EarlyStop, Unlearn
from wpn.data.forget import StepSource, teaches
from wpn.errors import InputError
from wpn.methods import total_loss, unlearning_terms
from wpn.objective import Models
from wpn.parallel import evaluating, like

logger = logging.getLogger(__name__)

Rows = Sequence[dict[str, Any]]

LOOKED_AT = Wpn(method="wpn", n_pair=1.0, cross_entropy=0.0, kl=1.0, position_weights="uniform")


@dataclass(frozen=True)
class Split:
    """Which rows, counted from 0, are trained on, and which are looked at.

    Attributes:
        pairs, texts: to train on.
        looked_pairs, looked_texts: held out.
    """

    pairs: Sequence[int]
    texts: Sequence[int]
    looked_pairs: Sequence[int] = ()
    looked_texts: Sequence[int] = ()


def held_out(pairs: Rows, texts: Rows, share: float) -> Split:
    """Hold out so large a share of the prompts, with all their pairs, and of the texts.

    A prompt is told by how it was written: one that was mistyped is not another one.

    Raises:
        InputError: fewer than two prompts or texts, so that nothing would be left on one side.
    """
    written = [pair.get("written", pair["prompt"]) for pair in pairs]
    prompts = list(dict.fromkeys(written))
    if min(len(prompts), len(texts)) < 2:
        raise InputError(f"{len(prompts)} prompts and {len(texts)} texts leave nothing to hold out; drop early_stop")
    apart = set(_every(prompts, share))
    looked = _every(range(len(texts)), share)
    return Split(
        [i for i, prompt in enumerate(written) if prompt not in apart],
        sorted({*range(len(texts))} - {*looked}),
        [i for i, prompt in enumerate(written) if prompt in apart],
        looked,
    )


def _every(items: Sequence[Any], share: float) -> list[Any]:
    """About so large a share of the items, at even distances; at least one, and not all."""
    count = min(max(1, round(share * len(items))), len(items) - 1)
    return [items[i * len(items) // count] for i in range(count)]


class Watch:
    """The best that was seen on what is held out."""

    def __init__(
        self,
        models: Models,
        tokenizer: PreTrainedTokenizerBase,
        pairs: Rows,
        texts: Rows,
        settings: Unlearn,
        stop: EarlyStop,
        method: Method,
    ) -> None:
        """Look at all pairs from which the method learns, and at the texts.

        Raises:
            InputError: it learns from none of the pairs, or one has no harmless response.
        """
        self.models, self.stop = models, stop
        pairs = [pair for pair in pairs if teaches(pair, method)]
        if not pairs:
            raise InputError("every held-out harmful output only repeats its prompt's words; drop early_stop")
        if any(not pair["harmless_response"] for pair in pairs):
            raise InputError("a held-out pair has no harmless response to compare its output with; drop early_stop")
        whole = {
            "batch_size": len(pairs),
            "retain_batch_size": min(len(texts), len(pairs)),
            "forced_start": 0.0,
        }
        self.step = StepSource(tokenizer, pairs, texts, settings.model_copy(update=whole), LOOKED_AT, seed=0).draw()
        self.batch_size = settings.batch_size
        self.best, self.best_step, self.weights = math.inf, 0, self._weights()

    def worse(self, number: int, accumulation: int) -> bool:
        """Look after step `number`; true when the last `patience` looks were no better than the best.

        Args:
            accumulation: of training, whose micro-batches fit into the memory.
        """
        loss = self.loss(accumulation)
        if loss < self.best:
            self.best, self.best_step, self.weights = loss, number, self._weights()
        return number - self.best_step >= self.stop.patience * self.stop.every

    @torch.no_grad()
    def loss(self, accumulation: int = 1) -> float:
        """How ill all that is held out is served, in nats a token, with no more at a time than training has."""
        total = 0.0
        with evaluating(self.models.trained):
            for part in self.step.micro_batches(math.ceil(len(self.step.examples) * accumulation / self.batch_size)):
                terms = unlearning_terms(self.models, part, LOOKED_AT).shared(part, self.step)
                total += total_loss(terms, LOOKED_AT).item()
        return total

    def restore(self) -> None:
        """Put the best weights back."""
        with torch.no_grad():
            for parameter, weights in zip(self.models.trained.parameters(), self.weights, strict=True):
                parameter.copy_(weights)
        logger.info("the weights of step %d are kept, held-out loss %.4f", self.best_step, self.best)

    def _weights(self) -> list[Tensor]:
        return [parameter.detach().clone() for parameter in self.models.trained.parameters()]

    def state(self) -> dict[str, Any]:
        """For a checkpoint, as JSON; the weights go apart."""
        return {"best": self.best if math.isfinite(self.best) else None, "best_step": self.best_step}

    def tensors(self) -> dict[str, Tensor]:
        """For a checkpoint: the best weights."""
        return {str(i): weights for i, weights in enumerate(self.weights)}

    def load(self, state: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """Go on where `state` and `tensors` were taken."""
        self.best = math.inf if state["best"] is None else state["best"]
        self.best_step = state["best_step"]
        self.weights = [like(tensors[str(i)], weights) for i, weights in enumerate(self.weights)]
