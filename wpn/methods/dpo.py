"""DPO, direct preference optimisation: Rafailov et al. (arXiv 2305.18290), equation 7, of harmless over harmful.

L = -(1 / beta) E log sigmoid(beta [log p/p_frozen (y+) - log p/p_frozen (y-)]), log p summed over the tokens. The
factor 1 / beta, which the paper has not, makes the gradient of a new pair the same for every beta. Relation to the
others: `wpn` has several negatives, position weights, and means over tokens; `npo` is the half without y+.
"""

from torch import Tensor, nn

from wpn.config.methods import Dpo
from wpn.data.forget import Step
from wpn.objective import Models, Terms, retain_terms


def terms(models: Models, step: Step, settings: Dpo) -> Terms:
    """dpo of the pairs, in one forward pass of each model; retention."""
    size = len(step.examples)
    rows = [e.positive for e in step.examples] + [e.harmful for e in step.examples]
    values, _ = models.log_likelihoods(rows)  # (2B, T)
    log_ratios = (values - models.frozen_log_likelihoods(rows)).sum(dim=1)  # (2B,)
    loss = dpo_loss(log_ratios[:size], log_ratios[size:], settings.beta)
    return Terms({"dpo": loss}) | retain_terms(models, step.retain, settings)


def dpo_loss(harmless: Tensor, harmful: Tensor, beta: float) -> Tensor:
    """mean log(1 + exp(beta * (harmful - harmless))) / beta.

    Args:
        harmless: (B,) log p(y+) - log p_frozen(y+), in nats a sequence.
        harmful: (B,) the same of y-.
        beta: the inverse temperature.
    Returns:
        Scalar; log 2 / beta while nothing has changed.
    """
    return -nn.functional.logsigmoid(beta * (harmless - harmful)).mean() / beta
