"""An evaluation as it lies in a folder, of build/ or of a run's artifacts: its numbers and the rows behind them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wpn.compare import changes
from wpn.estimates import Estimate, estimates
from wpn.evidence import Rows, contradictions
from wpn.files import read_json, read_jsonl

Row = dict[str, Any]


@dataclass(frozen=True)
class StoredEvaluation:
    """What the stages `evaluate` and `evaluate-reference` leave.

    Attributes:
        metrics: the numbers.
        rows: those behind them.
        assessment: what the probes found of the same model; empty where nothing attacked it.
    """

    metrics: Row
    rows: Rows
    assessment: Row

    def contradictions(self) -> list[str]:
        """Where the numbers are not what the rows add up to."""
        return contradictions(self.metrics, self.rows)

    def changes_since(self, reference: "StoredEvaluation") -> dict[str, Estimate]:
        """How much larger each number is than another model's."""
        numbers = [estimates({}, one.metrics, None, one.assessment) for one in (reference, self)]
        return changes(numbers[0], numbers[1], reference.rows, self.rows)


def read_evaluation(folder: Path, assessment: Row) -> StoredEvaluation:
    """Of metrics.json and evidence/*.jsonl, beside the probes' summary."""
    rows = Rows(*(read_jsonl(folder / "evidence" / f"{name}.jsonl") for name in Rows._fields))
    return StoredEvaluation(read_json(folder / "metrics.json"), rows, assessment)
