"""LLMU: Yao, Xu and Liu, Large Language Model Unlearning (arXiv 2310.10683).

L = e1 * -NLL(y-) + e2 * NLL(y_random | x) + e3 * KL(frozen || model on benign text), on answer tokens only. The paper
draws random answers from TruthfulQA; ours are harmless responses to other prompts, so that all methods see the same
data, one a pair and step where the paper takes five. Its published code counts an offset wrongly and takes id 1 for
padding; neither is followed here.
Relation to the others: `grad_diff` with a direction to go to, though not the prompt's own answer as in `sft`.
"""

from wpn.config.methods import Llmu
from wpn.data.forget import Step
from wpn.losses.cross_entropy import cross_entropy
from wpn.objective import Models, Terms, retain_terms


def terms(models: Models, step: Step, settings: Llmu) -> Terms:
    """ascent of the harmful outputs; mismatch of answers to other prompts where it has a weight; retention."""
    size = len(step.examples)
    answers = [e.mismatched for e in step.examples if e.mismatched] if settings.mismatch else []
    values, mask = models.log_likelihoods([e.harmful for e in step.examples] + answers)  # (2B, T), or (B, T)
    forget = {"ascent": -cross_entropy(values[:size], mask[:size])}
    if settings.mismatch:
        forget["mismatch"] = cross_entropy(values[size:], mask[size:])
    return Terms(forget) | retain_terms(models, step.retain, settings)
