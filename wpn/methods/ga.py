"""GA, gradient ascent on the harmful outputs: Jang et al., Knowledge Unlearning (arXiv 2210.01504).

L = -NLL(y-). The loss has no lower bound, so what stops it is the number of steps: kept up, it destroys the model,
which is what its published results show too. Relation to the others: `grad_diff` adds retained text; `npo` bounds it,
and tends to it as its beta tends to 0.
"""

from wpn.config.methods import Ascent
from wpn.data.forget import Step
from wpn.losses.cross_entropy import cross_entropy
from wpn.objective import Models, Terms


def terms(models: Models, step: Step, settings: Ascent) -> Terms:
    """ascent: the mean log-likelihood of the harmful outputs (nats a token), to be lowered."""
    return Terms({"ascent": -cross_entropy(*models.log_likelihoods([e.harmful for e in step.examples]))})
