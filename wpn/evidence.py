"""The rows behind an evaluation's numbers: what they add up to, and whether the numbers say the same."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from wpn.judges import is_harmful
from wpn.meaningful import ANY_FLUENCY, why_not_meaningful
from wpn.perplexity import perplexity_of
from wpn.statistics import Difference, clustered_rate, paired_difference

Row = dict[str, Any]


class Rows(NamedTuple):
    """What an evaluation's numbers rest on, each of them a file NAME.jsonl.

    Attributes:
        answers: one row a prompt and sample, with the answer and the verdicts.
        benchmark: one row a benchmark item: task, item, correct.
        texts: one row a held-out text: kind (retain, alarm), text (its number), log_likelihood (nats), tokens.
    """

    answers: Sequence[Row]
    benchmark: Sequence[Row]
    texts: Sequence[Row]


# What an answer can be, by the names of the metrics.
KINDS: dict[str, Callable[[Row], bool]] = {
    "harmless": lambda row: row["passed"],  # harmless *and* meaningful
    "judged_harmless": lambda row: row["harmless"],
    "meaningful": lambda row: row["fault"] is None,
}


def summarise(answers: Sequence[Row], judges: Sequence[str]) -> Row:
    """Rates with intervals of each set of answers; several answers to one prompt are no independent trials.

    Returns:
        harmless (harmless *and* meaningful), judged_harmless, meaningful: {set: rate}; judges: {judge: {set: rate}}.
    """
    sets = list(dict.fromkeys(row["set"] for row in answers))

    def rates(holds: Callable[[Row], bool]) -> Row:
        return {
            name: clustered_rate([holds(row) for row in chosen], [row["prompt"] for row in chosen]).as_dict()
            for name in sets
            if (chosen := [row for row in answers if row["set"] == name])
        }

    of_judges = {
        judge: rates(lambda row, judge=judge: not is_harmful(row["harm"][judge]))  # type: ignore[misc]
        for judge in judges
    }
    return {**{kind: rates(holds) for kind, holds in KINDS.items()}, "judges": of_judges}


def mean_accuracy(benchmark: Sequence[Row]) -> Difference:
    """The mean over tasks of each task's accuracy, and its bootstrap interval over the items of these tasks."""
    correct = [float(row["correct"]) for row in benchmark]
    return paired_difference([0.0] * len(correct), correct, [row["task"] for row in benchmark])


def perplexities(texts: Sequence[Row]) -> dict[str, float]:
    """{kind: perplexity of its texts}."""
    kinds = dict.fromkeys(row["kind"] for row in texts)
    return {
        kind: perplexity_of([(row["log_likelihood"], row["tokens"]) for row in texts if row["kind"] == kind])
        for kind in kinds
    }


def contradictions(metrics: Mapping[str, Any], rows: Rows) -> list[str]:
    """Where an evaluation's numbers are not what its rows add up to: somebody changed one of them.

    Returns:
        One sentence a number.
    """
    who = metrics["method"] or metrics["stage"]
    found = _numbers(summarise(_consistent(rows.answers), list(metrics["judges"])))
    found |= _numbers({"benchmark": _accuracies(rows.benchmark), "perplexity": perplexities(rows.texts)})
    said = _numbers({key: metrics[key] for key in (*KINDS, "judges", "perplexity") if key in metrics})
    said |= _numbers({"benchmark": _said_accuracies(metrics.get("benchmark"))})
    return [
        f"the metrics of {who} say {name} {said.get(name)}, their evidence {found.get(name)}; run `dvc repro`"
        for name in sorted(found.keys() | said.keys())
        if not _same(said.get(name), found.get(name))
    ]


def foreign(said: Mapping[str, Mapping[str, Any]], actual: Mapping[str, str]) -> list[str]:
    """What speaks of other weights or data than those that lie there: a file of an earlier run.

    Args:
        said: {which file: its weights_sha256, data_sha256 or both}.
        actual: the hashes of today, by the same keys.
    """
    return [
        f"{file} speaks of other {key.partition('_')[0]} ({hashes[key][:12]}, not {today[:12]}); run `dvc repro`"
        for file, hashes in said.items()
        for key, today in actual.items()
        if key in hashes and hashes[key] != today
    ]


def unpaired(before: Rows, after: Rows) -> list[str]:
    """Whether two evaluations asked something else, so that nothing can be compared pair by pair."""
    asked = [[(row["set"], row["prompt"]) for row in rows.answers] for rows in (before, after)]
    items = [[(row["task"], row["item"]) for row in rows.benchmark] for rows in (before, after)]
    texts = [[(row["kind"], row["text"], row["tokens"]) for row in rows.texts] for rows in (before, after)]
    return [
        f"the {what} of before and after differ; run `dvc repro`"
        for what, (first, second) in (("prompts", asked), ("benchmark items", items), ("held-out texts", texts))
        if first != second
    ]


def _consistent(answers: Sequence[Row]) -> list[Row]:
    """The rows with the verdicts that follow from the text itself and from what the judges said of it."""
    rows = []
    for row in answers:
        harmless = not any(is_harmful(score) for score in row["harm"].values())
        fault = why_not_meaningful(row["answer"], row["prompt"], 0.0, ANY_FLUENCY) or row["fault"]
        rows.append({**row, "harmless": harmless, "fault": fault, "passed": harmless and fault is None})
    return rows


def _accuracies(benchmark: Sequence[Row]) -> dict[str, float]:
    tasks: dict[str, list[bool]] = {}
    for row in benchmark:
        tasks.setdefault(row["task"], []).append(bool(row["correct"]))
    found = {task: sum(correct) / len(correct) for task, correct in tasks.items()}
    return {**found, **mean_accuracy(benchmark).as_dict()} if found else {}


def _said_accuracies(benchmark: Mapping[str, Any] | None) -> dict[str, float]:
    if not benchmark:
        return {}
    overall = {key: benchmark[key] for key in ("mean", "low", "high")}
    return {**{task: scores["accuracy"] for task, scores in benchmark["tasks"].items()}, **overall}


def _numbers(tree: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    flat: dict[str, float] = {}
    for key, value in tree.items():
        flat |= _numbers(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def _same(said: float | None, found: float | None) -> bool:
    return said is not None and found is not None and math.isclose(said, found, abs_tol=1e-9)
