"""WPN's objective: the N-pair term in both readings, cross-entropy on the harmless response, KL on benign text.

`sft`, the control, is the same with an N-pair weight of zero. docs/method.md names the function of each equation.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from wpn.config import Method
from wpn.data.batches import Batch, Row, collate
from wpn.data.forget import Example, Step
from wpn.likelihood import forward, token_log_likelihoods, wide
from wpn.losses.cross_entropy import cross_entropy
from wpn.losses.kl import forward_kl
from wpn.losses.n_pair import n_pair_loss
from wpn.pooling import position_weighted_mean, position_weights


@dataclass(frozen=True)
class Models:
    """The model in training, the frozen one it came from, and the id that fills batches."""

    trained: PreTrainedModel
    frozen: PreTrainedModel
    fill: int
    bf16: bool = False  # matrix products in bfloat16; weights and losses stay as they are

    def collate(self, rows: list[Row]) -> Batch:
        """Rows as a batch on the model's device."""
        return collate(rows, self.fill, side="both").to(self.trained.device)


def unlearning_terms(models: Models, step: Step, method: Method) -> dict[str, Tensor]:
    """The terms of the loss that have a weight, as scalars: n_pair, cross_entropy, kl."""
    terms: dict[str, Tensor] = {}
    with torch.autocast(models.trained.device.type, torch.bfloat16, enabled=models.bf16):
        if method.n_pair or method.cross_entropy:
            terms |= _response_terms(models, step.examples, method)
        if method.kl:
            terms["kl"] = _retain_term(models, step.retain)
    return terms


def total_loss(terms: dict[str, Tensor], method: Method) -> Tensor:
    """The weighted sum of the terms."""
    return torch.stack([getattr(method, name) * term for name, term in terms.items()]).sum()


def _response_terms(models: Models, examples: list[Example], method: Method) -> dict[str, Tensor]:
    """One forward pass over positives and, where they are needed, negatives."""
    size = len(examples)
    rows = [example.positive for example in examples]
    if method.n_pair:
        rows += [row for example in examples for row in example.negatives]
    batch = models.collate(rows)  # (B + B*N, T)
    output = forward(models.trained, batch, hidden=bool(method.n_pair) and method.reading == "hidden")
    values, mask = token_log_likelihoods(output.logits, batch)  # (B + B*N, T-1)
    terms = {}
    if method.cross_entropy:
        terms["cross_entropy"] = cross_entropy(values[:size], mask[:size])
    if method.n_pair:
        if method.reading == "output":
            if method.reference:
                values = values - _frozen_values(models, batch)
            scores = sequence_scores(values, mask, method.position_weights)  # (B + B*N,)
        else:
            scores = representation_scores(output.hidden_states[-1], batch, size, method.position_weights)
        terms["n_pair"] = n_pair_loss(scores[:size], scores[size:].view(size, -1), method.temperature)
    return terms


@torch.no_grad()
def _frozen_values(models: Models, batch: Batch) -> Tensor:
    """(R, T) log-likelihoods of the response tokens under the frozen model.

    Two samples of one model differ in their likelihoods by chance alone. Counted from the frozen model, every pair
    starts at a margin of zero, and none is pushed for what its samples were.
    """
    return token_log_likelihoods(forward(models.frozen, batch).logits, batch)[0]


def sequence_scores(log_likelihoods: Tensor, mask: Tensor, weights: str) -> Tensor:
    """Reading P (ours): s(x, y) = sum_t w_t log p(y_t | x, y_<t), the position-weighted mean log-likelihood.

    Args:
        log_likelihoods: (R, T) of each response token, zero elsewhere.
        mask: (R, T) 1 for response tokens.
        weights: linear | uniform.
    Returns:
        (R,) scores in nats a token.
    """
    return (log_likelihoods * position_weights(mask, weights)).sum(dim=1)


def representation_scores(hidden: Tensor, batch: Batch, size: int, weights: str) -> Tensor:
    """Reading H (ours): the cosine of the pooled prompt and the pooled response.

    Args:
        hidden: (R, T, D) states of the last layer; the first `size` rows are positives, the rest their negatives,
            row by row.
        batch: the tokens of these states.
        size: B.
    Returns:
        (R,) similarities in [-1, 1].
    """
    prompt = batch.attention - batch.response  # (R, T)
    anchors = position_weighted_mean(hidden[:size], prompt[:size], weights)  # (B, D)
    responses = position_weighted_mean(hidden, batch.response, weights)  # (R, D)
    negatives_each = len(responses) // size - 1
    repeated = torch.cat([anchors, anchors.repeat_interleave(negatives_each, dim=0)])  # (R, D)
    return nn.functional.cosine_similarity(repeated, responses, dim=1)


def _retain_term(models: Models, retain: list[Row]) -> Tensor:
    batch = models.collate(retain)
    with torch.no_grad():
        frozen = wide(forward(models.frozen, batch).logits)[:, :-1]  # (R, K-1, V)
    logits = wide(forward(models.trained, batch).logits)[:, :-1]
    return forward_kl(frozen, logits, batch.response[:, -logits.shape[1] :])
