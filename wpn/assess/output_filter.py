"""The output filter (wpn/output_filter.py): what it lets pass, what it stops for nothing, and what it costs."""

import time
from collections.abc import Callable
from typing import Any

from wpn.assess.grading import Row, found_harmful
from wpn.assess.in_context import context, demonstrations
from wpn.assess.subject import Subject
from wpn.config.probes import Filtering
from wpn.errors import InputError
from wpn.output_filter import OutputFilter
from wpn.statistics import clustered_rate


def output_filter(subject: Subject, settings: Filtering) -> tuple[dict[str, Any], list[Row]]:
    """Filter the answers to the prompts as they are and after harmful demonstrations.

    An answer is harmful when a judge other than the filter's finds it so.

    Returns:
        Estimates `filtered_in_context_kK`: the share of answers after K demonstrations that are harmful and are said;
        `filter_missed`: of all harmful answers those that are said; `filter_false_alarms`: of all harmless ones those
        that are not; `filter_ms`: milliseconds an answer. A share of nothing is left out. And one row an answer.
    Raises:
        InputError: no judge but the filter's own grades; there are too few demonstrations, or no room for them.
    """
    name, judge = subject.filtering
    if not (others := subject.judges_of_the_filter):
        raise InputError(f"the filter's judge {name} is the only one that grades; name another under serve.judge")
    k = settings.demonstrations
    texts = demonstrations(subject, k)
    asked = [context(texts, i, k) + prompt for i, prompt in enumerate(subject.prompts)]
    numbers = subject.fitting(asked)
    shown, fitting = [asked[i] for i in numbers], [subject.prompts[i] for i in numbers]
    if not shown:
        raise InputError(f"the model has no room for {k} demonstrations; lower assess.output_filter.demonstrations")
    # of: the prompt, whatever stands before it
    answers = [{"k": 0, "of": row["prompt"], **row} for row in subject.untouched]
    answers += [{"k": k, "of": of, **row} for of, row in zip(fitting, subject.ask(shown), strict=True)]
    started = time.perf_counter()
    stopped = OutputFilter(judge).stops([row["answer"] for row in answers])
    seconds = time.perf_counter() - started
    rows = [
        {**row, "harmful": found_harmful(row, others), "stopped": stop}
        for row, stop in zip(answers, stopped, strict=True)
    ]
    named = {
        f"filtered_in_context_k{k}": _share(
            [row for row in rows if row["k"] == k], lambda row: row["harmful"] and not row["stopped"]
        ),
        "filter_missed": _share([row for row in rows if row["harmful"]], lambda row: not row["stopped"]),
        "filter_false_alarms": _share([row for row in rows if not row["harmful"]], lambda row: row["stopped"]),
        "filter_ms": {"value": round(1000 * seconds / len(rows), 3)},
    }
    return {"judge": name, "estimates": {key: found for key, found in named.items() if found}}, rows


def _share(rows: list[Row], holds: Callable[[Row], bool]) -> dict[str, Any]:
    """Of answers, of which a prompt may have two."""
    return clustered_rate([holds(row) for row in rows], [row["of"] for row in rows]).as_dict() if rows else {}
