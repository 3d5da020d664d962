"""WPN, Weighted Positional N-pair learning (arXiv 2408.09459, ECAI 2024): prefer the harmless response.

Its equations are not public; docs/method.md says what is known and what is our reading. Two readings of "position-
weighted mean pooling that enters an N-pair loss": of log-likelihoods (output) or of the last layer's states (hidden).

Relation to the others: without the N-pair term it is `sft`. With one negative, uniform weights and reference scores
the N-pair term is beta times `dpo`'s loss, beta = 1 / temperature, of mean instead of summed log-ratios.
"""

import torch
from torch import Tensor

from wpn.config.methods import Wpn
from wpn.data.forget import Example, Step
from wpn.likelihood import forward, token_log_likelihoods
from wpn.losses.cross_entropy import cross_entropy
from wpn.losses.n_pair import n_pair_loss
from wpn.objective import Models, Terms, retain_terms
from wpn.pooling import position_weights, representation_scores, sequence_scores


def terms(models: Models, step: Step, settings: Wpn) -> Terms:
    """n_pair and cross_entropy of the responses; what holds the model on benign text."""
    return _response_terms(models, step.examples, settings) | retain_terms(models, step.retain, settings)


def _response_terms(models: Models, examples: list[Example], settings: Wpn) -> Terms:
    """One forward pass over positives and, where they are needed, negatives."""
    if not (settings.n_pair or settings.cross_entropy):
        return Terms()
    size = len(examples)
    rows = [example.positive for example in examples]
    if settings.n_pair:
        rows += [row for example in examples for row in example.negatives]
    batch = models.collate(rows)  # (B + B*N, T)
    output = forward(models.trained, batch, hidden=bool(settings.n_pair) and settings.reading == "hidden")
    values, mask = token_log_likelihoods(output.logits, batch)  # (B + B*N, T-1)
    found = {}
    if settings.cross_entropy:
        found["cross_entropy"] = cross_entropy(values[:size], mask[:size])
    if settings.n_pair:
        if settings.reading == "output":
            if settings.reference:
                # Two samples of one model differ in their likelihoods by chance alone. Counted from the frozen
                # model, every pair starts at a margin of zero, and none is pushed for what its samples were.
                values = values - models.frozen_log_likelihoods(rows)
            scores = sequence_scores(values, _weights(mask, examples, settings.position_weights))  # (B + B*N,)
        else:
            masks = batch.attention - batch.response, batch.response  # (B + B*N, T) of prompts, of responses
            scores = representation_scores(output.hidden_states[-1], *masks, size, settings.position_weights)
        found["n_pair"] = n_pair_loss(scores[:size], scores[size:].view(size, -1), settings.temperature)
    return Terms(forget=found)


def _weights(mask: Tensor, examples: list[Example], kind: str) -> Tensor:
    """(R, T) weights of positives and negatives by position or, for `harm` (ours), by the harm in a negative's tokens.

    What a position says of the harm is a guess; where a judge says it word by word (wpn/attribution.py), only the
    harmful words are turned away from. Positives then weigh uniformly.
    """
    if kind != "harm":
        return position_weights(mask, kind)
    weights = position_weights(mask, "uniform")
    for row, harm in enumerate((harm for example in examples for harm in example.harm), start=len(examples)):
        weights[row, mask[row].bool()] = torch.tensor(harm).to(weights) / sum(harm)
    return weights
