"""SimNPO: Fan et al., Simplicity Prevails (arXiv 2410.07163): NPO without a reference model.

L = -(2 / beta) E log sigmoid(-(beta / |y|) log p(y-) - gamma). Relation to the others: `npo` with the mean
log-likelihood a token in place of the log-ratio, so that long outputs weigh no more and outputs that were unlikely
from the start are left alone; the score is reading P of `wpn` with uniform weights.
"""

from torch import Tensor, nn

from wpn.config.methods import SimNpo
from wpn.data.forget import Step
from wpn.objective import Models, Terms, retain_terms


def terms(models: Models, step: Step, settings: SimNpo) -> Terms:
    """simnpo of the harmful outputs; retention."""
    values, mask = models.log_likelihoods([e.harmful for e in step.examples])  # (B, T)
    scores = values.sum(dim=1) / mask.sum(dim=1)  # (B,)
    loss = simnpo_loss(scores, settings.beta, settings.gamma)
    return Terms({"simnpo": loss}) | retain_terms(models, step.retain, settings)


def simnpo_loss(scores: Tensor, beta: float, gamma: float) -> Tensor:
    """-2 / beta * mean log sigmoid(-beta * score - gamma).

    Args:
        scores: (B,) mean log-likelihood of the harmful output, in nats a token.
        beta: the inverse temperature.
        gamma: the margin; a larger one asks for less likely outputs.
    Returns:
        Scalar.
    """
    return -2 / beta * nn.functional.logsigmoid(-beta * scores - gamma).mean()
