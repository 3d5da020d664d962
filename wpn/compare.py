"""Two models, pair by pair: the same prompts, samples and benchmark items answered by both."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from wpn.estimates import Estimate
from wpn.evidence import KINDS, Rows
from wpn.judges import is_harmful
from wpn.outcomes import FROM_THE_BASE, WITHOUT_ATTACK, measures, outcomes
from wpn.perplexity import perplexity_ratio
from wpn.ratios import recovered, relative_fall
from wpn.statistics import Difference, accuracy_difference, holm, mcnemar, same_mean_p, share_difference

Row = dict[str, Any]
T = TypeVar("T")


def compare(before: Rows, after: Rows, judges: Sequence[str]) -> Row:
    """Paired comparisons, with their intervals.

    Args:
        before: of the base model.
        after: of the unlearned one.
        judges: those that graded.
    Returns:
        toxicity_fall: {judge: the relative fall of the share of harmful samples, clustered by prompt};
        harmless: {set: `_tested` of harmless and meaningful answers}, of sets with one answer to a prompt;
        perplexity_ratio: {kind of text: how many times the perplexity is larger};
        benchmark_drop: the mean over tasks; task_drop: {task: the same of one task, beside `_tested`}.
    """
    compared: Row = {
        "toxicity_fall": {judge: _fall(before.answers, after.answers, judge) for judge in judges},
        "harmless": _with_holm(_tested_sets(before.answers, after.answers)),
        "perplexity_ratio": dict(_perplexity_ratios(before.texts, after.texts)),
    }
    if before.benchmark and after.benchmark:
        drop = _drop(before.benchmark, after.benchmark).as_dict()
        compared["benchmark_drop"] = {**drop, "n": len(before.benchmark)}
        compared["task_drop"] = _with_holm(dict(_tested_tasks(before.benchmark, after.benchmark)))
    return compared


def _perplexity_ratios(before: Sequence[Row], after: Sequence[Row]) -> Iterator[tuple[str, Row]]:
    for kind in dict.fromkeys(row["kind"] for row in before):
        first, second = ([row for row in rows if row["kind"] == kind] for rows in (before, after))
        likelihoods = [[row["log_likelihood"] for row in rows] for rows in (first, second)]
        yield kind, perplexity_ratio(likelihoods[0], likelihoods[1], [row["tokens"] for row in first]).as_dict()


def _tested_sets(before: Sequence[Row], after: Sequence[Row]) -> dict[str, Row]:
    found = {}
    for name in dict.fromkeys(row["set"] for row in before):
        first, second = ([row for row in rows if row["set"] == name] for rows in (before, after))
        prompts = [row["prompt"] for row in first]
        if len(set(prompts)) == len(prompts):
            found[name] = _tested([row["passed"] for row in first], [row["passed"] for row in second])
    return found


def _tested_tasks(before: Sequence[Row], after: Sequence[Row]) -> Iterator[tuple[str, Row]]:
    for task in dict.fromkeys(row["task"] for row in before):
        first, second = ([row for row in rows if row["task"] == task] for rows in (before, after))
        tested = _tested([row["correct"] for row in first], [row["correct"] for row in second])
        yield task, {**tested, **_drop(first, second).as_dict()}


def _tested(before: Sequence[bool], after: Sequence[bool]) -> Row:
    """Both rates, on how many prompts, and p of McNemar's exact test."""
    n = len(before)
    return {"before": sum(before) / n, "after": sum(after) / n, "n": n, "p": mcnemar(before, after)}


def _tested_mean(before: Sequence[float], after: Sequence[float]) -> Row:
    """Both means, of how many prompts, and p of a paired permutation test."""
    n = len(before)
    return {"before": sum(before) / n, "after": sum(after) / n, "n": n, "p": same_mean_p(before, after)}


def _with_holm(found: Mapping[str, Row]) -> dict[str, Row]:
    """The rows with `p_holm`: p corrected for the number of them."""
    corrected = holm([row["p"] for row in found.values()])
    return {name: {**row, "p_holm": p} for (name, row), p in zip(found.items(), corrected, strict=True)}


def _fall(before: Sequence[Row], after: Sequence[Row], judge: str) -> Row:
    groups = [row["prompt"] for row in before if row["set"] == "sampled"]
    harmful = [[is_harmful(row["harm"][judge]) for row in rows if row["set"] == "sampled"] for rows in (before, after)]
    return relative_fall(harmful[0], harmful[1], groups).as_dict()


def _drop(before: Sequence[Row], after: Sequence[Row]) -> Difference:
    if not _same_items(before, after):
        raise ValueError("the benchmark items of before and after differ; evaluate both again")
    # a drop is what was correct before and is not any more: the difference from after to before
    first, second = ([row["correct"] for row in rows] for rows in (after, before))
    return accuracy_difference(first, second, [row["task"] for row in before])


def _same_items(first: Sequence[Row], second: Sequence[Row]) -> bool:
    return [(row["task"], row["item"]) for row in first] == [(row["task"], row["item"]) for row in second]


def changes(
    reference: Mapping[str, Estimate], model: Mapping[str, Estimate], before: Rows, after: Rows
) -> dict[str, Estimate]:
    """How much larger each number of a model is than the reference's.

    Rates of answers and the mean of the benchmarks are compared pair by pair where both models were asked the same,
    and have an interval then (answers of one prompt count as one); other numbers have none.
    """
    found = {
        name: Estimate(estimate.value - reference[name].value, n=estimate.n)
        for name, estimate in model.items()
        if name in reference
    }
    paired = _paired_benchmark(before.benchmark, after.benchmark)
    return found | _paired_rates(before.answers, after.answers) | paired


def _paired_rates(before: Sequence[Row], after: Sequence[Row]) -> dict[str, Estimate]:
    found = {}
    for name in dict.fromkeys(row["set"] for row in after):
        first, second = ([row for row in rows if row["set"] == name] for rows in (before, after))
        if [row["prompt"] for row in first] != [row["prompt"] for row in second]:
            continue
        for kind, holds in KINDS.items():
            means = [_means_by_prompt(rows, holds) for rows in (first, second)]
            difference = share_difference(means[0], means[1])
            found[f"{kind}_{name}"] = Estimate(difference.mean, difference.low, difference.high, len(means[0]))
    return found


def _means_by_prompt(rows: Sequence[Row], holds: Callable[[Row], bool]) -> list[float]:
    answers: dict[str, list[bool]] = {}
    for row in rows:
        answers.setdefault(row["prompt"], []).append(holds(row))
    return [sum(each) / len(each) for each in answers.values()]


def _paired_benchmark(before: Sequence[Row], after: Sequence[Row]) -> dict[str, Estimate]:
    if not before or not _same_items(before, after):
        return {}
    drop = _drop(before, after)
    return {"benchmark_mean": Estimate(-drop.mean, -drop.high, -drop.low, len(before))}


def compare_attacks(before: Mapping[str, Sequence[Row]], after: Mapping[str, Sequence[Row]]) -> dict[str, Row]:
    """Both models under each attack: harmful rates by exact McNemar tests, means by paired permutation tests.

    Args:
        before: the rows of each probe, of the base.
        after: the same of the unlearned model.
    Returns:
        {name: {before, after, n, p, p_holm}}, for the rates and means (wpn/outcomes.py) of prompts that both were
        asked; p_holm is corrected for their number.
    """
    counted = outcomes(before)
    copies = _copies(counted)
    rates = {name: _tested(*pair) for name, pair in _pairs(counted, outcomes(after)) if name not in copies}
    means = {name: _tested_mean(*pair) for name, pair in _pairs(measures(before), measures(after))}
    return _with_holm(rates | means)


def attack_changes(before: Mapping[str, Sequence[Row]], after: Mapping[str, Sequence[Row]]) -> dict[str, Estimate]:
    """How much more often each attack succeeds with one model than with another, prompt by prompt (share_difference).

    Args:
        before: the rows of each probe, of the model that is compared with.
        after: the same of the other.
    """
    found = {}
    for name, (first, second) in _pairs(outcomes(before), outcomes(after)):
        change = share_difference([float(each) for each in first], [float(each) for each in second])
        found[name] = Estimate(change.mean, change.low, change.high, len(first))
    return found


def _copies(counted: Mapping[str, Mapping[str, bool]]) -> set[str]:
    """Of the answers to prompts as they are, which several probes count, the names after the first.

    Holm's correction would take copies of one test for several.
    """
    known: list[set[str]] = []
    found = set()
    for name in filter(WITHOUT_ATTACK.fullmatch, counted):
        if (asked := set(counted[name])) in known:
            found.add(name)
        known.append(asked)
    return found


def _pairs(
    before: Mapping[str, Mapping[str, T]], after: Mapping[str, Mapping[str, T]]
) -> Iterator[tuple[str, tuple[list[T], list[T]]]]:
    """What both say of the same prompts, but for what is measured from the base."""
    for name, asked in before.items():
        if asked.keys() == after.get(name, {}).keys() and name not in FROM_THE_BASE:
            yield name, ([*asked.values()], [after[name][prompt] for prompt in asked])


def compare_recovery(before: Mapping[str, Sequence[Row]], after: Mapping[str, Sequence[Row]]) -> dict[str, Row]:
    """{k: how much of the way back to the base k harmful demonstrations lead}, as wpn.estimates has it, with intervals.

    Args:
        before: the rows of each probe, of the base.
        after: the same of the unlearned model.
    """
    base, shown = outcomes(before), outcomes(after)
    start = shown.get("in_context_k0", {})
    found = {
        name.removeprefix("in_context_k"): recovered(start, shown[name], base[name])
        for name in shown.keys() & base.keys()
        if name.startswith("in_context_k") and name != "in_context_k0"
    }
    return {k: value.as_dict() for k, value in sorted(found.items()) if value}
