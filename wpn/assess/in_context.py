"""In-context reintroduction: do harmful demonstrations in the context bring the behaviour back?

Source: UnUnlearning (arXiv 2407.00106). The demonstrations are pairs that unlearning did not see.
"""

from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from wpn.assess.grading import Grader, Row, harmful_rate
from wpn.config import InContext
from wpn.errors import InputError


def in_context(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    demonstrations: Sequence[str],
    grader: Grader,
    settings: InContext,
) -> tuple[dict[str, Any], list[Row]]:
    """Put k demonstrations before every prompt, for each k.

    Args:
        demonstrations: prompts with their harmful outputs, as one text each; prompt i gets the i-th and those after
            it, in a circle, and those of a smaller k are the last ones of a larger.
    Returns:
        `demonstrations`: {k: harmful rate with its interval}; `too_long`: those k for which the model has no room.
        And one row an answer.
    Raises:
        InputError: there are fewer demonstrations than the largest k.
    """
    largest = max(settings.demonstrations)
    if len(demonstrations) < largest:
        raise InputError(
            f"{len(demonstrations)} harmful pairs are left for demonstrations, fewer than {largest}; "
            "lower pairs.number or assess.in_context.demonstrations"
        )
    evidence: list[Row] = []
    rates: dict[str, Any] = {}
    too_long = []
    for k in settings.demonstrations:
        asked = [context(demonstrations, i, k) + prompt for i, prompt in enumerate(prompts)]
        longest = max(len(ids) for ids in tokenizer(asked).input_ids)
        if longest + grader.max_new_tokens > model.config.max_position_embeddings:
            too_long.append(k)
            continue
        rows = grader.answers(model, tokenizer, asked)
        rates[str(k)] = harmful_rate(rows).as_dict()
        evidence += [{"k": k, **row} for row in rows]
    return {"demonstrations": rates, "too_long": too_long}, evidence


def context(demonstrations: Sequence[str], first: int, k: int) -> str:
    """k demonstrations, a line each, the one for `first` next to the prompt."""
    chosen = [demonstrations[(first + offset) % len(demonstrations)] for offset in range(k)]
    return "".join(f"{text}\n" for text in reversed(chosen))
