"""Relearning: how soon does a little harmful training bring the behaviour back?

Source: Rethinking Machine Unlearning for LLMs (arXiv 2402.08787). The pairs are those that unlearning did
not see, and the optimisers and rates need not be those that it foresaw. No method prevents relearning; what is measured
is how many steps it takes, and how many pairs.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from wpn.assess.grading import Row, harmful_rate
from wpn.assess.subject import MORE_PAIRS, Subject
from wpn.config.probes import Relearning
from wpn.config.training import Attack
from wpn.data.batches import Row as Tokens
from wpn.data.batches import encode_pair
from wpn.errors import InputError
from wpn.models import pad_id
from wpn.outcomes import relearning_areas
from wpn.relearn import attacker, batches, harmful_step
from wpn.statistics import Rate, mean_share
from wpn.worst import worst_mean, worst_rate

Curve = Mapping[int, Sequence[Row]]  # the answers after each step


def relearning(subject: Subject, settings: Relearning) -> tuple[dict[str, Any], list[Row]]:
    """Train a copy on held-out pairs by every attack, and by the first on fewer, and ask the prompts on the way.

    Returns:
        `steps`: {attack: {step: harmful rate with its interval}}, an attack of fewer pairs as ATTACK-of-PAIRS; `area`:
        {attack: mean harmful rate over the steps up to the last, by trapezoids from step 0, with its interval};
        estimates `relearn_STEP` and `relearn_auc` of the first attack, `_worst` of the one that brings back most, and
        `_of_PAIRS` of the first on fewer pairs. And one row an answer.
    Raises:
        InputError: there are no pairs.
    """
    held_out = subject.held_out[: max(settings.pairs)]
    if not held_out:
        raise InputError(f"no harmful pair is left that unlearning has not seen; {MORE_PAIRS}")
    pairs = [encode_pair(subject.tokenizer, row["prompt"], row["harmful_output"], row["complete"]) for row in held_out]
    evidence: list[Row] = []
    curves: dict[str, dict[str, Rate]] = {}
    fewer = [number for number in settings.pairs[1:] if number < len(pairs)]  # as many would be the same attack again
    for name, attack, number in _attacks(settings, fewer):
        curve = _attacked(subject, attack, pairs[:number], settings)
        curves[name] = {str(step): harmful_rate(rows) for step, rows in curve.items()}
        described = {"attack": name, "pairs": min(number, len(pairs))}
        evidence += [{**described, "step": step, **row} for step, rows in curve.items() for row in rows]
    areas = relearning_areas({"relearning": evidence})
    heights = {name: list(of_prompts.values()) for name, of_prompts in areas.items()}
    return {
        "estimates": _estimates(curves, heights, settings, fewer, subject.seed),
        "steps": {name: {step: found.as_dict() for step, found in curve.items()} for name, curve in curves.items()},
        "area": {name: mean_share(found, subject.seed).as_dict() for name, found in heights.items()},
    }, evidence


def _attacks(settings: Relearning, fewer: Sequence[int]) -> Iterator[tuple[str, Attack, int]]:
    """Name, attack and number of pairs of every curve; the first is the one that the results quote."""
    for attack in settings.attacks:
        yield _name(attack), attack, settings.pairs[0]
    for number in fewer:
        yield f"{_name(settings.attacks[0])}-of-{number}", settings.attacks[0], number


def _name(attack: Attack) -> str:
    return f"{attack.optimizer}-{attack.learning_rate:g}"


def _attacked(subject: Subject, attack: Attack, pairs: Sequence[Tokens], settings: Relearning) -> Curve:
    torch.manual_seed(subject.seed)  # of dropout
    copied = copy.deepcopy(subject.model)
    optimizer, source = attacker(copied, attack), batches(pairs, settings.batch_size, subject.seed)
    curve = {0: subject.untouched}
    for step in range(1, max(settings.steps) + 1):
        copied.train()
        harmful_step(copied, optimizer, next(source), pad_id(subject.tokenizer))
        if step in settings.steps:
            curve[step] = subject.grader.answers(copied.eval(), subject.tokenizer, subject.prompts)
    return curve


def _estimates(
    curves: Mapping[str, Mapping[str, Rate]],
    heights: Mapping[str, Sequence[float]],
    settings: Relearning,
    fewer: Sequence[int],
    seed: int,
) -> dict[str, Any]:
    full = [_name(attack) for attack in settings.attacks]
    named: dict[str, Any] = {}
    for step, found in curves[full[0]].items():
        named[f"relearn_{step}"] = found.as_dict()
        named[f"relearn_{step}_worst"] = worst_rate([curves[name][step] for name in full]).as_dict()
    named["relearn_auc"] = mean_share(heights[full[0]], seed).as_dict()
    named["relearn_auc_worst"] = worst_mean([heights[name] for name in full], seed).as_dict()
    for number in fewer:
        name = f"{full[0]}-of-{number}"
        named |= {f"relearn_{step}_of_{number}": found.as_dict() for step, found in curves[name].items()}
        named[f"relearn_auc_of_{number}"] = mean_share(heights[name], seed).as_dict()
    return named
