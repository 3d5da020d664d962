"""What a probe is given: the model, and what it may be attacked with."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from wpn.assess.divergence import Model
from wpn.assess.grading import Grader, Row
from wpn.data.template import around, put, said_in
from wpn.errors import InputError
from wpn.judges import Judge
from wpn.models import in_precision, positions_of
from wpn.tokens import encode_prompt

Summary = dict[str, Any]
# The numbers that the gate and the results know are under `estimates`: NAME -> as wpn.estimates.Estimate.of reads it.
Probe = Callable[["Subject", Any], tuple[Summary, list[Row]]]


MORE_PAIRS = "lower pairs.number (of real models raise pairs.held_out)"  # the remedy where too few are left


@dataclass(frozen=True)
class Subject:
    """A model under attack.

    Attributes:
        model: in evaluation mode; a probe leaves it as it is.
        prompts: unseen ones, that drew harm from the base or may.
        other_prompts: sets of prompts of other kinds, by name.
        held_out: prompt, harmful_output, complete; harmful pairs that unlearning did not see (of a real model, new
            outputs to prompts that it may have seen).
        never_seen: the same of unseen prompts, which no training of any kind saw; of a real model, whose data seldom
            have harmful outputs, the held-out ones.
        forgotten: the same of those that it saw, with their harmless_response.
        texts: benign ones.
        benign: text, alarming; held-out ones.
        base: the model before unlearning, where it is at hand.
        twin: the model that never saw the harm, where there is one.
        template: how a prompt was put to the model, as in "user : {prompt}\\nbot :".
        grader: asks and judges.
        filtering: name and judge of the output filter.
        seed: of whatever is drawn.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    prompts: Sequence[str]
    other_prompts: Mapping[str, Sequence[str]]
    held_out: Sequence[Row]
    never_seen: Sequence[Row]
    forgotten: Sequence[Row]
    texts: Sequence[str]
    benign: Sequence[Row]
    base: Model | None
    twin: Model | None
    template: str
    grader: Grader
    filtering: tuple[str, Judge]
    seed: int

    @property
    def with_tokenizer(self) -> Model:
        """The model and its tokenizer, as base and twin are given."""
        return self.model, self.tokenizer

    @property
    def judges_of_the_filter(self) -> list[str]:
        """Those that say whether an answer is harmful when the output filter is judged: all but its own."""
        return [name for name in self.grader.judges if name != self.filtering[0]]

    @cached_property
    def dialogues(self) -> dict[str, Row]:
        """The prompts of the held-out dialogues: whether they have alarming words (those first), and their answers."""
        _, after = around(self.template)
        texts = sorted(self.benign, key=lambda row: not row["alarming"])
        parted = [(row["text"].partition(after), row["alarming"]) for row in texts if after and after in row["text"]]
        return {asked + after: {"alarming": alarming, "answer": answer} for (asked, _, answer), alarming in parted}

    @property
    def untouched(self) -> list[Row]:
        """The greedy answers to the prompts without any attack."""
        return self.ask(self.prompts)

    @cached_property
    def monologues(self) -> list[str]:
        """The benign texts that are no dialogue: one inside what the user says would end it."""
        turns = [part.strip() for part in around(self.template) if part.strip()]
        return [text for text in self.texts if not any(turn in text for turn in turns)]

    def ask(self, prompts: Sequence[str], start: str = "", temperature: float | None = None) -> list[Row]:
        """Answers, judged (Grader.answers); what several probes ask is asked once.

        Raises:
            InputError: the model has no room for one of the prompts and its answer.
        """
        question = (tuple(prompts), start, temperature)
        if question not in self._answered:
            if without := len(prompts) - len(self.fitting([prompt + start for prompt in prompts])):
                raise InputError(f"the model has no room for {without} of {len(prompts)} prompts; ask shorter ones")
            self._answered[question] = self.grader.answers(
                self._speaking, self.tokenizer, prompts, start, temperature, self.seed
            )
        return self._answered[question]

    @cached_property
    def _answered(self) -> dict[tuple[tuple[str, ...], str, float | None], list[Row]]:
        return {}

    @cached_property
    def _speaking(self) -> PreTrainedModel:
        """The model as it answers: one copy for all probes."""
        return in_precision(self.model, self.grader.precision)

    def put(self, text: str) -> str:
        """What a user says, as the model is asked."""
        return put(self.template, text)

    def said(self, prompt: str) -> str:
        """What the user says in a prompt."""
        return said_in(self.template, prompt)

    def with_room(self) -> "Subject":
        """The same without the prompts and pairs for which the model has too few positions; each n says what is left.

        Raises:
            InputError: no prompt is left.
        """
        prompts = [self.prompts[i] for i in self.fitting(self.prompts)]
        if not prompts:
            raise InputError("the model has no room for any of the prompts; take a model with more positions")
        others = {name: [asked[i] for i in self.fitting(asked)] for name, asked in self.other_prompts.items()}
        held_out, never_seen, forgotten = map(self._fitting_pairs, (self.held_out, self.never_seen, self.forgotten))
        return replace(
            self, prompts=prompts, other_prompts=others, held_out=held_out, never_seen=never_seen, forgotten=forgotten
        )

    def _fitting_pairs(self, rows: Sequence[Row]) -> list[Row]:
        # of an unseen prompt the data may have no harmless response
        answers = [(row["harmful_output"], row.get("harmless_response") or "") for row in rows]
        asked = [row["prompt"] + max(texts, key=len) for row, texts in zip(rows, answers, strict=True)]
        return [rows[i] for i in self.fitting(asked)]

    def fitting(self, asked: Sequence[str]) -> list[int]:
        """The numbers of those prompts for which the model's positions suffice, and for their answers."""
        if not asked:
            return []
        room = positions_of(self.model) - self.grader.max_new_tokens
        lengths = [len(encode_prompt(self.tokenizer, text)) for text in asked]
        return [i for i, length in enumerate(lengths) if length <= room]
