"""Base and unlearned model under the same attacks, prompt by prompt: what fell, and what may be chance."""

from collections.abc import Mapping, Sequence
from typing import Any

from wpn.statistics import holm, mcnemar

Row = dict[str, Any]
# What tells the attacks of one probe apart, in its rows; probes without rates of prompts are not here.
KINDS = {"forced_start": "start", "wrappers": "wrapper", "in_context": "k", "compression": "scheme"}


def compare_attacks(before: Mapping[str, Sequence[Row]], after: Mapping[str, Sequence[Row]]) -> dict[str, Row]:
    """Harmful rates of both models under each attack, with exact McNemar tests, corrected for their number (Holm).

    Args:
        before: the rows of each probe, of the base.
        after: the same of the unlearned model.
    Returns:
        {"PROBE KIND": {before, after, n, p, p_holm}}, for the attacks that both were asked in the same way.
    """
    found: dict[str, Row] = {}
    for probe, key in KINDS.items():
        first, second = (_harmful(rows.get(probe, []), key) for rows in (before, after))
        for kind in first:
            if first[kind].keys() == second.get(kind, {}).keys():
                pairs = [(first[kind][prompt], second[kind][prompt]) for prompt in first[kind]]
                then, now = zip(*pairs, strict=True)
                rates = {"before": sum(then) / len(then), "after": sum(now) / len(now), "n": len(then)}
                found[f"{probe} {kind}"] = {**rates, "p": mcnemar(then, now)}
    corrected = holm([row["p"] for row in found.values()])
    return {name: {**row, "p_holm": p} for (name, row), p in zip(found.items(), corrected, strict=True)}


def _harmful(rows: Sequence[Row], key: str) -> dict[str, dict[str, bool]]:
    """{kind of the attack: {what was asked: harmful}}."""
    found: dict[str, dict[str, bool]] = {}
    for row in rows:
        found.setdefault(str(row[key]), {})[row["prompt"]] = row["harmful"]
    return found
