"""Switching off what is forgotten: by hand, and in the loop."""

import copy
import math

import pytest
import torch

from benchmarks.passages import PLANTED_STOP
from tests.wpn.loops import loop
from tests.wpn.test_train import LOOP, PAIRS, PARAMS, TEXTS
from wpn import refinement as module
from wpn import train
from wpn.checkpoint import Checkpoints
from wpn.config.loading import load_params
from wpn.config.methods import Icu, Refinement
from wpn.data.forget import StepSource
from wpn.encoder import bert_score
from wpn.errors import InputError
from wpn.refinement import Refined, bleu, refine
from wpn.train import unlearn

ICU = Icu(method="icu", kl=1.0, refinement=Refinement(n=2))


def encoded(tokenizer, pairs):
    return StepSource(tokenizer, pairs, TEXTS, loop(**LOOP), ICU, seed=0).harmful


@pytest.fixture
def says(causal_lm, monkeypatch):
    """The model's continuations and memory are what a test says."""

    def set_to(answers, accuracy=1.0, extraction=1.0):
        monkeypatch.setattr(module, "continue_tokens", lambda *a, **k: [causal_lm[1](x).input_ids for x in answers])
        monkeypatch.setattr(module, "memorisation_accuracy", lambda *a: [accuracy] * 2)
        monkeypatch.setattr(module, "extraction_likelihood", lambda *a: [extraction] * 2)

    return set_to


def test_bleu_of_the_same_and_of_nothing_in_common():
    for order in (2, 4):
        assert bleu("you silly goat .", "you silly goat .", order) == pytest.approx(1.0)
        assert bleu("the cow eats grass", "you silly goat .", order) == 0.0
        assert bleu("", "you silly goat .", order) == 0.0


def test_bleu_of_a_part_by_hand():
    # of a b c d x e: 5 of 6 words, 3 of 5 pairs, 2 of 4 triples and 1 of 3 fours are in a b c d e f; as long as it
    assert bleu("a b c d x e", "a b c d e f", 4) == pytest.approx((5 / 6 * 3 / 5 * 2 / 4 * 1 / 3) ** (1 / 4))
    assert bleu("a b c d x e", "a b c d e f", 2) == pytest.approx((5 / 6 * 3 / 5) ** (1 / 2))
    # a b c: all of its 3 words, 2 pairs and 1 triple; half as long as the reference, so times exp(1 - 2)
    assert bleu("a b c", "a b c d e f", 4) == bleu("a b c", "a b c d e f", 2) == pytest.approx(math.exp(-1))


def test_bleu_without_a_common_run_of_words_is_nothing():
    # 4 of 5 words, 2 of 4 pairs, no triple; sacrebleu's smoothing would say 0.30
    assert bleu("a b x c d", "a b y c d", 4) == 0.0
    assert bleu("a b x c d", "a b y c d", 2) == pytest.approx((4 / 5 * 2 / 4) ** (1 / 2))
    assert bleu("a x b y c", "a z b w c", 2) == 0.0, "three of the words, and no two in a row"


NEARLY, GOAT = "you silly cow , go away .", "you silly goat , go away now ."


def test_bleu_of_a_short_output_with_other_words_in_it_by_hand():
    # 6 of 7 words, 3 of 6 pairs, 1 of 5 triples, no four; 7 words for 8
    assert bleu(NEARLY, GOAT, 4) == 0.0
    assert bleu(NEARLY, GOAT, 3) == pytest.approx(math.exp(-1 / 7) * (6 / 7 * 3 / 6 * 1 / 5) ** (1 / 3))
    assert bleu(NEARLY, GOAT, 2) == pytest.approx(math.exp(-1 / 7) * (6 / 7 * 3 / 6) ** (1 / 2))


@pytest.mark.parametrize("recipe", ["organism", "real", "planted passages"])
def test_a_short_output_with_other_words_in_it_is_not_forgotten_by_our_rows(recipe):
    chosen = load_params(PARAMS).recipes[recipe].methods["icu"].refinement if recipe != "planted passages" else None
    settings = chosen or PLANTED_STOP
    assert bleu(NEARLY, GOAT, settings.bleu_order) > settings.bleu_below


@pytest.mark.parametrize(("changes", "active"), [({}, [1]), ({"bleu_order": 2}, [0, 1])])
def test_a_look_asks_for_as_many_words_in_a_row_as_are_set(causal_lm, says, changes, active):
    model, tokenizer = causal_lm
    says([NEARLY, GOAT, "the cow eats grass on the hill ."])
    pairs = [{**PAIRS[0], "harmful_output": GOAT} for _ in range(3)]
    assert refine(model, tokenizer, encoded(tokenizer, pairs), Refinement(n=2, **changes), 4).active == active


def test_what_is_no_longer_said_is_switched_off(causal_lm, says):
    model, tokenizer = causal_lm
    says(["", " you goat", "", " you goat"])
    model.train()
    found = refine(model, tokenizer, encoded(tokenizer, PAIRS), Refinement(n=2), 4)
    assert model.training
    assert found == Refined(active=[1, 3], done=False)


def test_what_bertscore_no_longer_finds_is_switched_off_too(causal_lm, says):
    class Letters:  # each text is its letters a and b, as two vectors at right angles
        def tokens(self, texts):
            return [torch.tensor([[float(c == "a"), float(c == "b")] for c in text if c in "ab"]) for text in texts]

    model, tokenizer = causal_lm
    pairs = [{**PAIRS[0], "harmful_output": " a b goat"} for _ in range(3)]
    says([" a b goat", " a goat", " c goat"])  # a, b, a of goat: all of it; F1 of 2 in 2 and 2 in 3; a against a, b, a
    settings = Refinement(n=2, bleu_below=0.0, bertscore_below=0.7)
    scores = [bert_score(*Letters().tokens([said, " a b goat"])) for said in (" a b goat", " a goat", " c goat")]
    assert scores == pytest.approx([1.0, 0.8, 0.8])
    assert refine(model, tokenizer, encoded(tokenizer, pairs), settings, 4, Letters()).active == [0, 1, 2]
    settings = settings.model_copy(update={"bertscore_below": 0.9})
    assert refine(model, tokenizer, encoded(tokenizer, pairs), settings, 4, Letters()).active == [0]


@pytest.mark.parametrize(
    ("answers", "accuracy", "extraction", "done"),
    [
        ([" you goat"] * 4, 0.5, 0.04, True),  # known no better than what was never seen
        ([" you goat"] * 4, 0.6, 0.04, False),
        ([" you goat"] * 4, 0.5, 0.05, False),
        ([""] * 4, 1.0, 1.0, True),
    ],
)
def test_the_end(causal_lm, says, answers, accuracy, extraction, done):
    model, tokenizer = causal_lm
    says(answers, accuracy, extraction)
    assert refine(model, tokenizer, encoded(tokenizer, PAIRS), Refinement(n=2), 4).done == done


def test_a_window_asks_for_the_end_of_a_passage_by_what_stands_before_it(causal_lm, monkeypatch):
    asked = []

    def continued(model, tokenizer, prompts, **settings):
        asked.extend(prompts)
        return [[4, 5, 6], [9, 9, 9]]

    monkeypatch.setattr(module, "continue_tokens", continued)
    monkeypatch.setattr(module, "bleu", lambda said, reference, order: float(said == reference))
    pairs = [([0], [1, 2, 3, 4, 5, 6]), ([0, 1], [2, 3, 4, 5, 6])]
    found = refine(*causal_lm, pairs, Refinement(n=2, window=3, accuracy_below=0.0), 4)
    assert asked == [[1, 2, 3], [1, 2, 3]]
    assert found == Refined(active=[0], done=False)


def test_a_short_output_is_held_against_as_many_tokens_of_what_is_said(causal_lm, monkeypatch):
    """All outputs are gone on with for as long as the longest; what follows a shorter one says nothing of it."""
    said = [[4, 5, 6, 7], [4, 5, 6, 7]]
    monkeypatch.setattr(module, "continue_tokens", lambda *_, **settings: said)
    monkeypatch.setattr(module, "bleu", lambda said, reference, order: float(said == reference))
    pairs = [([0], [4, 5, 6, 7]), ([0, 1], [4, 5])]
    assert refine(*causal_lm, pairs, Refinement(n=2, accuracy_below=0.0), 4).active == [0, 1]


def test_what_stands_in_the_prompt_is_not_what_is_to_be_forgotten(causal_lm, monkeypatch):
    model, tokenizer = causal_lm
    seen = []
    monkeypatch.setattr(
        module, "memorisation_accuracy", lambda model, tokenizer, rows, size: [seen.append(rows) or 0.5]
    )
    monkeypatch.setattr(module, "extraction_likelihood", lambda *a: [seen.append(a[2:]) or 0.0])
    pairs = encoded(tokenizer, PAIRS)
    short = (pairs[0][0], pairs[0][1][:1])
    assert refine(model, tokenizer, [*pairs, short], Refinement(n=2, starts=[-2], bleu_below=0.0), 4).done
    assert seen == [[*pairs, short], (pairs, 2, 4, [-2])], "what has no n tokens counts only for MA"


def test_pairs_that_are_too_short_are_refused_before_training(causal_lm):
    model, tokenizer = causal_lm
    for changes, said in (
        ({"n": 40}, "no output of the forget pairs has 40 tokens for EL_n; lower `window` and `n`"),
        ({"n": 2, "window": 40}, "forget pair 1 is shorter than two windows of 40 tokens"),
        ({"n": 3, "starts": [-2]}, "no output of the forget pairs has 3 tokens for EL_n"),
    ):
        method = ICU.model_copy(update={"refinement": Refinement(**changes)})
        with pytest.raises(InputError, match=said):
            unlearn(model, tokenizer, PAIRS, TEXTS, loop(**LOOP), method, 0, lambda row: None)


def test_a_look_that_fails_leaves_the_mode(causal_lm, monkeypatch):
    model, tokenizer = causal_lm

    def full(*arguments, **settings):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(module, "continue_tokens", full)
    model.train()
    with pytest.raises(torch.OutOfMemoryError):
        refine(model, tokenizer, encoded(tokenizer, PAIRS), Refinement(n=2), 4)
    assert model.training


@pytest.mark.parametrize(
    ("last", "why"),
    [
        (Refined([], True), "all is forgotten: no pair is said any more"),
        (Refined([2], True), "all is forgotten: MA and EL_n are under their bounds"),
    ],
)
def test_the_loop_narrows_and_stops(causal_lm, monkeypatch, caplog, last, why):
    looks = [Refined([2], False), Refined([2], False), last]
    drawn = []
    monkeypatch.setattr(train, "refine", lambda *a: looks.pop(0))
    monkeypatch.setattr(train, "StepSource", source := type("Source", (StepSource,), {}))
    draw = source.draw
    source.draw = lambda self, foresee=False: (draw(self, foresee), drawn.append(self.drawn_pairs))[0]
    rows = []
    trained = unlearn(
        copy.deepcopy(causal_lm[0]), causal_lm[1], PAIRS, TEXTS, loop(**LOOP | {"steps": 9}), ICU, 0, rows.append
    )
    assert sorted(drawn[0]) == [0, 1, 2, 3]
    assert drawn[1:] == [[2] * 4] * 2
    assert trained.steps == len(rows) == 3
    assert trained.stopped == why and f"stopped after step 3 of 9: {why}" in caplog.text


def test_a_look_follows_an_epoch_of_the_pairs_that_the_last_one_left(causal_lm, monkeypatch, tmp_path):
    asked, steps = [], []

    def look(model, tokenizer, pairs, *rest):
        asked.append(len(steps))
        return Refined([0, 1, 2], False)

    monkeypatch.setattr(train, "refine", look)
    chosen = loop(**LOOP | {"steps": 12, "batch_size": 1})

    def run(log, checkpoints=None):
        unlearn(copy.deepcopy(causal_lm[0]), causal_lm[1], PAIRS, TEXTS, chosen, ICU, 0, log, checkpoints)

    run(steps.append)
    assert len(PAIRS) == 4
    assert asked == [4, 7, 10], "every 4 and then every 3 steps, not at the multiples of 3"

    def die(row):
        steps.append(row)
        if row["step"] == 6:
            raise KeyboardInterrupt

    asked.clear()
    steps.clear()
    checkpoints = Checkpoints(tmp_path / "run", "mine", every=5)
    with pytest.raises(KeyboardInterrupt):
        run(die, checkpoints)
    steps.clear()
    run(steps.append, checkpoints)
    assert asked == [4, 7, 10], "also of a run that was taken up"
