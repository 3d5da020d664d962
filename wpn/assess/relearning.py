"""Relearning: how soon does a little harmful training bring the behaviour back?

Source: Rethinking Machine Unlearning for LLMs (arXiv 2402.08787). The pairs are those that unlearning did
not see, and the optimisers and rates need not be those that it foresaw. No method prevents relearning; what is measured
is how many steps it takes.
"""

import copy
from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from wpn.assess.grading import Grader, Row, harmful_rate
from wpn.config import Relearning
from wpn.data.batches import Row as Tokens
from wpn.errors import InputError
from wpn.models import pad_id
from wpn.relearn import attacker, batches, harmful_step


def relearning(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    pairs: Sequence[Tokens],
    grader: Grader,
    settings: Relearning,
    seed: int,
) -> tuple[dict[str, Any], list[Row]]:
    """Train a copy by every attack, and ask the prompts on the way.

    Args:
        prompts: of none of the pairs.
        pairs: (prompt tokens, harmful output tokens).
    Returns:
        `steps`: {attack: {step: harmful rate with its interval}}; `area`: {attack: mean harmful rate over the steps
        up to the last, by trapezoids from step 0}. And one row an answer.
    Raises:
        InputError: there are no pairs.
    """
    if not pairs:
        raise InputError("no harmful pair is left that unlearning has not seen; lower pairs.number")
    evidence: list[Row] = []
    curves: dict[str, dict[str, Any]] = {}
    areas: dict[str, float] = {}
    untouched = grader.answers(model, tokenizer, prompts)
    for attack in settings.attacks:
        name = f"{attack.optimizer}-{attack.learning_rate:g}"
        copied = copy.deepcopy(model)
        optimizer, source = attacker(copied, attack), batches(pairs[: settings.pairs], settings.batch_size, seed)
        curve = {0: untouched}
        for step in range(1, max(settings.steps) + 1):
            copied.train()
            harmful_step(copied, optimizer, next(source), pad_id(tokenizer))
            if step in settings.steps:
                curve[step] = grader.answers(copied.eval(), tokenizer, prompts)
        curves[name] = {str(step): harmful_rate(rows).as_dict() for step, rows in curve.items()}
        areas[name] = area([(step, harmful_rate(rows).rate) for step, rows in curve.items()])
        evidence += [{"attack": name, "step": step, **row} for step, rows in curve.items() for row in rows]
    return {"steps": curves, "area": areas}, evidence


def area(points: Sequence[tuple[int, float]]) -> float:
    """Mean height of the line through the points, by trapezoids."""
    import numpy as np

    steps, rates = zip(*points, strict=True)
    return float(np.trapezoid(rates, steps) / (steps[-1] - steps[0]))
