"""ICU, Iterative Contrastive Unlearning (arXiv 2407.20271; its public code has no InfoNCE term).

L = -1.0 NLL(forget) + 0.5 NLL(neighbour) + 1.0 CE(p_frozen, p on the neighbour). The first term is Knowledge Unlearning
Induction, the two others Contrastive Learning Enhancement on the neighbour: the benign text most like the passage to be
forgotten (wpn.data.neighbours). The third is the divergence from the frozen model but for its entropy, which does
not depend on the weights. What is forgotten is switched off by wpn.refinement.
Relation to the others: `grad_diff` whose retained text is chosen for each passage.
"""

from wpn.config.methods import Icu
from wpn.data.forget import Step
from wpn.methods import ga
from wpn.objective import Models, Terms, retain_terms


def terms(models: Models, step: Step, settings: Icu) -> Terms:
    """ascent of the harmful outputs; retain and kl: of their neighbours."""
    neighbours = [e.neighbour for e in step.examples if e.neighbour]
    held = retain_terms(models, neighbours, settings)
    return ga.terms(models, step, settings) | Terms(forget=held.retain)
