"""Measure one model: harmless and meaningful answers, benchmarks, perplexity. Returns numbers and evidence."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from wpn.benchmark import TaskResult, run_benchmarks
from wpn.config.evaluation import Evaluate
from wpn.errors import InputError
from wpn.evidence import Rows, mean_accuracy, perplexities, summarise
from wpn.files import read_jsonl
from wpn.generate import continue_prompts
from wpn.judges import Judge, verdicts
from wpn.likelihood import response_log_likelihoods, text_log_likelihoods
from wpn.meaningful import Fluency, why_not_meaningful
from wpn.models import in_precision
from wpn.perplexity import perplexity_of

Row = dict[str, Any]


@dataclass(frozen=True)
class Evaluation:
    """What was measured.

    Attributes:
        metrics: numbers, ready for JSON.
        rows: those behind the numbers.
    """

    metrics: Row
    rows: Rows


class Evaluator:
    """Grades models on one prepared data set, with one reference model that says what is fluent."""

    def __init__(
        self,
        reference: tuple[PreTrainedModel, PreTrainedTokenizerBase],
        prepared: Path,
        taught: Path,
        judges: Mapping[str, Judge],
        settings: Evaluate,
        complete: bool,
        seed: int,
    ) -> None:
        """Load the prompts.

        Args:
            reference: the twin, or the base where there is no twin.
            prepared: the prepared folder.
            taught: the folder of the forget pairs.
            judges: those that grade; harmless is what all of them find harmless.
            settings: the section `evaluate`.
            complete: answers and texts are whole, so that the end token belongs to them.
            seed: of the samples.
        """
        self.reference = in_precision(reference[0], settings.precision), reference[1]
        self.prepared, self.taught, self.judges = prepared, taught, judges
        self.settings, self.complete, self.seed = settings, complete, seed
        folder = prepared / "prompts" / settings.split
        files = {
            "seen": taught / "forget.jsonl",
            "unseen": folder / "unseen.jsonl",
            "ood": folder / "ood.jsonl",
        }
        self.prompts = {name: _distinct(read_jsonl(file))[: settings.prompts] for name, file in files.items()}
        # responses put in by us are no measure of what is fluent for this model
        safe = [row for rows in self.prompts.values() for row in rows if row["harmless_response"] and row.get("own", 1)]
        if not safe:
            raise InputError(
                f"{taught / 'forget.jsonl'} has no harmless response of the model's own, so nothing says what is "
                "fluent; raise pairs.samples or pairs.harmless_below"
            )
        self.fluency = Fluency.from_safe_answers(self._fluency_of(safe, [row["harmless_response"] for row in safe]))

    def evaluate(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> Evaluation:
        """Measure a model (it must be in evaluation mode)."""
        answering = in_precision(model, self.settings.precision)
        answers = self._answers(answering, tokenizer)
        tasks = self._benchmarks(answering, tokenizer)
        items = [
            {"task": name, "item": item, "correct": correct}
            for name, task in tasks.items()
            for item, correct in zip(task.items, task.correct, strict=True)
        ]
        texts = self._texts(model, tokenizer)
        metrics = {
            **summarise(answers, list(self.judges)),
            **({"benchmark": _benchmark(tasks, items)} if tasks else {}),
            "perplexity": perplexities(texts),
        }
        return Evaluation(metrics, Rows(answers, items, texts))

    def _answers(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> list[Row]:
        answers = []
        for name, rows in self.prompts.items():
            answers += self._graded(name, rows, self._continue(model, tokenizer, rows))
        unseen = self.prompts["unseen"] * self.settings.samples
        sampled = self._continue(model, tokenizer, unseen, temperature=self.settings.temperature)
        return answers + self._graded("sampled", unseen, sampled)

    def _benchmarks(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> dict[str, TaskResult]:
        data = self.prepared / "benchmarks" / self.settings.split
        if not data.is_dir():
            return {}  # none was configured
        size, limit = self.settings.benchmark_batch_size, self.settings.benchmark_items
        return run_benchmarks(model, tokenizer, data, self.settings.suite, size, self.seed, limit)

    def _texts(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> list[Row]:
        """The held-out texts of the data, else the model's own; apart are those with alarming words."""
        texts = read_jsonl(self.prepared / "text" / f"{self.settings.split}.jsonl")
        texts = texts or read_jsonl(self.taught / "held_out.jsonl")
        found = text_log_likelihoods(
            model, tokenizer, [row["text"] for row in texts], self.settings.batch_size, self.complete
        )
        return [
            {"kind": "alarm" if row["alarming"] else "retain", "text": i, "log_likelihood": total, "tokens": count}
            for i, (row, (total, count)) in enumerate(zip(texts, found, strict=True))
        ]

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
        prompts = [row["prompt"] for row in rows]
        found = response_log_likelihoods(*self.reference, prompts, answers, self.settings.batch_size, self.complete)
        return [perplexity_of([answer]) for answer in found]

    def _graded(self, name: str, rows: Sequence[Row], answers: Sequence[str]) -> list[Row]:
        judged = verdicts(self.judges, answers)
        graded = []
        for i, (row, answer, ppl) in enumerate(zip(rows, answers, self._fluency_of(rows, answers), strict=True)):
            fault = why_not_meaningful(answer, row["prompt"], ppl, self.fluency)
            scores, harmless = judged[i]
            graded.append(
                {"set": name, "prompt": row["prompt"], "answer": answer, "harm": scores, "harmless": harmless,
                 "perplexity": round(ppl, 3) if math.isfinite(ppl) else None, "fault": fault,
                 "passed": harmless and fault is None}
            )  # fmt: skip
        return graded


def _distinct(rows: Sequence[Row]) -> list[Row]:
    """The first row of each prompt: several pairs of one prompt ask the same question."""
    return list({row["prompt"]: row for row in reversed(rows)}.values())[::-1]


def _benchmark(tasks: Mapping[str, TaskResult], items: Sequence[Row]) -> Row:
    return {**mean_accuracy(items).as_dict(), "tasks": {name: task.as_dict() for name, task in tasks.items()}}
