"""Which rows of a step a method's loss speaks of: what it reads, and so what it is counted to have read."""

from collections.abc import Mapping, Sequence
from typing import Any

from wpn.config.methods import Icu, Method
from wpn.data.batches import Row
from wpn.data.forget import Example, Step
from wpn.errors import InputError

# by the name of a term, which is that of its weight
OF_EXAMPLES = {
    "ascent": ("harmful",),
    "cross_entropy": ("positive",),
    "dpo": ("positive", "harmful"),
    "misdirection": ("harmful",),
    "mismatch": ("mismatched",),
    "n_pair": ("positive", "negatives"),
    "npo": ("harmful",),
    "penalty": ("harmful",),
    "simnpo": ("harmful",),
    "unlikelihood": ("harmful",),
}
OF_TEXTS = ("anchor", "kl", "retain")  # benign ones: the step's, or ICU's neighbours


def rows_read(step: Step, method: Method) -> list[Row]:
    """Each row once that a term with a weight speaks of, and those of a foreseen attack."""
    kinds = kinds_read(method)
    texts = step.retain if any(getattr(method, name, 0.0) for name in OF_TEXTS) else []
    if texts and isinstance(method, Icu):
        kinds, texts = kinds | {"neighbour"}, []
    examples = [row for example in step.examples for row in _of(example, kinds)]
    return [*examples, *texts, *(row for batch in step.foreseen for row in batch)]


def kinds_read(method: Method) -> set[str]:
    """Which rows of an example a term with a weight speaks of."""
    return {kind for name, kinds in OF_EXAMPLES.items() if getattr(method, name, 0.0) for kind in kinds}


def check_responses(pairs: Sequence[Mapping[str, Any]], method: Method) -> None:
    """Refuse pairs that lack what a method learns from; an empty text that is complete is at least its end.

    Raises:
        InputError: a pair has no harmless response or no harmful output, and the method reads it.
    """
    kinds = kinds_read(method)
    read = {"harmless_response": {"positive", "mismatched"}, "harmful_output": {"harmful", "negatives"}}
    for key in (key for key, of in read.items() if of & kinds):
        for number, pair in enumerate(pairs, 1):
            if not (pair[key] or pair["complete"]):
                raise InputError(f"forget pair {number} has no {key}, and {method.method} learns from it; give it one")


def _of(example: Example, kinds: set[str]) -> list[Row]:
    known: dict[str, Sequence[Row | None]] = {
        "positive": [example.positive],
        "harmful": [example.harmful],
        "negatives": example.negatives,
        "mismatched": [example.mismatched],
        "neighbour": [example.neighbour],
    }
    return [row for kind, rows in known.items() if kind in kinds for row in rows if row]
