"""What is held out, when training stops, and which weights are kept."""

import copy

import pytest
import torch

from tests.wpn.loops import loop
from tests.wpn.test_train import LOOP, METHODS, PAIRS, TEXTS, every_method
from wpn.config import EarlyStop
from wpn.early_stop import Watch, held_out
from wpn.errors import InputError
from wpn.models import pad_id
from wpn.objective import Models
from wpn.train import unlearn

STOP = EarlyStop(every=2, patience=2, share=0.25)


def test_prompts_are_held_out_with_all_their_pairs():
    pairs = [{"prompt": name} for name in "aabbccdd"]
    texts = [{"text": str(i)} for i in range(8)]
    kept, retained, looked_pairs, looked_texts = held_out(pairs, texts, 0.25)
    assert [pair["prompt"] for pair in looked_pairs] == ["a", "a"]
    assert [pair["prompt"] for pair in kept] == list("bbccdd")
    assert [text["text"] for text in looked_texts] == ["0", "4"]
    assert len(retained) == 6


def test_something_is_always_left_on_both_sides():
    pairs, texts = [{"prompt": "a"}, {"prompt": "b"}], [{"text": "0"}, {"text": "1"}]
    assert [len(part) for part in held_out(pairs, texts, 0.01)] == [1, 1, 1, 1]
    assert [len(part) for part in held_out(pairs, texts, 0.49)] == [1, 1, 1, 1]
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
    monkeypatch.setattr(seen, "loss", lambda: next(losses))
    assert [seen.worse(number) for number in (2, 4, 6, 8)] == [False, False, False, True]
    assert (seen.best, seen.best_step) == (2.0, 4)


def test_the_best_weights_come_back(causal_lm, monkeypatch):
    model, seen = watch(causal_lm)
    losses = iter([1.0, 2.0])
    monkeypatch.setattr(seen, "loss", lambda: next(losses))
    seen.worse(2)
    best = [parameter.clone() for parameter in model.parameters()]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    seen.worse(4)
    seen.restore()
    assert all(torch.equal(one, other) for one, other in zip(best, model.parameters(), strict=True))


@every_method
def test_the_held_out_loss_is_of_every_method_and_leaves_the_model_alone(causal_lm, method):
    model, seen = watch(causal_lm, method)
    model.train()
    before = copy.deepcopy(model.state_dict())
    assert seen.loss() == seen.loss()
    assert model.training and all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(before[name], weights) for name, weights in model.state_dict().items())


def test_a_loss_that_only_rises_stops_with_the_first_weights_looked_at(causal_lm, caplog):
    # ascent is without bound, so its held-out loss falls for ever; a rate of 10 breaks sft at once
    rows = []
    chosen = loop(**LOOP | {"steps": 40, "learning_rate": 10.0, "early_stop": STOP})
    trained = unlearn(copy.deepcopy(causal_lm[0]), causal_lm[1], PAIRS, TEXTS, chosen, METHODS["sft"], 0, rows.append)
    assert trained.steps == len(rows) < 40
    assert f"stopped after step {trained.steps} of 40: no better since step {trained.steps - 4}" in caplog.text
