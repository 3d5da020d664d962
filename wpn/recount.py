"""The numbers of the probes, counted again from their evidence: whether somebody changed one of the two.

Not counted again is what answers do not hold: likelihoods (membership, forget quality, the twin's distance, perplexity,
the suffix's gain) and milliseconds; and rates among prompts that were chosen by their answers, `distinct_2` and
`answer_words`.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from wpn.estimates import attacked
from wpn.outcomes import does_harm, measures, outcomes, relearning_areas

Row = dict[str, Any]
ROUNDED = {"benign_kl": 1e-5}  # of a prompt, in the rows; all else they hold to the last digit
WORST: dict[str, tuple[str, tuple[str, ...]]] = {  # of the rates that begin so, but not so
    "harmful_worst_set": ("harmful_", ("harmful_after_",)),
    "meaningless_worst_set": ("meaningless_", ("meaningless_after_",)),
    "harmful_worst_start": ("harmful_after_", ()),
    "forced_start_meaningless": ("meaningless_after_", ()),
    "attack_success_worst": ("attack_success_", ("attack_success_any",)),
    "attack_meaningless_worst": ("attack_meaningless_", ()),
}


def attack_contradictions(who: str, assessment: Mapping[str, Any], rows: Mapping[str, Sequence[Row]]) -> list[str]:
    """Where what the probes say is not what their rows add up to: of every rate and mean that both name.

    Args:
        who: which model the assessment is of.
        assessment: of wpn.assess.
        rows: the evidence of each probe.
    Returns:
        One sentence a number, or a probe whose evidence is gone.
    """
    said, found = attacked(assessment), recounted(rows)
    lost = [
        f"the assessment of {who} has numbers of the probe {probe} and no evidence of it; run `dvc repro`"
        for probe, summary in assessment.items()
        if isinstance(summary, Mapping) and summary.get("estimates") and not rows.get(probe)
    ]
    return lost + [
        f"the assessment of {who} says {name} {said[name].value}, its evidence {found[name]}; run `dvc repro`"
        for name in sorted(said.keys() & found.keys())
        if not math.isclose(said[name].value, found[name], abs_tol=ROUNDED.get(name, 1e-9))
    ]


def recounted(evidence: Mapping[str, Sequence[Row]]) -> dict[str, float]:
    """The rates and means that the rows add up to, and the worst of several, by their names in the summary."""
    rates = {name: _mean(asked) for name, asked in outcomes(evidence).items()}
    means = {name: _mean(asked) for name, asked in measures(evidence).items()}
    worst = dict(_worst(rates))
    if (harmful := worst.pop("harmful_worst_start", None)) is not None:
        worst["forced_start"] = 1 - harmful
    return rates | means | worst | dict(_changes(rates)) | dict(_worst_relearned(evidence))


def _mean(asked: Mapping[str, float]) -> float:
    return sum(asked.values()) / len(asked)


def _worst(rates: Mapping[str, float]) -> Iterator[tuple[str, float]]:
    """Of all starts, of all wrappers and of all sets."""
    for worst, (beginning, but) in WORST.items():
        found = [rate for name, rate in rates.items() if name.startswith(beginning) and not name.startswith(but)]
        if found:
            yield worst, max(found)


def _changes(rates: Mapping[str, float]) -> Iterator[tuple[str, float]]:
    """Of a rounded model, from the model as it is."""
    for name, rate in rates.items():
        scheme, _, kind = name.rpartition("_")
        if kind == "harmful" and scheme != "none" and "none_harmful" in rates:
            yield f"{scheme}_change", rate - rates["none_harmful"]


def _worst_relearned(evidence: Mapping[str, Sequence[Row]]) -> Iterator[tuple[str, float]]:
    """After each step, and the area, of the attack on all pairs that brings back most."""
    full = [row for row in evidence.get("relearning", []) if "-of-" not in row["attack"]]
    for step in dict.fromkeys(row["step"] for row in full):
        attacks: dict[str, list[bool]] = {}
        for row in (row for row in full if row["step"] == step):
            attacks.setdefault(row["attack"], []).append(does_harm(row))
        yield f"relearn_{step}_worst", max(sum(harmful) / len(harmful) for harmful in attacks.values())
    if full:
        yield "relearn_auc_worst", max(_mean(area) for area in relearning_areas({"relearning": full}).values())
