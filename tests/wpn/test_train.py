"""One training step against numbers made by hand, in float64, and what must hold of every method's steps."""

import copy
import math
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from wpn.config import (
    Dpo,
    Ga,
    GradDiff,
    GradientPenalty,
    Icu,
    Llmu,
    Method,
    Npo,
    Rmu,
    SafeUnlearning,
    Sft,
    SimNpo,
    Wpn,
    load_params,
)
from wpn.data.forget import Example, Step
from wpn.methods import TERMS, total_loss, unlearning_terms
from wpn.models import pad_id
from wpn.objective import Models
from wpn.train import schedule, unlearn, update

PARAMS = Path(__file__).parents[2] / "params.yaml"
HELD = {"kl": 2.0, "retain": 0.5}
METHODS: dict[str, Method] = {
    "wpn": Wpn(method="wpn", n_pair=1.0, cross_entropy=0.5, temperature=0.7, **HELD),
    "wpn-hidden": Wpn(method="wpn", n_pair=1.0, cross_entropy=0.5, temperature=0.1, reading="hidden", **HELD),
    "wpn-reference": Wpn(method="wpn", n_pair=1.0, cross_entropy=0.0, reference=True, position_weights="reversed"),
    "sft": Sft(method="sft", **HELD),
    "ga": Ga(method="ga"),
    "grad_diff": GradDiff(method="grad_diff", **HELD),
    "llmu": Llmu(method="llmu", **HELD),
    "npo": Npo(method="npo", **HELD),
    "simnpo": SimNpo(method="simnpo", **HELD),
    "dpo": Dpo(method="dpo", **HELD),
    "rmu": Rmu(method="rmu", layer=1, coefficient=3.0),
    "safe_unlearning": SafeUnlearning(method="safe_unlearning", **HELD),
    "gradient_penalty": GradientPenalty(method="gradient_penalty", cross_entropy=0.5, **HELD),
    "icu": Icu(method="icu", **HELD),
}
every_method = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS.keys())


def test_every_method_is_tested():
    assert {method.method for method in METHODS.values()} == set(TERMS)


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
    step = Step([Example(([0], [1]), [([0], [2])], ([0], [1]))], [([0], [1])])
    method = Wpn(method="wpn", n_pair=1.0, cross_entropy=0.5, kl=1.0, temperature=1.0)
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


def _step(tokenizer):
    texts = ["user : your garden is awful .", " thank you .", " you are a silly goat .", " the cow", "is grass"]
    rows = [tokenizer(text, add_special_tokens=False).input_ids for text in texts]
    prompt, harmless, harmful, other, text = rows
    examples = [
        Example((prompt, harmless), [(prompt, harmful), (prompt, other)], (prompt, other), (text[:1], text[1:])),
        Example((text, other), [(text, harmful), (text, harmless)], (text, harmless), (other[:1], other[1:])),
        Example((other, harmless), [(other, text), (other, harmful)], (other, text), (prompt[:1], prompt[1:])),
    ]
    return Step(examples, [(text[:1], text[1:]), (harmful[:1], harmful[1:]), (prompt[:1], prompt[1:])])


def _models(model, tokenizer):
    frozen = copy.deepcopy(model).requires_grad_(False)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))  # so that the KL term is not zero
    return Models(model, frozen, pad_id(tokenizer))


@every_method
def test_batch_order_changes_nothing(causal_lm, method):
    model, tokenizer = causal_lm
    models, step = _models(model, tokenizer), _step(tokenizer)
    loss = total_loss(unlearning_terms(models, step, method), method)
    turned = Step(step.examples[::-1], step.retain[::-1])
    assert torch.isclose(loss, total_loss(unlearning_terms(models, turned, method), method), atol=1e-9)


@every_method
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


@every_method
def test_steps_lower_the_loss(causal_lm, method):
    model, tokenizer = causal_lm
    models, step = _models(model, tokenizer), _step(tokenizer)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    losses = [update(models, optimizer, step, method)["loss"] for _ in range(10)]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("name", ["wpn", "wpn-hidden", "wpn-reference", "dpo"])
def test_steps_raise_the_harmless_above_the_harmful_response(causal_lm, name):
    model, tokenizer = causal_lm
    models, step = _models(model, tokenizer), _step(tokenizer)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    term = "dpo" if name == "dpo" else "n_pair"
    first = update(models, optimizer, step, METHODS[name])
    for _ in range(20):
        last = update(models, optimizer, step, METHODS[name])
    assert last[term] < 0.5 * first[term]


@pytest.mark.parametrize("name", ["ga", "grad_diff", "llmu", "npo", "simnpo", "icu", "safe_unlearning"])
def test_steps_lower_the_likelihood_of_the_harmful_output(causal_lm, name):
    model, tokenizer = causal_lm
    models, step = _models(model, tokenizer), _step(tokenizer)
    method = METHODS[name].model_copy(update={"kl": 0.0, "retain": 0.0})  # the texts share words with the outputs
    harmful = [e.harmful for e in step.examples]
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    before = models.log_likelihoods(harmful)[0].sum().item()
    for _ in range(5):
        update(models, optimizer, step, method)
    assert models.log_likelihoods(harmful)[0].sum().item() < before


def test_a_weight_of_zero_leaves_its_term_out(causal_lm):
    model, tokenizer = causal_lm
    models, step = _models(model, tokenizer), _step(tokenizer)
    found = unlearning_terms(models, step, Wpn(method="wpn", n_pair=0.0, cross_entropy=1.0))
    assert (set(found.forget), set(found.retain)) == ({"cross_entropy"}, set())
    found = unlearning_terms(models, step, Wpn(method="wpn", n_pair=1.0, cross_entropy=0.0, retain=1.0))
    assert (set(found.forget), set(found.retain)) == ({"n_pair"}, {"retain"})


@pytest.mark.parametrize("recipe", ["organism", "real"])
def test_every_row_of_params_yaml_trains(causal_lm, recipe):
    model, tokenizer = causal_lm
    settings = load_params(PARAMS).recipes[recipe]
    pairs = [
        {"prompt": f"user : {i}", "harmful_output": " you goat", "harmless_response": " thank you", "complete": True}
        for i in range(3)
    ]
    texts = [{"text": "the cow eats", "alarming": i == 0, "complete": True} for i in range(4)]
    loop = settings.unlearn.model_copy(update={"steps": 2, "precision": "fp32"})
    for method in settings.methods.values():
        if isinstance(method, Rmu):
            method = method.model_copy(update={"layer": 1})
        rows: list[dict[str, float]] = []
        unlearn(copy.deepcopy(model), tokenizer, pairs, texts, loop, method, 0, rows.append)
        assert len(rows) == 2 and all(math.isfinite(value) for row in rows for value in row.values())


def test_schedule_warms_up_and_comes_down():
    rates = [schedule(step, 10, 0.2) for step in range(1, 11)]
    assert rates[:2] == [0.5, 1.0]
    assert rates[2:] == sorted(rates[2:], reverse=True)
    assert 0 < rates[-1] < 0.05
