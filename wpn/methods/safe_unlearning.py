"""Safe Unlearning: Zhang et al. (arXiv 2407.02855): unlearn harm, learn to refuse, keep what is benign.

L = NLL(benign) + 0.5 NLL(refusal) - 0.3 E log sigmoid(-(mean log p(y-) - mean log p_frozen(y-))). The refusals are our
harmless responses. Relation to the others: `sft` with an unlikelihood that is half of `npo`, beta 1, of means over
tokens in place of sums.
"""

from torch import Tensor, nn

from wpn.config.methods import SafeUnlearning
from wpn.data.forget import Step
from wpn.losses.cross_entropy import cross_entropy
from wpn.objective import Models, Terms, retain_terms


def terms(models: Models, step: Step, settings: SafeUnlearning) -> Terms:
    """unlikelihood of the harmful outputs; cross_entropy of the harmless ones where it has a weight; retention."""
    harmless = [e.positive for e in step.examples] if settings.cross_entropy else []
    harmful = [e.harmful for e in step.examples]
    values, mask = models.log_likelihoods(harmless + harmful)  # (2B, T), or (B, T) of the harmful ones
    taught = len(harmless)
    means = values[taught:].sum(dim=1) / mask[taught:].sum(dim=1)  # (B,)
    frozen = models.frozen_log_likelihoods(harmful).sum(dim=1) / mask[taught:].sum(dim=1)
    forget = {"unlikelihood": unlikelihood_loss(means - frozen)}
    if taught:
        forget["cross_entropy"] = cross_entropy(values[:taught], mask[:taught])
    return Terms(forget) | retain_terms(models, step.retain, settings)


def unlikelihood_loss(log_ratios: Tensor) -> Tensor:
    """mean log(1 + p / p_frozen), p the geometric mean of the tokens' probabilities.

    Args:
        log_ratios: (B,) mean log p(y-) - mean log p_frozen(y-), in nats a token.
    Returns:
        Scalar; log 2 while nothing has changed.
    """
    return -nn.functional.logsigmoid(-log_ratios).mean()
