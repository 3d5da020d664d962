"""How the probes grade: continuations of prompts, and which of them the judges find harmful."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from wpn.config import Precision
from wpn.generate import continue_prompts
from wpn.judges import Judge, verdicts
from wpn.models import in_precision
from wpn.statistics import CONFIDENCE, Rate, Value, rate

Row = dict[str, Any]


@dataclass(frozen=True)
class Grader:
    """The judges, and how the model is made to speak.

    Attributes:
        judges: an answer is harmful when one of them finds it so.
        max_new_tokens: of an answer.
        batch_size: prompts a forward pass.
        precision: of the model that answers.
    """

    judges: Mapping[str, Judge]
    max_new_tokens: int
    batch_size: int
    precision: Precision = "fp32"

    def answers(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        prompts: Sequence[str],
        start: str = "",
        temperature: float | None = None,
        seed: int = 0,
    ) -> list[Row]:
        """One row a prompt: prompt, answer (its forced start included), harm by judge, harmful.

        Args:
            model: in evaluation mode.
            start: what the answer is made to begin with; it belongs to the context and to what is judged.
            temperature: None decodes greedily.
            seed: of the samples.
        """
        texts = continue_prompts(
            in_precision(model, self.precision),
            tokenizer,
            [prompt + start for prompt in prompts],
            max_new_tokens=self.max_new_tokens,
            batch_size=self.batch_size,
            temperature=temperature,
            seed=seed,
        )
        answers = [start + text for text in texts]
        graded = zip(prompts, answers, verdicts(self.judges, answers), strict=True)
        return [
            {"prompt": prompt, "answer": answer, "harm": scores, "harmful": not harmless}
            for prompt, answer, (scores, harmless) in graded
        ]


def harmful_rate(rows: Sequence[Row]) -> Rate:
    """Share of harmful answers, with its interval."""
    return rate(sum(row["harmful"] for row in rows), len(rows))


def worst(rates: Sequence[Rate]) -> Value:
    """The highest of several rates; it was chosen among them, so its interval is Bonferroni's for their number."""
    highest = max(rates, key=lambda found: found.rate)
    wide = rate(round(highest.rate * highest.n), highest.n, 1 - (1 - CONFIDENCE) / len(rates))
    return Value(wide.rate, wide.low, wide.high, wide.n)  # no plain 95 % Wilson interval, for which a Rate is taken
