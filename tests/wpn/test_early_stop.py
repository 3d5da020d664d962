"""What is held out, when training stops, and which weights are kept."""

import copy
import math

import pytest
import torch

from tests.wpn.loops import loop
from tests.wpn.test_methods import UNIFORM, Bigram
from tests.wpn.test_train import LOOP, METHODS, PAIRS, TEXTS
from wpn.config.methods import Refinement
from wpn.config.training import EarlyStop
from wpn.data.forget import Example, Step
from wpn.early_stop import LOOKED_AT, Split, Watch, held_out
from wpn.errors import InputError
from wpn.methods import total_loss, unlearning_terms
from wpn.models import pad_id
from wpn.objective import Models
from wpn.train import unlearn

STOP = EarlyStop(every=2, patience=2, share=0.25)


def test_prompts_are_held_out_with_all_their_pairs():
    pairs = [{"prompt": name} for name in "aabbccdd"]
    texts = [{"text": str(i)} for i in range(8)]
    assert held_out(pairs, texts, 0.25) == Split([2, 3, 4, 5, 6, 7], [1, 2, 3, 5, 6, 7], [0, 1], [0, 4])


def test_a_mistyped_prompt_is_held_out_with_the_one_that_it_was():
    pairs = [{"prompt": f"{name}{i}", "written": name} for name in "abcd" for i in range(2)]
    pairs[0] = {"prompt": "a"}  # this one was not mistyped
    texts = [{"text": str(i)} for i in range(8)]
    assert held_out(pairs, texts, 0.25) == Split([2, 3, 4, 5, 6, 7], [1, 2, 3, 5, 6, 7], [0, 1], [0, 4])


def test_something_is_always_left_on_both_sides():
    pairs, texts = [{"prompt": "a"}, {"prompt": "b"}], [{"text": "0"}, {"text": "1"}]
    assert held_out(pairs, texts, 0.01) == held_out(pairs, texts, 0.49) == Split([1], [1], [0], [0])
    with pytest.raises(InputError, match="1 prompts and 2 texts leave nothing to hold out; drop early_stop"):
        held_out(pairs[:1], texts, 0.1)


def watch(causal_lm, method=METHODS["wpn"]):
    model = copy.deepcopy(causal_lm[0])
    models = Models(model, causal_lm[0], pad_id(causal_lm[1]))
    return model, Watch(models, causal_lm[1], PAIRS, TEXTS, loop(**LOOP | {"batch_size": 2}), STOP, method)


def test_it_looks_at_the_pairs_that_the_method_learns_from(causal_lm):
    harm = METHODS["wpn"].model_copy(update={"position_weights": "harm", "in_batch_negatives": 0})
    copied = {**PAIRS[0], "prompt": "a goat ?"}  # says the word in which the harm is
    models = Models(causal_lm[0], causal_lm[0], pad_id(causal_lm[1]))
    mixed = Watch(models, causal_lm[1], [copied, *PAIRS[1:]], TEXTS, loop(), STOP, harm)
    contexts = [context for example in mixed.step.examples for context, _ in example.rows]
    said = causal_lm[1].batch_decode(contexts, skip_special_tokens=True)
    assert set(said) == {pair["prompt"] for pair in PAIRS[1:]}
    with pytest.raises(InputError, match=r"every held-out harmful output only repeats .* drop early_stop"):
        Watch(models, causal_lm[1], [copied], TEXTS, loop(), STOP, harm)


def test_patience_counts_looks_since_the_best(causal_lm, monkeypatch):
    _, seen = watch(causal_lm)
    losses = iter([3.0, 2.0, 2.5, 2.0, 9.0])
    monkeypatch.setattr(seen, "loss", lambda _: next(losses))
    assert [seen.worse(number, 1) for number in (2, 4, 6, 8)] == [False, False, False, True]
    assert (seen.best, seen.best_step) == (2.0, 4)


def test_the_best_weights_come_back(causal_lm, monkeypatch):
    model, seen = watch(causal_lm)
    losses = iter([1.0, 2.0])
    monkeypatch.setattr(seen, "loss", lambda _: next(losses))
    seen.worse(2, 1)
    best = [parameter.clone() for parameter in model.parameters()]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    seen.worse(4, 1)
    seen.restore()
    assert all(torch.equal(one, other) for one, other in zip(best, model.parameters(), strict=True))


def test_what_is_looked_at_by_hand():
    # After prompt 0 the harmless response 1 1 has 1/2 and 1/8, whose geometric mean is 1/4, and the harmful output 2
    # has 1/8. On the text 0 1 the uniform model has diverged after 0.
    table = [[1 / 4, 1 / 2, 1 / 8, 1 / 8], [5 / 8, *[1 / 8] * 3], *UNIFORM[2:]]
    step = Step([Example(([0], [1, 1]), [([0], [2])])], [([0], [1])])
    terms = unlearning_terms(Models(Bigram(table), Bigram(UNIFORM), fill=0), step, LOOKED_AT)
    divergence = (math.log(1) + math.log(1 / 2) + 2 * math.log(2)) / 4
    assert total_loss(terms, LOOKED_AT).item() == pytest.approx(math.log(1 + 1 / 2) + divergence, abs=1e-12)


def test_no_more_is_looked_at_at_a_time_than_training_has(causal_lm, monkeypatch):
    _, seen = watch(causal_lm)  # four pairs, of which training takes two
    sizes = []

    def terms(models, part, method):
        sizes.append(len(part.examples))
        return unlearning_terms(models, part, method)

    monkeypatch.setattr("wpn.early_stop.unlearning_terms", terms)
    assert seen.loss(2) == pytest.approx(seen.loss(1), abs=1e-12)
    assert sizes == [1, 1, 1, 1, 2, 2]


def test_what_is_held_out_is_looked_at_and_in_halves_where_the_memory_is_short(causal_lm, monkeypatch, caplog):
    seen, sizes = [], []

    def watching(models, tokenizer, pairs, texts, *rest):
        seen.append((pairs, texts))
        return Watch(models, tokenizer, pairs, texts, *rest)

    def terms(models, part, method):
        sizes.append(len(part.examples))
        if sizes[-1] > 1:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return unlearning_terms(models, part, method)

    monkeypatch.setattr("wpn.train.Watch", watching)
    monkeypatch.setattr("wpn.early_stop.unlearning_terms", terms)
    unlearned(causal_lm, steps=1, batch_size=2, early_stop=EarlyStop(every=1, patience=9, share=0.49))
    split = held_out(PAIRS, TEXTS, 0.49)
    assert seen == [([PAIRS[i] for i in split.looked_pairs], [TEXTS[i] for i in split.looked_texts])]
    assert sizes == [2, 1, 1] and "memory" in caplog.text


def test_pairs_without_a_harmless_response_are_refused(causal_lm):
    models = Models(causal_lm[0], causal_lm[0], pad_id(causal_lm[1]))
    passages = [{**PAIRS[0], "harmless_response": ""}]
    with pytest.raises(InputError, match=r"no harmless response to compare its output with; drop early_stop"):
        Watch(models, causal_lm[1], passages, TEXTS, loop(), STOP, METHODS["ga"])


def test_what_is_looked_at_is_the_same_for_every_method_and_leaves_the_model_alone(causal_lm):
    model, seen = watch(causal_lm)
    model.train()
    before = copy.deepcopy(model.state_dict())
    assert all(watch(causal_lm, method)[1].loss() == seen.loss() for method in METHODS.values())
    assert model.training and all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(before[name], weights) for name, weights in model.state_dict().items())


@pytest.mark.parametrize("name", ["sft", "ga"])
def test_a_model_that_breaks_stops_even_where_its_own_loss_falls_for_ever(causal_lm, caplog, name):
    rows = []
    chosen = loop(**LOOP | {"steps": 40, "learning_rate": 10.0, "early_stop": STOP})
    trained = unlearn(copy.deepcopy(causal_lm[0]), causal_lm[1], PAIRS, TEXTS, chosen, METHODS[name], 0, rows.append)
    assert trained.steps == len(rows) < 40
    assert trained.stopped == f"no better since step {trained.steps - 4}"
    assert f"stopped after step {trained.steps} of 40: {trained.stopped}" in caplog.text


def unlearned(causal_lm, method=METHODS["sft"], **changes):
    """The weights after the loop."""
    model = copy.deepcopy(causal_lm[0])
    unlearn(model, causal_lm[1], PAIRS, TEXTS, loop(**LOOP | changes), method, 0, lambda row: None)
    return model.state_dict()


def same(first, second):
    return all(torch.equal(first[name], weights) for name, weights in second.items())


def test_the_last_step_is_looked_at_whatever_the_steps_between_two_looks(causal_lm):
    seldom = EarlyStop(every=10, patience=2, share=0.25)
    learned = unlearned(causal_lm, steps=4, early_stop=seldom)
    assert not same(learned, causal_lm[0].state_dict())
    assert same(learned, unlearned(causal_lm, steps=4, early_stop=seldom.model_copy(update={"every": 4})))


def test_what_is_forgotten_stays_so_whatever_was_better_before(causal_lm, monkeypatch):
    losses = iter([1.0, 2.0])
    monkeypatch.setattr(Watch, "loss", lambda self, accumulation=1: next(losses))
    refinement = Refinement(n=2, bleu_below=1.0)  # at the first look, after the third step
    chosen = {"steps": 9, "batch_size": 1, "early_stop": EarlyStop(every=1, patience=9, share=0.25)}
    forgotten = unlearned(causal_lm, METHODS["icu"].model_copy(update={"refinement": refinement}), **chosen)
    with pytest.raises(StopIteration):
        next(losses)
    monkeypatch.setattr(Watch, "loss", lambda self, accumulation=1: 1.0)
    best = unlearned(causal_lm, METHODS["icu"].model_copy(update={"refinement": None}), **chosen)
    assert not same(forgotten, best), "the weights of the first step, which no later one bettered"
    assert not same(forgotten, causal_lm[0].state_dict())
