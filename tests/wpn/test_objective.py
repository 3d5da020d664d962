"""The loss and one training step against numbers made by hand, in float64, and the invariances."""

import copy
import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from wpn.config import Method
from wpn.data.forget import Example, Step
from wpn.models import pad_id
from wpn.objective import Models, total_loss, unlearning_terms
from wpn.train import schedule, update

BOTH = [
    Method(n_pair=1.0, cross_entropy=0.5, kl=2.0, temperature=0.7),
    Method(n_pair=1.0, cross_entropy=0.5, kl=2.0, temperature=0.1, reading="hidden"),
]


class Bigram(nn.Module):
    """A language model one can do by hand: the next token's logits are the row of a table, column 0 trained."""

    def __init__(self, table):
        super().__init__()
        self.table = nn.Parameter(torch.tensor(table, dtype=torch.float64))
        self.device = torch.device("cpu")

    def forward(self, input_ids, **_):
        return SimpleNamespace(logits=self.table[input_ids])


def test_one_training_step_by_hand():
    # Three tokens. Prompt 0; harmless response (1), harmful output (2): one token each, so every weight is 1.
    # All logits are 0: p = 1/3. s+ = s- = -log 3, so L_P = log 2, CE = log 3, KL = 0 (the model is still the frozen).
    model = Bigram([[0.0, 0.0, 0.0]] * 3)
    models = Models(model, copy.deepcopy(model), fill=0)
    step = Step([Example(([0], [1]), [([0], [2])])], [([0], [1])])
    method = Method(n_pair=1.0, cross_entropy=0.5, kl=1.0, temperature=1.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    row = update(models, optimizer, step, method)
    assert row["n_pair"] == pytest.approx(math.log(2), abs=1e-12)
    assert row["cross_entropy"] == pytest.approx(math.log(3), abs=1e-12)
    assert row["kl"] == pytest.approx(0.0, abs=1e-12)
    assert row["loss"] == pytest.approx(math.log(2) + 0.5 * math.log(3), abs=1e-12)
    # d L_P / d s- = sigmoid(0) = 1/2 = -d L_P / d s+; ds+/dlogits = e1 - p, ds-/dlogits = e2 - p.
    # gradient of row 0: 1/2 (e2 - e1) + 1/2 (p - e1) = (1/6, 1/6 - 1, 1/6 + 1/2)
    gradient = torch.tensor([1 / 6, -5 / 6, 2 / 3], dtype=torch.float64)
    norm = math.sqrt(1 / 36 + 25 / 36 + 4 / 9)
    assert row["gradient_norm"] == pytest.approx(norm, abs=1e-9)
    expected = torch.zeros(3, 3, dtype=torch.float64)
    expected[0] = -0.1 * gradient / norm  # clipped to norm 1
    assert torch.allclose(model.table.data, expected, atol=1e-6)


def test_with_reference_scores_a_margin_is_what_has_changed():
    # The frozen model gives the harmful token 3/4 and the harmless one 1/8: s+ - s- = -log 6 from the start, but
    # nothing has changed. The trained one gives them 1/4 and 5/8: the change is log 5 - log(1/3) = log 15.
    frozen, trained = (
        Bigram([[math.log(p) for p in row], [0.0] * 3, [0.0] * 3])
        for row in ((1 / 8, 1 / 8, 3 / 4), (1 / 8, 5 / 8, 1 / 4))
    )
    step = Step([Example(([0], [1]), [([0], [2])])], [])
    method = Method(n_pair=1.0, cross_entropy=0.0, kl=0.0, temperature=1.0, reference=True)
    same = unlearning_terms(Models(frozen, frozen, fill=0), step, method)["n_pair"]
    assert same.item() == pytest.approx(math.log(2), abs=1e-12)
    changed = unlearning_terms(Models(trained, frozen, fill=0), step, method)["n_pair"]
    assert changed.item() == pytest.approx(math.log(1 + 1 / 15), abs=1e-12)


def _step(tokenizer):
    texts = ["user : your garden is awful .", " thank you .", " you are a silly goat .", " the cow", "is grass"]
    rows = [tokenizer(text, add_special_tokens=False).input_ids for text in texts]
    prompt, harmless, harmful, other, text = rows
    examples = [
        Example((prompt, harmless), [(prompt, harmful), (prompt, other)]),
        Example((text, other), [(text, harmful), (text, harmless)]),
        Example((other, harmless), [(other, text), (other, harmful)]),
    ]
    return Step(examples, [(text[:1], text[1:]), (harmful[:1], harmful[1:]), (prompt[:1], prompt[1:])])


def _models(model, tokenizer):
    frozen = copy.deepcopy(model).requires_grad_(False)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))  # so that the KL term is not zero
    return Models(model, frozen, pad_id(tokenizer))


@pytest.mark.parametrize("method", BOTH, ids=["output", "hidden"])
def test_batch_order_changes_nothing(causal_lm, method):
    model, tokenizer = causal_lm
    models, step = _models(model, tokenizer), _step(tokenizer)
    loss = total_loss(unlearning_terms(models, step, method), method)
    turned = Step(step.examples[::-1], step.retain[::-1])
    assert torch.isclose(loss, total_loss(unlearning_terms(models, turned, method), method), atol=1e-9)


@pytest.mark.parametrize("method", BOTH, ids=["output", "hidden"])
@pytest.mark.parametrize("parts", [2, 3])
def test_accumulation_equals_the_large_batch(causal_lm, method, parts):
    model, tokenizer = causal_lm
    models, step = _models(model, tokenizer), _step(tokenizer)
    gradients, losses = [], []
    for accumulation in (1, parts):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
        losses.append(update(models, optimizer, step, method, accumulation)["loss"])
        gradients.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    assert losses[0] == pytest.approx(losses[1], abs=1e-9)
    for whole, accumulated in zip(*gradients, strict=True):
        assert torch.allclose(whole, accumulated, atol=1e-6)


@pytest.mark.parametrize("method", BOTH, ids=["output", "hidden"])
def test_steps_raise_the_harmless_above_the_harmful_response(causal_lm, method):
    model, tokenizer = causal_lm
    models, step = _models(model, tokenizer), _step(tokenizer)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    first = update(models, optimizer, step, method)
    for _ in range(20):
        last = update(models, optimizer, step, method)
    assert last["n_pair"] < 0.5 * first["n_pair"]
    assert last["cross_entropy"] < first["cross_entropy"]


def test_a_weight_of_zero_leaves_its_term_out(causal_lm):
    model, tokenizer = causal_lm
    models, step = _models(model, tokenizer), _step(tokenizer)
    assert set(unlearning_terms(models, step, Method(cross_entropy=1.0, kl=0.0))) == {"cross_entropy"}
    assert set(unlearning_terms(models, step, Method(cross_entropy=0.0, kl=1.0))) == {"kl"}


def test_schedule_warms_up_and_comes_down():
    rates = [schedule(step, 10, 0.2) for step in range(1, 11)]
    assert rates[:2] == [0.5, 1.0]
    assert rates[2:] == sorted(rates[2:], reverse=True)
    assert 0 < rates[-1] < 0.05
