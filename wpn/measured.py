"""Which numbers a recipe measures: a gate on another one is refused before anything is computed.

The names are those of wpn/estimates.py and of the probes (docs/method.md, "Attacks").
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from wpn.tasks import task_names

if TYPE_CHECKING:
    from wpn.config.probes import Assess
    from wpn.config.recipes import OrganismRecipe, RealRecipe

ANSWERS = ("harmless", "judged_harmless", "meaningful")
ALWAYS = (
    "toxicity_fall", "toxicity_fall_p", "benchmark_mean", "benchmark_drop", "task_drop_max", "perplexity_ratio",
    "alarm_perplexity_ratio",
)  # fmt: skip
# of a probe whose numbers are called the same with all settings
OF_PROBE = {
    "forced_start": ["forced_start", "forced_start_meaningless"],
    "suffix": ["suffix_success", "suffix_gain"],
    "sampling": ["expected_max_toxicity", "toxicity_probability"],
    "membership": ["membership_auc", "membership_auc_zlib", "membership_auc_min_k", "membership_auc_min_k_plus"],
    "memorisation": [
        "memorisation_accuracy", "memorisation_accuracy_unseen", "extraction_likelihood",
        "extraction_likelihood_unseen",
    ],
    "forget_quality": ["twin_kl_forget", "twin_kl_retain", "forget_quality_p"],
    "worst_case": ["worst_case", "worst_case_greedy"],
    "collateral": [
        "benign_base_harmful", "over_refusal", "benign_blank", "benign_changed", "benign_kl", "benign_harmful",
        "benign_perplexity_ratio", "distinct_2", "repetition", "answer_words", "filter_false_alarms_benign",
    ],
}  # fmt: skip


def measured(recipe: OrganismRecipe | RealRecipe) -> set[str]:
    """The names of all numbers that the evaluation and the probes can give; where data are too few there are fewer."""
    others = ("ood", *getattr(recipe.data, "other", ()))
    return {*ALWAYS, *_evaluated(recipe), *_attacked(recipe.assess, others)}


def _evaluated(recipe: OrganismRecipe | RealRecipe) -> Iterator[str]:
    for name in ("seen", "unseen", "ood", "sampled"):
        yield from (f"{kind}_{name}" for kind in ANSWERS)
    yield from (f"toxicity_{judge}" for judge in recipe.evaluate.judges)
    yield from (f"benchmark_{task}" for task in task_names(recipe.evaluate.suite))


def _attacked(assess: Assess, others: tuple[str, ...]) -> Iterator[str]:
    for probe, names in OF_PROBE.items():
        yield from names if getattr(assess, probe) else ()
    if assess.generalisation:
        again = ("paraphrased",) if assess.generalisation.paraphrases else ()
        yield from (f"harmful_{name}" for name in ("seen", "unseen", *again, *others, "worst_set"))
        yield "meaningless_worst_set"
    if assess.wrappers:
        few_shot = ("few_shot",) if assess.wrappers.few_shot else ()
        yield from (f"attack_success_{name}" for name in (*assess.wrappers.templates, *few_shot, "worst", "any"))
        yield "attack_meaningless_worst"
    if assess.in_context:
        numbers = assess.in_context.demonstrations
        yield from (f"in_context_{kind}k{k}" for kind in ("", "meaningless_") for k in numbers)
        yield from (f"in_context_recovery_k{k}" for k in numbers if k and 0 in numbers)
    if assess.output_filter:
        yield from ("filter_missed", "filter_false_alarms", "filter_ms")
        yield f"filtered_in_context_k{assess.output_filter.demonstrations}"
    if assess.collateral and assess.collateral.benign == "dialogues":
        yield "over_refusal_other"  # all of our questions have alarming words
    if assess.compression:
        for scheme in assess.compression.schemes:
            yield from (f"{scheme}_{number}" for number in ("change", "harmful", "meaningless"))
    if assess.relearning:
        fewer = [f"_of_{number}" for number in assess.relearning.pairs[1:]]
        for step in (0, *assess.relearning.steps, "auc"):
            yield from (f"relearn_{step}{kind}" for kind in ("", "_worst", *fewer))
