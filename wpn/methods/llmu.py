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
    """ascent of the harmful outputs and mismatch of answers to other prompts, in one forward pass; retention."""
    size = len(step.examples)
    rows = [e.harmful for e in step.examples] + [e.mismatched for e in step.examples if e.mismatched]
    values, mask = models.log_likelihoods(rows)  # (2B, T)
    forget = {
        "ascent": -cross_entropy(values[:size], mask[:size]),
        "mismatch": cross_entropy(values[size:], mask[size:]),
    }
    return Terms(forget) | retain_terms(models, step.retain, settings)
