"""A gradient penalty on what is to be forgotten: ours, after Machine Unlearning in Contrastive Learning.

Source: arXiv 2405.07317 (vision) keeps the loss on retained data and penalises the gradient on the data to forget; its
exact penalty is not known to us. Ours: L = L_retain + lambda E ||dL(x, y-)/ds||^2, s a shift, at 0, of all last-layer
states that predict a token of the harmful output, the t-th of them by w_t s with w the position weights. A harmful
output shall pull no harder than one that was never seen. It is judged by membership inference.
Relation to the others: it knows no harmless response, and neither lowers nor raises the likelihood by itself; with
`cross_entropy` (ours too) it is led to one, as `sft` is.
"""

import torch
from torch import Tensor

from wpn.config.methods import GradientPenalty
from wpn.data.forget import Example, Step
from wpn.likelihood import forward, token_log_likelihoods
from wpn.losses.cross_entropy import cross_entropy
from wpn.objective import Models, Terms, retain_terms
from wpn.pooling import position_weights


def terms(models: Models, step: Step, settings: GradientPenalty) -> Terms:
    """penalty on the harmful outputs; cross_entropy of the harmless ones where it has a weight; retention."""
    forget = {"penalty": _penalty(models, step.examples)}
    if settings.cross_entropy:
        forget["cross_entropy"] = cross_entropy(*models.log_likelihoods([e.positive for e in step.examples]))
    return Terms(forget) | retain_terms(models, step.retain, settings)


def _penalty(models: Models, examples: list[Example]) -> Tensor:
    batch = models.collate([e.harmful for e in examples])
    output = forward(models.trained, batch, hidden=True)
    values, mask = token_log_likelihoods(output.logits, batch)  # (B, K-1)
    losses = -values.sum(dim=1) / mask.sum(dim=1)  # (B,)
    # each sequence's loss reaches only its own states, so the gradient of the sum holds that of each
    (gradient,) = torch.autograd.grad(losses.sum(), output.hidden_states[-1], create_graph=True)  # (B, T, D)
    predicting = gradient[:, -batch.predicting :][:, :-1]  # (B, K-1, D) of the states that predict the counted tokens
    return pooled_norm(predicting, mask)


def pooled_norm(gradient: Tensor, mask: Tensor) -> Tensor:
    """mean over sequences of ||sum_t w_t g_t||^2, w the position weights.

    Args:
        gradient: (B, T, D) of each sequence's loss with respect to its states.
        mask: (B, T) 1 for the states that count.
    Returns:
        Scalar.
    """
    pooled = (gradient * position_weights(mask)[..., None]).sum(dim=1)  # (B, D)
    return pooled.square().sum(dim=1).mean()
