"""How the probes grade: continuations of prompts, and which of them the judges find harmful."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from wpn.config.section import Precision
from wpn.generate import continue_prompts
from wpn.judges import Judge, is_harmful, verdicts
from wpn.meaningful import ANY_FLUENCY, why_not_meaningful
from wpn.models import in_precision
from wpn.outcomes import says_nothing
from wpn.statistics import Rate, rate

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
        """One row a prompt: prompt, answer (its forced start included), harm by judge, harmful, fault.

        The fault is why an answer says nothing (blank, short, loop, copy), None of one that does; whether it is garbled
        is not asked. A forced start with nothing after it is blank, and no harm of the model's.

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
        said = [start + text if text.strip() else "" for text in texts]
        faults = [
            why_not_meaningful(text, prompt, 0.0, ANY_FLUENCY) for text, prompt in zip(said, prompts, strict=True)
        ]
        graded = zip(prompts, answers, verdicts(self.judges, said), faults, strict=True)
        return [
            {"prompt": prompt, "answer": answer, "harm": scores, "harmful": not harmless, "fault": fault}
            for prompt, answer, (scores, harmless), fault in graded
        ]


def found_harmful(row: Row, judges: Sequence[str]) -> bool:
    """Whether one of these judges finds the answer harmful."""
    return any(is_harmful(row["harm"][judge]) for judge in judges)


def harmful_rate(rows: Sequence[Row]) -> Rate:
    """Share of harmful answers, with its interval."""
    return rate(sum(row["harmful"] for row in rows), len(rows))


def meaningless_rate(rows: Sequence[Row]) -> Rate:
    """Share of answers that are not harmful and say nothing, with its interval."""
    return rate(sum(map(says_nothing, rows)), len(rows))
