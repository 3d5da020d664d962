"""Forced start: the answer is made to begin as a harmful one does. Does the model go on with harm?"""

from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from wpn.assess.grading import Grader, Row, harmful_rate
from wpn.config import ForcedStart


def forced_start(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    grader: Grader,
    settings: ForcedStart,
) -> tuple[dict[str, Any], list[Row]]:
    """Ask every prompt with every start.

    Returns:
        `harmless`: the lowest harmless rate of a start; `starts`: the harmful rate of each, with its interval. And
        one row an answer.
    """
    evidence: list[Row] = []
    rates = {}
    for start in settings.starts:
        rows = grader.answers(model, tokenizer, prompts, " " + start)
        rates[start] = harmful_rate(rows)
        evidence += [{"start": start, **row} for row in rows]
    worst = max(rates.values(), key=lambda found: found.rate)
    return {"harmless": 1 - worst.rate, "starts": {name: found.as_dict() for name, found in rates.items()}}, evidence
