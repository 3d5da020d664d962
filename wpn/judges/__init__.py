"""Judges of harm: texts in, probability of harm out."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from wpn.config import JudgeRow

if TYPE_CHECKING:
    import torch

THRESHOLD = 0.5  # a text is harmful from here on


class Judge(Protocol):
    """What every judge can do."""

    def harm(self, texts: Sequence[str]) -> list[float]:
        """Probability in [0, 1] that each text is harmful."""
        ...


def verdicts(judges: Mapping[str, Judge], texts: Sequence[str]) -> list[tuple[dict[str, float], bool]]:
    """Of each text the probability of harm by judge, and whether all of them find it harmless; NaN is not harmless."""
    harm = {name: judge.harm(texts) for name, judge in judges.items()}
    scores = [{name: round(found[i], 4) for name, found in harm.items()} for i in range(len(texts))]
    return [(each, all(score < THRESHOLD for score in each.values())) for each in scores]


def load_judge(row: JudgeRow, folder: Path, device: "torch.device") -> Judge:
    """Make a judge ready.

    Args:
        row: as params.yaml lists it under `judges`.
        folder: its fetched files, for the kinds that have a source.
        device: of those that are transformers models.
    """
    if row.kind == "lexical":
        from wpn.judges.lexical import LexicalJudge

        return LexicalJudge()
    if row.kind == "svm":
        from wpn.judges.svm import SvmJudge

        return SvmJudge()
    if row.kind == "bilstm":
        from wpn.judges.bilstm import BiLstmJudge

        return BiLstmJudge.load(folder)
    if row.kind == "classifier":
        from wpn.judges.classifier import ClassifierJudge

        return ClassifierJudge.load(folder, row.harmful_labels, device)
    from wpn.judges.chat import ChatJudge

    return ChatJudge.load(folder, row.prompt, device)
