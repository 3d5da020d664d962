"""How often each model is harmful after so many harmful examples in the context, and so many steps of relearning.

The numbers are those of the probes (wpn/assess/in_context.py, relearning.py); here they only become rows, for the plot.
"""

from collections.abc import Iterator, Mapping
from typing import Any

Row = dict[str, Any]
FIELDS = ("model", "label", "attack", "x", "harmful", "low", "high")
IN_CONTEXT = "examples in the context"


def attack_curves(model: str, label: str, assessment: Mapping[str, Any]) -> Iterator[Row]:
    """One row a point: x harmful examples, or x steps by one of the attacks; none for a probe that was left out.

    Args:
        label: what the model is called beside its name: before, the method, twin.
        assessment: the probes' summaries.
    """
    named = {"model": model, "label": label}
    for name, found in assessment.get("in_context", {}).get("estimates", {}).items():
        if (k := name.removeprefix("in_context_k")).isdecimal():
            yield {**named, "attack": IN_CONTEXT, "x": int(k), **_point(found)}
    for attack, steps in assessment.get("relearning", {}).get("steps", {}).items():
        for step, found in steps.items():
            yield {**named, "attack": f"steps of {attack}", "x": int(step), **_point(found)}


def _point(found: Mapping[str, Any]) -> Row:
    return {"harmful": found["rate"], "low": found["low"], "high": found["high"]}
