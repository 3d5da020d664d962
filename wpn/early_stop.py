"""Early stop: training ends when the loss on held-out pairs and texts falls no more, and the best weights come back."""

import logging
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from wpn.config import EarlyStop, Method, Unlearn
from wpn.data.forget import StepSource, teaches
from wpn.encoder import Encoder
from wpn.errors import InputError
from wpn.methods import total_loss, unlearning_terms
from wpn.objective import Models

logger = logging.getLogger(__name__)

Rows = Sequence[dict[str, Any]]


def held_out(pairs: Rows, texts: Rows, share: float) -> tuple[Rows, Rows, Rows, Rows]:
    """Pairs and texts to train on, and pairs and texts to look at: every so many prompts, with all their pairs.

    Raises:
        InputError: fewer than two prompts or texts, so that nothing would be left on one side.
    """
    prompts = list(dict.fromkeys(pair["prompt"] for pair in pairs))
    if min(len(prompts), len(texts)) < 2:
        raise InputError(f"{len(prompts)} prompts and {len(texts)} texts leave nothing to hold out; drop early_stop")
    apart = set(_every(prompts, share))
    kept = [pair for pair in pairs if pair["prompt"] not in apart]
    looked = set(_every(range(len(texts)), share))
    return (
        kept,
        [text for i, text in enumerate(texts) if i not in looked],
        [pair for pair in pairs if pair["prompt"] in apart],
        [texts[i] for i in sorted(looked)],
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
        encoder: Encoder | None = None,
    ) -> None:
        """Look at all pairs from which the method learns, and at the texts.

        Raises:
            InputError: it learns from none of the pairs.
        """
        self.models, self.method, self.stop = models, method, stop
        pairs = [pair for pair in pairs if teaches(pair, method)]
        if not pairs:
            raise InputError("every held-out harmful output only repeats its prompt's words; drop early_stop")
        whole = {
            "batch_size": len(pairs),
            "retain_batch_size": min(len(texts), len(pairs)),
            "forced_start": 0.0,
        }
        source = StepSource(tokenizer, pairs, texts, settings.model_copy(update=whole), method, 0, encoder)
        self.step = source.draw()
        self.parts = math.ceil(len(pairs) / settings.batch_size)
        self.best, self.best_step, self.weights = math.inf, 0, self._weights()

    def worse(self, number: int) -> bool:
        """Look after step `number`; true when the last `patience` looks were no better than the best."""
        loss = self.loss()
        if loss < self.best:
            self.best, self.best_step, self.weights = loss, number, self._weights()
        return number - self.best_step >= self.stop.patience * self.stop.every

    def loss(self) -> float:
        """The method's loss on all that is held out."""
        model = self.models.trained
        training = model.training
        model.eval()
        total = 0.0
        for part in self.step.micro_batches(self.parts):
            terms = unlearning_terms(self.models, part, self.method).shared(part, self.step)
            total += total_loss(terms, self.method).item()
        model.train(training)
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
        self.weights = [tensors[str(i)].to(w.device) for i, w in enumerate(self.weights)]
