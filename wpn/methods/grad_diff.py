"""GradDiff, gradient difference: ascent on the harmful outputs, descent on retained text.

Liu, Liu and Stone, Continual Learning and Private Unlearning (arXiv 2203.12817); the name is TOFU's (arXiv 2401.06121).
L = -NLL(y-) + NLL(retain). Relation to the others: `ga` with something to hold on to; unbounded like it.
"""

from wpn.config.methods import GradDiff
from wpn.data.forget import Step
from wpn.methods import ga
from wpn.objective import Models, Terms, retain_terms


def terms(models: Models, step: Step, settings: GradDiff) -> Terms:
    """ascent of the harmful outputs; retention."""
    return ga.terms(models, step, settings) | retain_terms(models, step.retain, settings)
