"""What one unlearning step sees: examples with a harmless and several harmful responses, and benign texts."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import cycle, islice
from typing import Any

from transformers import PreTrainedTokenizerBase

from wpn.attribution import copied_share, token_weights
from wpn.config.methods import Icu, Llmu, Method, Wpn
from wpn.config.training import Unlearn
from wpn.data.batches import Row, encode_pair, encode_response, encode_text, parts
from wpn.data.neighbours import alike, nearest
from wpn.encoder import Encoder
from wpn.errors import InputError
from wpn.refinement import check_lengths
from wpn.tokens import encode_prompt

MOST_COPIED = 0.5  # of the harm of an output that `position_weights: harm` learns from
NEAREST = 8  # texts for each prompt, from which `near_share` draws
LONGEST_START = 4  # tokens of a harmful output that a forced start may hold


@dataclass(frozen=True)
class Example:
    """One prompt and its responses, each as (context, response).

    Attributes:
        positive: the harmless response, to be preferred.
        negatives: the N to turn away from; the first is the prompt's own harmful output.
        mismatched: the harmless response to another prompt, where a method asks for it.
        neighbour: the benign text most like the pair, where a method asks for it.
        harm: of each negative the weights of its tokens by the harm in them, where a method asks for them.
    """

    positive: Row
    negatives: list[Row]
    mismatched: Row | None = None
    neighbour: Row | None = None
    harm: list[Sequence[float]] = field(default_factory=list)

    @property
    def harmful(self) -> Row:
        """The prompt's own harmful output."""
        return self.negatives[0]

    @property
    def rows(self) -> list[Row]:
        """The positive and the negatives."""
        return [self.positive, *self.negatives]


@dataclass(frozen=True)
class Step:
    """One optimiser step's data. Its negatives are chosen already, so that micro-batches change nothing.

    Attributes:
        examples: what is to be unlearned.
        retain: benign texts.
        foreseen: harmful batches, one a step of an attacker.
        foreseen_rate: the attacker's learning rate, where it is drawn.
    """

    examples: list[Example]
    retain: list[Row]
    foreseen: list[list[Row]] = field(default_factory=list)
    foreseen_rate: float | None = None

    def share(self, rank: int, count: int) -> "Step":
        """What one of several processes takes of it: rows of all lengths, so that none waits for another.

        All of them foresee the whole attack, for it must lead all to the same weights.
        """
        if count == 1:
            return self
        examples = sorted(self.examples, key=_longest)[rank::count]
        return replace(self, examples=examples, retain=sorted(self.retain, key=tokens)[rank::count])

    def micro_batches(self, count: int) -> Iterator["Step"]:
        """Split into `count` parts of equal size (the last ones may be smaller), rows of like lengths in one."""
        examples = parts(sorted(self.examples, key=_longest), count)
        retain = parts(sorted(self.retain, key=tokens), count)
        for part, texts in zip(examples, retain, strict=True):
            yield Step(part, texts)


def tokens(row: Row) -> int:
    """Of a row, its context and what counts."""
    context, counted = row
    return len(context) + len(counted)


def _longest(example: Example) -> int:
    return max(tokens(row) for row in example.rows)


@dataclass(frozen=True)
class _Pair:
    """A row of the forget pairs, in tokens; `harm` has the weights of the harmful ones, or nothing."""

    prompt: Sequence[int]
    harmful: Sequence[int]
    harmless: Sequence[int]
    harm: Sequence[float]


def _encoded(tokenizer: PreTrainedTokenizerBase, row: dict[str, Any], weigh_harm: bool) -> _Pair:
    if weigh_harm and "word_harm" not in row:
        raise InputError(
            "the forget pairs do not say where their harm is, which `position_weights: harm` needs; set "
            "pairs.word_harm (real models have it), or take other weights"
        )
    output, complete = row["harmful_output"], row["complete"]
    return _Pair(
        encode_prompt(tokenizer, row["prompt"]),
        encode_response(tokenizer, output, complete),
        encode_response(tokenizer, row["harmless_response"], complete),
        token_weights(tokenizer, row["prompt"], output, row["word_harm"], complete) if weigh_harm else [],
    )


def _weighs_harm(method: Method) -> bool:
    return isinstance(method, Wpn) and method.position_weights == "harm"


def teaches(row: dict[str, Any], method: Method) -> bool:
    """Whether a method draws this forget pair.

    One that weighs tokens by their harm does so where half of it at least is not copied: else little but chance says
    what to turn away from.
    """
    if not _weighs_harm(method):
        return True
    return copied_share(row["prompt"], row["harmful_output"], row["word_harm"]) <= MOST_COPIED


def _retained(tokenizer: PreTrainedTokenizerBase, row: dict[str, Any]) -> Row:
    if prompt := row.get("prompt"):
        return encode_pair(tokenizer, prompt, row["text"], row["complete"])
    return encode_text(tokenizer, row["text"], row["complete"])


def _refuse_empty(pairs: Sequence[dict[str, Any]], texts: Sequence[dict[str, Any]]) -> None:
    if not pairs:
        raise InputError(
            "there are no forget pairs to unlearn; give the model more prompts, or lower pairs.harmful_from"
        )
    if not texts:
        raise InputError("there is no benign text to keep the model as it is; set data.text, or raise pairs.own_texts")


class StepSource:
    """Draws the data of each step, reproducibly.

    A pair's context may already hold the first tokens of its harmful output (a forced start): the harmless response
    must follow even then. Negatives are the pair's own harmful output and other ones, of the step's pairs first.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        pairs: Sequence[dict[str, Any]],
        texts: Sequence[dict[str, Any]],
        settings: Unlearn,
        method: Method,
        seed: int,
        encoder: Encoder | None = None,
    ) -> None:
        """Encode everything once.

        Args:
            pairs: prompt, harmful_output, harmless_response, complete (both responses are whole); word_harm, where
                the method weighs tokens by it.
            texts: text, alarming, complete; what must stay as it is. Where there is a prompt, what follows it.
            method: says which negatives and neighbours a pair needs.
            seed: of all draws.
            encoder: of a method that names one.
        Raises:
            InputError: there are no pairs or no texts; the pairs lack what the method asks of them, or a step has too
                few; there is no encoder and the method names one.
        """
        _refuse_empty(pairs, texts)
        self.settings, self.relearning_aware = settings, method.relearning_aware
        self.in_batch_negatives = method.in_batch_negatives if isinstance(method, Wpn) and method.n_pair else 0
        if self.in_batch_negatives >= settings.batch_size:
            raise InputError(
                f"in_batch_negatives is {self.in_batch_negatives}, and a step of batch_size {settings.batch_size} has "
                f"only {settings.batch_size - 1} other pairs; lower it"
            )
        self.random = random.Random(seed)
        self.pairs = [_encoded(tokenizer, row, _weighs_harm(method)) for row in pairs]
        # by how they were written, for one that was mistyped is not another prompt, and an attacker does not mistype
        self.prompts = [row.get("written", row["prompt"]) for row in pairs]
        written = [encode_prompt(tokenizer, prompt) for prompt in self.prompts]
        self.attackers = [(prompt, pair.harmful) for prompt, pair in zip(written, self.pairs, strict=True)]
        self.texts = [_retained(tokenizer, row) for row in texts]
        self.alarming = [i for i, row in enumerate(texts) if row["alarming"]]
        self.calm = [i for i, row in enumerate(texts) if not row["alarming"]]
        self.near: list[int] = []
        if settings.near_share:
            asked = [row["prompt"] for row in pairs]
            self.near = alike(asked, [row.get("prompt", "") + row["text"] for row in texts], NEAREST)
        self.mismatches = isinstance(method, Llmu) and method.mismatch > 0
        if self.mismatches and len(set(self.prompts)) == 1:
            raise InputError("all forget pairs have one prompt, and llmu needs answers to others; take another method")
        self.nearest: list[int] = []  # of each pair, the text that ICU reads with it
        if isinstance(method, Icu):
            if method.refinement:
                check_lengths(self.harmful, method.refinement)
            if method.encoder and not encoder:
                raise InputError("the method names an encoder: load it (wpn.encoder.Encoder.load) and hand it over")
            said = [pair["prompt"] + pair["harmful_output"] for pair in pairs]
            self.nearest = nearest(said, [row["text"] for row in texts], encoder)
        self.active = [i for i, row in enumerate(pairs) if teaches(row, method)]  # still to be unlearned
        if not self.active:
            raise InputError("every harmful output only repeats its prompt's words; take other `position_weights`")
        self.queue: list[int] = []
        self.drawn_pairs: list[int] = []  # of the last step
        self.drawn_texts: list[int] = []
        self.drawn_answers: list[int] = []  # the pairs whose harmless response is another's `mismatched`
        self.drawn_negatives: list[list[int]] = []  # of each pair, those whose harmful outputs it is turned away from
        self.drawn_attack: list[list[int]] = []  # the pairs of each step that is foreseen

    @property
    def harmful(self) -> list[Row]:
        """(prompt, harmful output) of every pair."""
        return [(pair.prompt, pair.harmful) for pair in self.pairs]

    def draw(self, foresee: bool = False) -> Step:
        """The data of the next step; with what an attacker would train on, where that is to be foreseen."""
        self.drawn_pairs = drawn = [self._next_pair() for _ in range(self.settings.batch_size)]
        self.drawn_answers = [self._other_answer(drawn, i) for i in range(len(drawn))] if self.mismatches else []
        self.drawn_negatives = [self._other_outputs(drawn, i) for i in range(len(drawn))]
        examples = []
        for i, pair in enumerate(self.pairs[index] for index in drawn):
            start = self._forced_start(pair.harmful)
            context = [*pair.prompt, *pair.harmful[:start]]
            others = [self.pairs[index].harmful for index in self.drawn_negatives[i]]
            negatives: list[Row] = [(context, pair.harmful[start:]), *((context, other) for other in others)]
            harm = [pair.harm[start:]] if pair.harm else []
            mismatched = (context, self.pairs[self.drawn_answers[i]].harmless) if self.mismatches else None
            neighbour = self.texts[self.nearest[drawn[i]]] if self.nearest else None
            examples.append(Example((context, pair.harmless), negatives, mismatched, neighbour, harm))
        retain = self._retain()
        if self.nearest:
            self.drawn_texts = [self.nearest[index] for index in drawn]  # ICU reads no others
        self.drawn_attack = self._foreseen() if foresee else []
        foreseen: list[list[Row]] = [[self.attackers[i] for i in batch] for batch in self.drawn_attack]
        return Step(examples, retain, foreseen, self._attack_rate() if foreseen else None)

    def _other_answer(self, drawn: Sequence[int], place: int) -> int:
        """The next pair of the step whose prompt is another one, or else of all pairs."""
        own = self.prompts[drawn[place]]
        return next(i for i in self._following(drawn, place) if self.prompts[i] != own)

    def _other_outputs(self, drawn: Sequence[int], place: int) -> list[int]:
        """The next pairs of the step whose harmful output is another one, then of all pairs, each once.

        Where too few have another one they come again, and where none has, the next pairs of the step do.
        """
        own, following = self.pairs[drawn[place]].harmful, self._following(drawn, place)
        others = (i for i in dict.fromkeys(following) if self.pairs[i].harmful != own)
        found = [*islice(others, self.in_batch_negatives)] or following
        return [*islice(cycle(found), self.in_batch_negatives)]

    def _following(self, drawn: Sequence[int], place: int) -> list[int]:
        """The other pairs in the order in which a pair of the step takes something of them: the step's, then all."""
        own = drawn[place]
        return [*drawn[place + 1 :], *drawn[:place], *range(own + 1, len(self.pairs)), *range(own)]

    def _next_pair(self) -> int:
        if not self.queue:
            self.queue = self.random.sample(self.active, len(self.active))
        return self.queue.pop()

    def _forced_start(self, harmful: Sequence[int]) -> int:
        """How many tokens of the harmful output the context holds; at least one is left to be turned away from."""
        longest = min(LONGEST_START, len(harmful) - 1)
        if self.random.random() >= self.settings.forced_start or longest < 1:
            return 0
        return self.random.randint(1, longest)

    def _foreseen(self) -> list[list[int]]:
        """The pairs that an attacker would train on, by step."""
        attack = self.relearning_aware
        if not attack:
            return []
        pairs = range(len(self.attackers))
        count = self.random.randint(1, attack.steps)
        return [self.random.sample(pairs, min(attack.batch_size, len(pairs))) for _ in range(count)]

    def _attack_rate(self) -> float | None:
        """Of a range of rates one, for an attacker may take any; None where the method names a single one."""
        attack = self.relearning_aware
        if not (attack and attack.highest_rate):
            return None
        return attack.learning_rate * (attack.highest_rate / attack.learning_rate) ** self.random.random()

    def _retain(self) -> list[Row]:
        size = self.settings.retain_batch_size
        near = round(size * self.settings.near_share) if self.near else 0
        alarming = round(size * self.settings.alarming_share) if self.alarming else 0
        alarming = alarming if self.calm else size - near
        pools = ((self.near, near), (self.alarming, alarming), (self.calm, size - near - alarming))
        chosen = [i for pool, count in pools for i in self.random.choices(pool, k=count)]
        self.drawn_texts = chosen
        return [self.texts[i] for i in chosen]

    def state(self) -> dict[str, Any]:
        """Where the draws stand, as JSON."""
        return {"random": self.random.getstate(), "queue": [*self.queue], "active": [*self.active]}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken."""
        version, internal, gauss = state["random"]
        self.random.setstate((version, tuple(internal), gauss))
        self.queue, self.active = state["queue"], state["active"]

    @property
    def epoch(self) -> int:
        """Steps in which every active pair is drawn once, about."""
        return max(1, round(len(self.active) / self.settings.batch_size))

    def narrow(self, active: list[int]) -> None:
        """Draw only these pairs from now on."""
        kept = set(active)
        self.active, self.queue = active, [index for index in self.queue if index in kept]
