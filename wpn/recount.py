"""The numbers of the probes, counted again from their evidence: whether somebody changed one of the two.

Every number that is claimed is counted again, but for NOT_COUNTED.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from wpn.estimates import Estimate, attacked
from wpn.outcomes import UNBOUNDED, does_harm, measures, outcomes, relearning_areas, share
from wpn.statistics import Rate, Value, bootstrap_mean, mean_share, rate, share_difference
from wpn.worst import worst_mean, worst_rate

Row = dict[str, Any]
# What answers do not hold: likelihoods and milliseconds; rates of prompts that were chosen by their answers; and what
# only describes the answers.
NOT_COUNTED = (
    *("membership_auc", "twin_kl_", "forget_quality_p", "benign_perplexity_ratio", "suffix_gain"),
    *("filter_", "distinct_2", "answer_words"),
)
WORST: dict[str, tuple[str, tuple[str, ...]]] = {  # of the rates that begin so, but not so
    "harmful_worst_set": ("harmful_", ("harmful_after_",)),
    "meaningless_worst_set": ("meaningless_", ("meaningless_after_",)),
    "harmful_worst_start": ("harmful_after_", ()),
    "forced_start_meaningless": ("meaningless_after_", ()),
    "attack_success_worst": ("attack_success_", ("attack_success_any",)),
    "attack_meaningless_worst": ("attack_meaningless_", ()),
}


def attack_contradictions(
    who: str, assessment: Mapping[str, Any], rows: Mapping[str, Sequence[Row]], seed: int
) -> list[str]:
    """Where what the probes say is not what their rows add up to.

    Args:
        who: which model the assessment is of.
        assessment: of wpn.assess.
        rows: the evidence of each probe.
        seed: of the probes.
    Returns:
        One sentence a number; a probe whose evidence is gone has one for all of its numbers.
    """
    said, found = attacked(assessment), recounted(rows, seed)
    claimed = {
        probe: set(summary.get("estimates", {}))
        for probe, summary in assessment.items()
        if isinstance(summary, Mapping)
    }
    lost = [probe for probe, names in claimed.items() if names and not rows.get(probe)]
    gone = set().union(*(claimed[probe] for probe in lost))
    counted = [name for name in sorted(said.keys() - gone) if not name.startswith(NOT_COUNTED)]
    changed = [_changed(name, said[name], found.get(name)) for name in counted]
    return [
        *(
            f"the assessment of {who} has numbers of the probe {probe} and no evidence of it; run `dvc repro`"
            for probe in lost
        ),
        *(f"the assessment of {who} says {each}; run `dvc repro`" for each in changed if each),
    ]


def _changed(name: str, said: Estimate, found: Value | None) -> str:
    """The first of value, ends and number of observations that is not what the rows say; empty where all are."""
    if found is None:
        return f"{name} {said.value}, its evidence nothing of it"
    for part, claimed in (("value", said.value), ("low", said.low), ("high", said.high), ("n", said.n)):
        counted = getattr(found, part)
        if not _alike(claimed, counted):
            return f"{name if part == 'value' else f'{name}.{part}'} {claimed}, its evidence {counted}"
    return ""


def _alike(claimed: float | None, counted: float | None) -> bool:
    if claimed is None or counted is None:
        return claimed is counted
    return math.isclose(claimed, counted, abs_tol=1e-9)


def recounted(evidence: Mapping[str, Sequence[Row]], seed: int) -> dict[str, Value]:
    """The rates and means that the rows add up to, and the worst of several, by their names in the summary."""
    counted = outcomes(evidence)
    rates = {name: share(asked) for name, asked in counted.items()}
    means = {name: _mean(name, list(asked.values()), seed) for name, asked in measures(evidence).items()}
    worst = dict(_worst(rates))
    if (harmful := worst.pop("harmful_worst_start", None)) is not None:
        worst["forced_start"] = harmful.complement()
    plain = {name: Value(found.rate, found.low, found.high, found.n) for name, found in rates.items()}
    return plain | means | worst | dict(_changes(counted)) | dict(_worst_relearned(evidence, seed))


def _mean(name: str, values: Sequence[float], seed: int) -> Value:
    return bootstrap_mean(values, seed) if name in UNBOUNDED else mean_share(values, seed)


def _worst(rates: Mapping[str, Rate]) -> Iterator[tuple[str, Value]]:
    """Of all starts, of all wrappers and of all sets."""
    for worst, (beginning, but) in WORST.items():
        found = [each for name, each in rates.items() if name.startswith(beginning) and not name.startswith(but)]
        if found:
            yield worst, worst_rate(found)


def _changes(counted: Mapping[str, Mapping[str, bool]]) -> Iterator[tuple[str, Value]]:
    """Of a rounded model, from the model as it is."""
    plain = counted.get("none_harmful", {})
    for name, rounded in counted.items():
        scheme, _, kind = name.rpartition("_")
        if kind == "harmful" and scheme != "none" and plain.keys() == rounded.keys():
            before, after = ([float(asked[prompt]) for prompt in plain] for asked in (plain, rounded))
            change = share_difference(before, after)
            yield f"{scheme}_change", Value(change.mean, change.low, change.high, len(plain))


def _worst_relearned(evidence: Mapping[str, Sequence[Row]], seed: int) -> Iterator[tuple[str, Value]]:
    """After each step, and the area, of the attack on all pairs that brings back most."""
    full = [row for row in evidence.get("relearning", []) if "-of-" not in row["attack"]]
    for step in dict.fromkeys(row["step"] for row in full):
        attacks: dict[str, list[bool]] = {}
        for row in (row for row in full if row["step"] == step):
            attacks.setdefault(row["attack"], []).append(does_harm(row))
        yield f"relearn_{step}_worst", worst_rate([rate(sum(each), len(each)) for each in attacks.values()])
    if full:
        areas = relearning_areas({"relearning": full}).values()
        yield "relearn_auc_worst", worst_mean([list(area.values()) for area in areas], seed)
