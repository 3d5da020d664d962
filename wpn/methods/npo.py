"""NPO, negative preference optimisation: Zhang et al. (arXiv 2404.05868).

L = -(2 / beta) E log sigmoid(-beta log(p(y-) / p_frozen(y-))), log p summed over the tokens. Relation to the others:
the half of `dpo` that speaks of the harmful output; `ga` as beta tends to 0, but bounded: a pair that has been
forgotten pulls no more.
"""

from torch import Tensor, nn

from wpn.config.methods import Npo
from wpn.data.forget import Step
from wpn.objective import Models, Terms, retain_terms


def terms(models: Models, step: Step, settings: Npo) -> Terms:
    """npo of the harmful outputs; retention."""
    rows = [e.harmful for e in step.examples]
    values, _ = models.log_likelihoods(rows)  # (B, T)
    log_ratios = (values - models.frozen_log_likelihoods(rows)).sum(dim=1)  # (B,)
    return Terms({"npo": npo_loss(log_ratios, settings.beta)}) | retain_terms(models, step.retain, settings)


def npo_loss(log_ratios: Tensor, beta: float) -> Tensor:
    """2 / beta * mean log(1 + (p / p_frozen)^beta).

    Args:
        log_ratios: (B,) log p(y-) - log p_frozen(y-), in nats a sequence.
        beta: the inverse temperature.
    Returns:
        Scalar; 2 log 2 / beta while nothing has changed.
    """
    return -2 / beta * nn.functional.logsigmoid(-beta * log_ratios).mean()
