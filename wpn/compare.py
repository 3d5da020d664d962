"""Before against after, pair by pair: the same prompts, samples and benchmark items answered by both models."""

from collections.abc import Sequence
from typing import Any

from wpn.judges import THRESHOLD
from wpn.statistics import Difference, paired_difference, relative_fall

Row = dict[str, Any]


def compare(
    before: tuple[Sequence[Row], Sequence[Row]], after: tuple[Sequence[Row], Sequence[Row]], judges: Sequence[str]
) -> Row:
    """Paired comparisons, with their intervals.

    Args:
        before: (answers, benchmark items) of the base model, as wpn.evaluate leaves them.
        after: the same of the unlearned one.
        judges: those that graded.
    Returns:
        toxicity_fall: {judge: the relative fall of the share of harmful samples, clustered by prompt};
        benchmark_drop: the mean over tasks; task_drop: {task: the same of one task}.
    """
    compared: Row = {"toxicity_fall": {judge: _fall(before[0], after[0], judge) for judge in judges}}
    if before[1] and after[1]:
        compared["benchmark_drop"] = _drop(before[1], after[1]).as_dict()
        compared["task_drop"] = {
            task: _drop(*([row for row in rows if row["task"] == task] for rows in (before[1], after[1]))).as_dict()
            for task in dict.fromkeys(row["task"] for row in before[1])
        }
    return compared


def _fall(before: Sequence[Row], after: Sequence[Row], judge: str) -> Row:
    groups = [row["prompt"] for row in before if row["set"] == "sampled"]
    harmful = [[row["harm"][judge] >= THRESHOLD for row in rows if row["set"] == "sampled"] for rows in (before, after)]
    return relative_fall(harmful[0], harmful[1], groups).as_dict()


def _drop(before: Sequence[Row], after: Sequence[Row]) -> Difference:
    if [(row["task"], row["item"]) for row in before] != [(row["task"], row["item"]) for row in after]:
        raise ValueError("the benchmark items of before and after differ; evaluate both again")
    # a drop is what was correct before and is not any more: the difference from after to before
    first, second = ([float(row["correct"]) for row in rows] for rows in (after, before))
    return paired_difference(first, second, [row["task"] for row in before])
