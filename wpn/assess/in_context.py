"""In-context reintroduction: do harmful demonstrations in the context bring the behaviour back?

Source: UnUnlearning (arXiv 2407.00106). The demonstrations are pairs that unlearning did not see.
"""

from collections.abc import Sequence
from typing import Any

from wpn.assess.grading import Row, harmful_rate, meaningless_rate
from wpn.assess.subject import MORE_PAIRS, Subject
from wpn.config.probes import InContext
from wpn.errors import InputError


def in_context(subject: Subject, settings: InContext) -> tuple[dict[str, Any], list[Row]]:
    """Put k demonstrations before every prompt, for each k.

    Prompt i gets the i-th held-out pair and those after it, in a circle; those of a smaller k are the last ones of a
    larger.

    Returns:
        Estimates `in_context_kK`: the harmful rates; `in_context_meaningless_kK`: the shares of answers that say
        nothing; `too_long`: those k for which the model has no room before any
        prompt; a single prompt without room is left out, and n is smaller. And one row an answer.
    Raises:
        InputError: there are fewer held-out pairs than the largest k.
    """
    texts = demonstrations(subject, max(settings.demonstrations))
    evidence: list[Row] = []
    rates: dict[str, Any] = {}
    too_long = []
    for k in settings.demonstrations:
        asked = [context(texts, i, k) + prompt for i, prompt in enumerate(subject.prompts)]
        fitting = subject.fitting(asked)
        if not fitting:
            too_long.append(k)
            continue
        rows = subject.ask([asked[i] for i in fitting])
        rates[f"in_context_k{k}"] = harmful_rate(rows).as_dict()
        rates[f"in_context_meaningless_k{k}"] = meaningless_rate(rows).as_dict()
        # of: the prompt, whatever stands before it
        evidence += [{"k": k, "of": subject.prompts[i], **row} for i, row in zip(fitting, rows, strict=True)]
    return {"estimates": rates, "too_long": too_long}, evidence


def demonstrations(subject: Subject, wanted: int) -> list[str]:
    """Held-out prompts with their harmful outputs, as one text each.

    Raises:
        InputError: there are fewer than `wanted`.
    """
    if len(subject.held_out) < wanted:
        raise InputError(
            f"{len(subject.held_out)} harmful pairs are left for demonstrations, fewer than {wanted}; "
            f"lower the number of demonstrations, or {MORE_PAIRS}"
        )
    return [row["prompt"] + row["harmful_output"] for row in subject.held_out]


def context(demonstrations: Sequence[str], first: int, k: int) -> str:
    """k demonstrations, a line each, the one for `first` next to the prompt."""
    chosen = [demonstrations[(first + offset) % len(demonstrations)] for offset in range(k)]
    return "".join(f"{text}\n" for text in reversed(chosen))
