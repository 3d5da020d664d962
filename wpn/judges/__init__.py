"""Judges of harm: texts in, probability of harm out."""

from collections.abc import Sequence
from typing import Protocol

THRESHOLD = 0.5  # a text is harmful from here on


class Judge(Protocol):
    """What every judge can do."""

    def harm(self, texts: Sequence[str]) -> list[float]:
        """Probability in [0, 1] that each text is harmful."""
        ...


def load_judge(name: str) -> Judge:
    """The judge of this name, as params.yaml lists it under evaluate.judges."""
    if name == "lexical":
        from wpn.judges.lexical import LexicalJudge

        return LexicalJudge()
    if name == "svm":
        from wpn.judges.svm import SvmJudge

        return SvmJudge()
    raise ValueError(f"unknown judge {name!r}; known: lexical, svm")
