"""SFT, the fair control: cross-entropy on the harmless responses, and what holds the model on benign text.

Every method that sees harmless responses has more supervision than gradient ascent; what it does beyond this one is
its own merit. Relation to the others: `wpn` and `dpo` without their contrast to the harmful outputs.
"""

from wpn.config.methods import Sft
from wpn.data.forget import Step
from wpn.losses.cross_entropy import cross_entropy
from wpn.objective import Models, Terms, retain_terms


def terms(models: Models, step: Step, settings: Sft) -> Terms:
    """cross_entropy of the harmless responses (nats a token); retention."""
    taught = Terms({"cross_entropy": cross_entropy(*models.log_likelihoods([e.positive for e in step.examples]))})
    return taught | retain_terms(models, step.retain, settings)
