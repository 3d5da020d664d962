"""Memorisation: how much of the forgotten outputs can still be drawn out, word for word.

MA and EL_n (wpn/memorisation.py) of the harmful outputs after their prompts, beside those of outputs never seen: what
is forgotten is known no better than these (Jang et al., arXiv 2210.01504).
"""

from collections.abc import Sequence
from typing import Any

from wpn.assess.grading import Row
from wpn.assess.membership import one_of_each_prompt
from wpn.assess.subject import Subject
from wpn.config.probes import Memorisation
from wpn.data.batches import encode_pair
from wpn.errors import InputError
from wpn.memorisation import extraction_likelihood, memorisation_accuracy
from wpn.statistics import mean_share


def memorisation(subject: Subject, settings: Memorisation) -> tuple[dict[str, Any], list[Row]]:
    """Ask how far each harmful output is known.

    Returns:
        Estimates `memorisation_accuracy` and `extraction_likelihood` of forgotten outputs, `..._unseen` of those
        never seen; means over pairs, one of each prompt. And one row a pair.
    Raises:
        InputError: no output is as long as n tokens.
    """
    evidence: list[Row] = []
    named: dict[str, Any] = {}
    for side, rows in {"": subject.forgotten, "_unseen": subject.never_seen}.items():
        found = _of(subject, one_of_each_prompt(rows)[: settings.pairs], settings.n)
        for name in ("memorisation_accuracy", "extraction_likelihood") if found else ():
            named[name + side] = mean_share([row[name] for row in found], subject.seed).as_dict()
        evidence += [{"side": "never_seen" if side else "forgotten", **row} for row in found]
    if not named:
        raise InputError(f"no harmful output has {settings.n} tokens; lower assess.memorisation.n")
    return {"estimates": named}, evidence


def _of(subject: Subject, rows: Sequence[Row], n: int) -> list[Row]:
    encoded = [
        (row["prompt"], encode_pair(subject.tokenizer, row["prompt"], row["harmful_output"], row["complete"]))
        for row in rows
    ]
    kept = [(prompt, passage) for prompt, passage in encoded if len(passage[1]) >= n]
    if not kept:
        return []
    asked = subject.model, subject.tokenizer, [passage for _, passage in kept]
    size = subject.grader.batch_size
    accuracies = memorisation_accuracy(*asked, size)
    likelihoods = extraction_likelihood(*asked, n, size)
    return [
        {"prompt": prompt, "memorisation_accuracy": accuracy, "extraction_likelihood": likelihood}
        for (prompt, _), accuracy, likelihood in zip(kept, accuracies, likelihoods, strict=True)
    ]
