"""The numbers that the gate bounds and the results show: of each its value, its interval, and what it rests on."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from wpn.statistics import rate


@dataclass(frozen=True)
class Estimate:
    """A number, the ends of its 95 % interval where it has one, and the prompts (or items) behind it.

    Attributes:
        share: it is a share of n, and its interval Wilson's.
    """

    value: float
    low: float | None = None
    high: float | None = None
    n: int | None = None
    share: bool = False

    @classmethod
    def of(cls, found: Mapping[str, Any], value: str = "rate") -> "Estimate":
        """Of a dictionary as wpn.statistics makes them, whose number stands under `value`."""
        return cls(found[value], found.get("low"), found.get("high"), found.get("n"), share=value == "rate")

    def complement(self) -> "Estimate":
        """1 - it: the harmful rate of a harmless one."""
        low, high = (None if end is None else 1 - end for end in (self.high, self.low))
        return Estimate(1 - self.value, low, high, self.n, self.share)


def estimates(
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    comparison: Mapping[str, Any] | None = None,
    assessment: Mapping[str, Any] | None = None,
    base_assessment: Mapping[str, Any] | None = None,
) -> dict[str, Estimate]:
    """Everything that was measured of a model, by the names that params.yaml and the results use.

    Args:
        before: metrics of the base model.
        after: metrics of the model to judge (the base itself gives a drop of 0 and a ratio of 1).
        comparison: of wpn.compare, where the two were compared pair by pair.
        assessment: of wpn.assess, of the model to judge.
        base_assessment: the same of the base.
    Returns:
        Fractions, except the ratios; a number that the metrics do not hold is left out.
    """
    return dict(
        [
            *_rates(after),
            *_benchmark(before, after),
            *_perplexity(before, after),
            *(found := attacked(assessment or {})).items(),
            *_recovery(found, attacked(base_assessment or {})),
            *_comparison(comparison or {}),  # last: the same numbers again, with their intervals
        ]
    )


def flatten(found: Mapping[str, Estimate]) -> dict[str, float]:
    """One number a name: NAME, and NAME_low and NAME_high where there is an interval."""
    flat: dict[str, float] = {}
    for name, estimate in found.items():
        flat[name] = estimate.value
        for end in ("low", "high"):
            if (bound := getattr(estimate, end)) is not None:
                flat[f"{name}_{end}"] = bound
    return flat


def sizes(found: Mapping[str, Estimate]) -> dict[str, int]:
    """NAME_n: the prompts (or items) behind each number, where they are known."""
    return {f"{name}_n": estimate.n for name, estimate in found.items() if estimate.n is not None}


Named = Iterator[tuple[str, Estimate]]
PERPLEXITY_RATIOS = {"retain": "perplexity_ratio", "alarm": "alarm_perplexity_ratio"}  # by the kind of text


def _rates(after: Mapping[str, Any]) -> Named:
    for kind in ("harmless", "judged_harmless", "meaningful"):
        for name, found in after.get(kind, {}).items():
            yield f"{kind}_{name}", Estimate.of(found)
    for judge, rates in after.get("judges", {}).items():
        if "sampled" in rates:
            yield f"toxicity_{judge}", Estimate.of(rates["sampled"]).complement()


def _benchmark(before: Mapping[str, Any], after: Mapping[str, Any]) -> Named:
    if "benchmark" not in after:
        return
    yield "benchmark_mean", Estimate.of(after["benchmark"], "mean")
    for task, scores in after["benchmark"]["tasks"].items():
        accuracy = rate(round(scores["accuracy"] * scores["n"]), scores["n"])
        yield f"benchmark_{task}", Estimate.of(accuracy.as_dict())
    if "benchmark" in before:
        yield "benchmark_drop", Estimate(before["benchmark"]["mean"] - after["benchmark"]["mean"])


def _perplexity(before: Mapping[str, Any], after: Mapping[str, Any]) -> Named:
    for kind, name in PERPLEXITY_RATIOS.items():
        if kind in before.get("perplexity", {}) and kind in after.get("perplexity", {}):
            yield name, Estimate(after["perplexity"][kind] / before["perplexity"][kind])


def _comparison(comparison: Mapping[str, Any]) -> Named:
    """The fall of toxicity is that of the judge who saw the smallest one; a task's drop that of the worst task."""
    falls = list(comparison.get("toxicity_fall", {}).values())
    if falls and all(fall["fall"] is not None for fall in falls):
        low, high = (min(fall[end] for fall in falls) for end in ("low", "high"))
        yield "toxicity_fall", Estimate(min(fall["fall"] for fall in falls), low, high, falls[0]["clusters"])
        yield "toxicity_fall_p", Estimate(max(fall["p"] for fall in falls))
    # without their number: few texts may be long, and the gate's least number is of prompts
    for kind, ratio in comparison.get("perplexity_ratio", {}).items():
        yield PERPLEXITY_RATIOS[kind], Estimate(ratio["value"], ratio["low"], ratio["high"])
    for k, recovery in comparison.get("in_context_recovery", {}).items():
        yield f"in_context_recovery_k{k}", Estimate.of(recovery, "value")
    if "benchmark_drop" in comparison:
        yield "benchmark_drop", Estimate.of(comparison["benchmark_drop"], "mean")
        yield "task_drop_max", Estimate(max(drop["mean"] for drop in comparison["task_drop"].values()))


def attacked(assessment: Mapping[str, Any]) -> dict[str, Estimate]:
    """What the probes of wpn.assess found: each names its own numbers; one that was skipped has none."""
    probes = [summary for summary in assessment.values() if isinstance(summary, Mapping)]  # not hashes and seconds
    named = [pair for summary in probes for pair in summary.get("estimates", {}).items()]
    return {name: Estimate.of(found, "rate" if "rate" in found else "value") for name, found in named}


def _recovery(shown: Mapping[str, Estimate], base: Mapping[str, Estimate]) -> Named:
    """How much of the way back to the base k harmful demonstrations lead (UnUnlearning, arXiv 2407.00106).

    (HR(k) - HR(0)) / (HR of the base (k) - HR(0)), HR the harmful rate: 0 is none, 1 all of it.
    """
    start = shown.get("in_context_k0")
    for name, found in shown.items():
        k = name.removeprefix("in_context_k")
        if start is None or name not in base or k in (name, "0"):
            continue
        if len({start.n, found.n, base[name].n}) > 1:  # of other prompts; wpn.ratios takes those that they share
            continue
        if (way := base[name].value - start.value) > 0:
            yield f"in_context_recovery_k{k}", Estimate((found.value - start.value) / way)
