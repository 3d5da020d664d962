"""Measure one model: harmless and meaningful answers, benchmarks, perplexity. Returns numbers and evidence."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from wpn.benchmark import run_benchmarks
from wpn.config import Evaluate
from wpn.files import read_jsonl
from wpn.generate import continue_prompts
from wpn.judges import THRESHOLD, Judge, load_judge
from wpn.likelihood import perplexity, response_perplexities
from wpn.meaningful import Fluency, why_not_meaningful
from wpn.statistics import rate

Row = dict[str, Any]


@dataclass(frozen=True)
class Evaluation:
    """What was measured.

    Attributes:
        metrics: numbers, ready for JSON.
        answers: one row a prompt and sample, with the answer and the verdicts.
        benchmark: one row a benchmark item: task, item, correct.
    """

    metrics: Row
    answers: list[Row]
    benchmark: list[Row]


class Evaluator:
    """Grades models on one prepared data set, with one reference model that says what is fluent."""

    def __init__(
        self,
        reference: tuple[PreTrainedModel, PreTrainedTokenizerBase],
        prepared: Path,
        settings: Evaluate,
        seed: int,
    ) -> None:
        """Load prompts and judges.

        Args:
            reference: the twin, or the base where there is no twin.
            prepared: the prepared folder.
            settings: the section `evaluate`.
            seed: of the samples.
        """
        self.reference, self.prepared, self.settings, self.seed = reference, prepared, settings, seed
        self.judges: dict[str, Judge] = {name: load_judge(name) for name in settings.judges}
        folder = prepared / "prompts" / settings.split
        files = {
            "seen": prepared / "forget.jsonl",
            "unseen": folder / "unseen.jsonl",
            "ood": folder / "ood.jsonl",
        }
        self.prompts = {name: read_jsonl(file)[: settings.prompts] for name, file in files.items()}
        safe = [row for rows in self.prompts.values() for row in rows]
        self.fluency = Fluency.from_safe_answers(self._fluency_of(safe, [row["harmless_response"] for row in safe]))

    def evaluate(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> Evaluation:
        """Measure a model (it must be in evaluation mode)."""
        answers = []
        for name, rows in self.prompts.items():
            answers += self._graded(name, rows, self._continue(model, tokenizer, rows))
        unseen = self.prompts["unseen"] * self.settings.samples
        sampled = self._continue(model, tokenizer, unseen, temperature=self.settings.temperature)
        answers += self._graded("sampled", unseen, sampled)
        data = self.prepared / "benchmarks" / self.settings.split
        tasks = run_benchmarks(model, tokenizer, data, self.settings.batch_size, self.seed)
        texts = read_jsonl(self.prepared / "text" / f"{self.settings.split}.jsonl")
        metrics = {
            **summarise(answers, self.settings.judges),
            "benchmark": {
                "mean": sum(task.accuracy for task in tasks.values()) / len(tasks),
                "tasks": {name: task.as_dict() for name, task in tasks.items()},
            },
            "perplexity": {
                kind: perplexity(model, tokenizer, chosen, self.settings.batch_size)
                for kind, alarming in (("retain", False), ("alarm", True))
                if (chosen := [row["text"] for row in texts if row["alarming"] == alarming])
            },
        }
        items = [
            {"task": name, "item": item, "correct": correct}
            for name, task in tasks.items()
            for item, correct in enumerate(task.correct)
        ]
        return Evaluation(metrics, answers, items)

    def _continue(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        rows: Sequence[Row],
        temperature: float | None = None,
    ) -> list[str]:
        return continue_prompts(
            model,
            tokenizer,
            [row["prompt"] for row in rows],
            max_new_tokens=self.settings.max_new_tokens,
            batch_size=self.settings.batch_size,
            temperature=temperature,
            seed=self.seed,
        )

    def _fluency_of(self, rows: Sequence[Row], answers: Sequence[str]) -> list[float]:
        return response_perplexities(
            *self.reference, [row["prompt"] for row in rows], answers, self.settings.batch_size
        )

    def _graded(self, name: str, rows: Sequence[Row], answers: Sequence[str]) -> list[Row]:
        harm = {judge: scores.harm(answers) for judge, scores in self.judges.items()}
        graded = []
        for i, (row, answer, ppl) in enumerate(zip(rows, answers, self._fluency_of(rows, answers), strict=True)):
            fault = why_not_meaningful(answer, ppl, self.fluency)
            scores = {judge: round(values[i], 4) for judge, values in harm.items()}
            harmless = all(score < THRESHOLD for score in scores.values())  # NaN is not harmless
            graded.append(
                {"set": name, "prompt": row["prompt"], "answer": answer, "harm": scores, "harmless": harmless,
                 "perplexity": round(ppl, 3), "fault": fault, "passed": harmless and fault is None}
            )  # fmt: skip
        return graded


def summarise(answers: Sequence[Row], judges: Sequence[str]) -> Row:
    """Rates with intervals of each set of answers.

    Returns:
        harmless (harmless *and* meaningful), judged_harmless, meaningful: {set: rate}; judges: {judge: {set: rate}}.
    """
    sets = list(dict.fromkeys(row["set"] for row in answers))

    def rates(holds: Any) -> Row:
        return {
            name: rate(sum(bool(holds(row)) for row in chosen), len(chosen)).as_dict()
            for name in sets
            if (chosen := [row for row in answers if row["set"] == name])
        }

    return {
        "harmless": rates(lambda row: row["passed"]),
        "judged_harmless": rates(lambda row: row["harmless"]),
        "meaningful": rates(lambda row: row["fault"] is None),
        "judges": {judge: rates(lambda row, judge=judge: row["harm"][judge] < THRESHOLD) for judge in judges},
    }
