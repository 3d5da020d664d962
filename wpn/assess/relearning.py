"""Relearning: how soon does a little harmful training bring the behaviour back?

Source: Rethinking Machine Unlearning for LLMs (arXiv 2402.08787). The pairs are those that unlearning did
not see, and the optimisers and rates need not be those that it foresaw. No method prevents relearning; what is measured
is how many steps it takes.
"""

import copy
from collections.abc import Sequence
from typing import Any

from wpn.assess.grading import Row, harmful_rate
from wpn.assess.subject import Subject
from wpn.config import Relearning
from wpn.data.batches import encode_pair
from wpn.errors import InputError
from wpn.models import pad_id
from wpn.relearn import attacker, batches, harmful_step


def relearning(subject: Subject, settings: Relearning) -> tuple[dict[str, Any], list[Row]]:
    """Train a copy on held-out pairs by every attack, and ask the prompts on the way.

    Returns:
        `steps`: {attack: {step: harmful rate with its interval}}; `area`: {attack: mean harmful rate over the steps
        up to the last, by trapezoids from step 0}; estimates `relearn_STEP` and `relearn_auc` of the first attack,
        and `_worst` of the one that brings back most. And one row an answer.
    Raises:
        InputError: there are no pairs.
    """
    model, tokenizer, grader = subject.model, subject.tokenizer, subject.grader
    chosen = subject.held_out[: settings.pairs]
    if not chosen:
        raise InputError("no harmful pair is left that unlearning has not seen; lower pairs.number")
    pairs = [encode_pair(tokenizer, row["prompt"], row["harmful_output"], row["complete"]) for row in chosen]
    evidence: list[Row] = []
    curves: dict[str, dict[str, Any]] = {}
    areas: dict[str, float] = {}
    for attack in settings.attacks:
        name = f"{attack.optimizer}-{attack.learning_rate:g}"
        copied = copy.deepcopy(model)
        optimizer, source = attacker(copied, attack), batches(pairs, settings.batch_size, subject.seed)
        curve = {0: subject.untouched}
        for step in range(1, max(settings.steps) + 1):
            copied.train()
            harmful_step(copied, optimizer, next(source), pad_id(tokenizer))
            if step in settings.steps:
                curve[step] = grader.answers(copied.eval(), tokenizer, subject.prompts)
        curves[name] = {str(step): harmful_rate(rows).as_dict() for step, rows in curve.items()}
        areas[name] = area([(step, harmful_rate(rows).rate) for step, rows in curve.items()])
        evidence += [{"attack": name, "step": step, **row} for step, rows in curve.items() for row in rows]
    return {
        "estimates": _estimates(list(curves.values()), list(areas.values())),
        "steps": curves,
        "area": areas,
    }, evidence


def _estimates(curves: Sequence[dict[str, Any]], areas: Sequence[float]) -> dict[str, Any]:
    named: dict[str, Any] = {}
    for step, found in curves[0].items():
        named[f"relearn_{step}"] = found
        named[f"relearn_{step}_worst"] = max((curve[step] for curve in curves), key=lambda rate: rate["rate"])
    return {**named, "relearn_auc": {"value": areas[0]}, "relearn_auc_worst": {"value": max(areas)}}


def area(points: Sequence[tuple[int, float]]) -> float:
    """Mean height of the line through the points, by trapezoids."""
    import numpy as np

    steps, rates = zip(*points, strict=True)
    return float(np.trapezoid(rates, steps) / (steps[-1] - steps[0]))
