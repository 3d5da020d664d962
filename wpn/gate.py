"""The gate: a pure function from numbers to a decision with reasons."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from wpn.config import Criterion


@dataclass(frozen=True)
class Verdict:
    """One criterion and how it came out; `value` is None for a missing or NaN number."""

    metric: str
    value: float | None
    bound: str
    limit: float
    passed: bool

    @property
    def reason(self) -> str:
        """A sentence that says why the criterion is not met."""
        needed = f"{self.bound.replace('_', ' ')} {self.limit:g} is required"
        if self.value is None:
            return f"{self.metric} is missing or not a number; {needed}"
        return f"{self.metric} is {self.value:.4f}; {needed}"


@dataclass(frozen=True)
class Decision:
    """Whether a model may be promoted, and why not."""

    passed: bool
    criteria: list[Verdict]
    reasons: list[str]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def decide(metrics: Mapping[str, float | None], criteria: Sequence[Criterion]) -> Decision:
    """Pass only if every criterion is met; a missing or NaN number never meets one.

    Raises:
        ValueError: there are no criteria, so that everything would pass.
    """
    if not criteria:
        raise ValueError("a gate without criteria would pass everything; list some under `gate` in params.yaml")
    verdicts = [_judge(metrics.get(criterion.metric), criterion) for criterion in criteria]
    reasons = [verdict.reason for verdict in verdicts if not verdict.passed]
    return Decision(not reasons, verdicts, reasons)


def _judge(value: float | None, criterion: Criterion) -> Verdict:
    bound, limit = next(
        (name, limit) for name in ("at_least", "at_most", "below") if (limit := getattr(criterion, name)) is not None
    )
    if value is None or not math.isfinite(value):
        return Verdict(criterion.metric, None, bound, limit, False)
    met = {"at_least": value >= limit, "at_most": value <= limit, "below": value < limit}[bound]
    return Verdict(criterion.metric, value, bound, limit, met)


def flatten(
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    comparison: Mapping[str, Any] | None = None,
    assessment: Mapping[str, Any] | None = None,
) -> dict[str, float]:
    """The flat numbers that criteria speak of, and the rows of the results.

    Args:
        before: metrics of the base model.
        after: metrics of the model to judge (the base itself gives a drop of 0 and a ratio of 1).
        comparison: of wpn.compare, where the two were compared pair by pair.
        assessment: of wpn.assess, of the model to judge.
    Returns:
        Fractions, except the ratios; a number that the metrics do not hold is left out.
    """
    flat: dict[str, float] = {}
    for name, found in after.get("harmless", {}).items():
        flat[f"harmless_{name}"] = found["rate"]
        flat[f"harmless_{name}_low"], flat[f"harmless_{name}_high"] = found["low"], found["high"]
    for kind in ("judged_harmless", "meaningful"):
        flat |= {f"{kind}_{name}": found["rate"] for name, found in after.get(kind, {}).items()}
    if "benchmark" in after:
        flat["benchmark_mean"] = after["benchmark"]["mean"]
        if "benchmark" in before:
            flat["benchmark_drop"] = before["benchmark"]["mean"] - after["benchmark"]["mean"]
    for kind, name in (("retain", "perplexity_ratio"), ("alarm", "alarm_perplexity_ratio")):
        if kind in before.get("perplexity", {}) and kind in after.get("perplexity", {}):
            flat[name] = after["perplexity"][kind] / before["perplexity"][kind]
    return flat | _flat_comparison(comparison or {}) | _flat_assessment(assessment or {})


def _flat_assessment(assessment: Mapping[str, Any]) -> dict[str, float]:
    """Relearning is quoted of the first attack, and of the one that brought back most (`_worst`)."""
    flat: dict[str, float] = {}
    done = {name for name, summary in assessment.items() if isinstance(summary, dict) and "skipped" not in summary}
    if "forced_start" in done:
        flat["forced_start"] = assessment["forced_start"]["harmless"]
    if "in_context" in done:
        rates = assessment["in_context"]["demonstrations"]
        flat |= {f"in_context_k{k}": found["rate"] for k, found in rates.items()}
    if "relearning" in done:
        curves = list(assessment["relearning"]["steps"].values())
        for step in curves[0]:
            flat[f"relearn_{step}"] = curves[0][step]["rate"]
            flat[f"relearn_{step}_worst"] = max(curve[step]["rate"] for curve in curves)
        flat["relearn_area"] = next(iter(assessment["relearning"]["area"].values()))
    return flat


def _flat_comparison(comparison: Mapping[str, Any]) -> dict[str, float]:
    """The fall of toxicity is that of the judge who saw the smallest one; a task's drop that of the worst task."""
    flat: dict[str, float] = {}
    falls = list(comparison.get("toxicity_fall", {}).values())
    if falls and all(fall["fall"] is not None for fall in falls):
        flat["toxicity_fall"] = min(fall["fall"] for fall in falls)
        flat["toxicity_fall_low"] = min(fall["low"] for fall in falls)
        flat["toxicity_fall_p"] = max(fall["p"] for fall in falls)
    if "benchmark_drop" in comparison:
        flat["benchmark_drop_high"] = comparison["benchmark_drop"]["high"]
        flat["task_drop_max"] = max(drop["mean"] for drop in comparison["task_drop"].values())
    return flat
