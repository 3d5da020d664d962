"""One training step against numbers made by hand, in float64, and what must hold of every method's steps."""

import copy
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from tests.wpn.loops import loop
from wpn.checkpoint import Checkpoints
from wpn.config.loading import load_params
from wpn.config.methods import (
    Dpo,
    Ga,
    GradDiff,
    GradientPenalty,
    Icu,
    Llmu,
    Method,
    Npo,
    Refinement,
    Rmu,
    SafeUnlearning,
    Sft,
    SimNpo,
    Wpn,
)
from wpn.config.training import Attack, EarlyStop, Lora, RelearningAware
from wpn.data.forget import Example, Step, StepSource
from wpn.early_stop import Watch
from wpn.errors import InputError
from wpn.freeze import train_only_feed_forward
from wpn.methods import TERMS, total_loss, unlearning_terms
from wpn.models import pad_id
from wpn.objective import Models
from wpn.refinement import Refined
from wpn.relearn import harmful_step, relearned
from wpn.train import schedule, unlearn, update

PARAMS = Path(__file__).parents[2] / "params.yaml"
HELD = {"kl": 2.0, "retain": 0.5}
NEVER_FORGOTTEN = Refinement(n=2, bleu_below=0.0, accuracy_below=0.0)
METHODS: dict[str, Method] = {
    "wpn": Wpn(method="wpn", n_pair=1.0, cross_entropy=0.5, temperature=0.7, **HELD),
    "wpn-hidden": Wpn(method="wpn", n_pair=1.0, cross_entropy=0.5, temperature=0.1, reading="hidden", **HELD),
    "wpn-reference": Wpn(method="wpn", n_pair=1.0, cross_entropy=0.0, reference=True, position_weights="reversed"),
    "wpn-harm": Wpn(method="wpn", n_pair=1.0, cross_entropy=0.5, position_weights="harm", **HELD),
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
    "icu": Icu(method="icu", refinement=NEVER_FORGOTTEN, **HELD),
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
    examples = [replace(e, harm=[range(1, len(counted) + 1) for _, counted in e.negatives]) for e in examples]
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
    step = Step(step.examples, [*step.retain, *step.retain[:1]])  # as many micro-batches, of other sizes
    _same_however_cut(models, step, method, parts)


@every_method
def test_examples_that_fit_are_learnt_from_though_padded_to_one_length_they_do_not(causal_lm, method):
    """Footgun: GPT-Neo breaks where padding passes its last position. The gradient is the one of each by itself."""
    models = _models(*causal_lm)
    short, long = [5, 6, 7], [8, *range(5, 15)] * 3
    pairs = [(long, [short, short[1:]], long[:4]), (short, [long, long[3:]], short[::-1])]
    step = Step(
        [
            Example(
                (prompt, answers[0]), [(prompt, answer) for answer in answers], (prompt, answers[0][::-1]),
                (text[:1], text[1:]), [range(1, len(answer) + 1) for answer in answers],
            )
            for prompt, answers, text in pairs
        ],
        [(short, long), (long, short)],
    )  # fmt: skip
    assert len(long + short) <= models.trained.config.max_position_embeddings < len(long + long)
    _same_however_cut(models, step, method, parts=2)


def _same_however_cut(models, step, method, parts):
    gradients, rows = [], []
    for accumulation in (1, parts):
        optimizer = torch.optim.SGD(models.trained.parameters(), lr=0.0)
        rows.append(update(models, optimizer, step, method, accumulation))
        gradients.append([p.grad.clone() for p in models.trained.parameters() if p.grad is not None])
    # the row has the norm of the gradient before it is clipped, which would hide a factor
    assert rows[0] == pytest.approx(rows[1], abs=1e-6, rel=1e-6) and rows[0]["gradient_norm"] > 0
    for whole, accumulated in zip(*gradients, strict=True):
        assert torch.allclose(whole, accumulated, atol=1e-6)


@every_method
@pytest.mark.parametrize("bf16", [False, True])
def test_both_models_and_the_foreseen_attack_run_in_the_precision_that_is_asked_for(causal_lm, method, bf16):
    model, tokenizer = causal_lm[0].float(), causal_lm[1]
    models, step, seen = replace(_models(model, tokenizer), bf16=bf16), _step(tokenizer), set()
    for each in (models.trained, models.frozen):
        each.get_output_embeddings().register_forward_hook(lambda _, __, logits: seen.add(logits.dtype))
    aware = RelearningAware(optimizer="sgd", learning_rate=1e-2, steps=1, batch_size=3, begin=0.0, weight=1.0)
    foreseen = Step(step.examples, step.retain, [[e.harmful for e in step.examples]])
    method = method.model_copy(update={"relearning_aware": aware})
    update(models, torch.optim.SGD(model.parameters(), lr=0.1), foreseen, method)
    assert seen == {torch.bfloat16 if bf16 else torch.float32}
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())


@every_method
def test_steps_lower_the_loss(causal_lm, method):
    model, tokenizer = causal_lm
    models, step = _models(model, tokenizer), _step(tokenizer)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    losses = [update(models, optimizer, step, method)["loss"] for _ in range(10)]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("name", ["wpn", "wpn-hidden", "wpn-reference", "wpn-harm", "dpo"])
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


@every_method
def test_what_is_foreseen_leaves_the_weights_where_they_are_and_changes_the_gradient(causal_lm, method):
    model, tokenizer = causal_lm
    models, step = _models(model, tokenizer), _step(tokenizer)
    aware = RelearningAware(optimizer="adamw", learning_rate=1e-2, steps=3, batch_size=2, begin=0.0, weight=2.0)
    method = method.model_copy(update={"relearning_aware": aware})
    foreseen = Step(step.examples, step.retain, [[e.harmful for e in step.examples]] * 3)
    gradients, before = [], [p.clone() for p in model.parameters()]
    for each in (step, foreseen):
        row = update(models, torch.optim.SGD(model.parameters(), lr=0.0), each, method)
        gradients.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    assert all(torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))
    assert any(not torch.equal(one, other) for one, other in zip(*gradients, strict=True))
    assert "foreseen" in row


def test_the_foreseen_gradient_by_hand():
    # One attacker's step of SGD on the bigram model, prompt 0, harmful output 2, p = 1/3: the gradient of its loss is
    # p - e2, clipped to length 1 (its own is sqrt(6)/3 < 1), so row 0 goes to -0.5 (1/3, 1/3, -2/3).
    model = Bigram([[0.0, 0.0, 0.0]] * 3)
    models = Models(model, copy.deepcopy(model), fill=0)
    step = Step([Example(([0], [1]), [([0], [2])], ([0], [1]))], [([0], [1])], [[([0], [2])]])
    aware = RelearningAware(optimizer="sgd", learning_rate=0.5, steps=1, batch_size=1, begin=0.0, weight=3.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    row = update(models, optimizer, step, Sft(method="sft", relearning_aware=aware))
    moved = torch.tensor([-1 / 6, -1 / 6, 1 / 3], dtype=torch.float64)
    wanted = torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64)
    gradient = (torch.full((3,), 1 / 3, dtype=torch.float64) - wanted) + 3.0 * (moved.softmax(0) - wanted)
    assert row["foreseen"] == pytest.approx(-moved.log_softmax(0)[1].item(), abs=1e-12)
    assert row["gradient_norm"] == pytest.approx(gradient.norm().item(), abs=1e-9)
    assert torch.equal(model.table, torch.zeros(3, 3, dtype=torch.float64))
    slow = Sft(method="sft", relearning_aware=aware.model_copy(update={"learning_rate": 0.1}))
    drawn = update(models, optimizer, replace(step, foreseen_rate=0.5), slow)
    assert drawn == row, "the rate that is drawn counts"
    held = update(models, optimizer, step, Sft(method="sft", relearning_aware=aware, retain=5.0))
    assert held["foreseen"] == row["foreseen"], "benign texts are retained where the model is, not where it would be"


PAIRS = [
    {
        "prompt": f"user : {i}", "harmful_output": " you goat", "word_harm": [0.1, 0.9],
        "harmless_response": " thank you", "complete": True,
    }
    for i in range(4)
]  # fmt: skip
TEXTS = [{"text": f"the cow eats {i}", "alarming": i == 0, "complete": True} for i in range(4)]


LOOP = {"steps": 4, "batch_size": 4, "retain_batch_size": 4, "forced_start": 0.2}


def _trained(causal_lm, method=METHODS["wpn"], checkpoints=None, **changes):
    """The weights after training a copy, by name."""
    model = copy.deepcopy(causal_lm[0])
    unlearn(model, causal_lm[1], PAIRS, TEXTS, loop(**LOOP | changes), method, 0, lambda row: None, checkpoints)
    return model.state_dict()


def test_every_step_has_the_rate_of_the_schedule_and_a_method_its_own(causal_lm):
    used = []

    def note(optimizer, *_):
        used.append((optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["weight_decay"]))

    handle = register_optimizer_step_pre_hook(note)
    try:
        _trained(causal_lm, METHODS["sft"].model_copy(update={"learning_rate": 0.02}), warmup=0.5, weight_decay=0.3)
        _trained(causal_lm, METHODS["sft"], steps=1, learning_rate=0.01, warmup=0.0)
    finally:
        handle.remove()
    own = [(pytest.approx(0.02 * schedule(number, 4, 0.5)), 0.3) for number in range(1, 5)]
    assert used == [*own, (pytest.approx(0.01 * schedule(1, 1, 0.0)), loop().weight_decay)]


def test_nothing_is_foreseen_before_its_share_of_the_steps(causal_lm):
    aware = RelearningAware(optimizer="adamw", learning_rate=1e-3, steps=3, batch_size=2, begin=0.5, weight=1.0)
    rows = []
    method = METHODS["sft"].model_copy(update={"relearning_aware": aware})
    unlearn(copy.deepcopy(causal_lm[0]), causal_lm[1], PAIRS, TEXTS, loop(**LOOP), method, 0, rows.append)
    assert ["foreseen" in row for row in rows] == [False, False, True, True]


def test_the_model_is_trained_with_dropout_and_the_frozen_one_without(causal_lm, monkeypatch):
    modes = set()

    def terms(models, step, method):
        modes.add((models.trained.training, models.frozen.training))
        return unlearning_terms(models, step, method)

    monkeypatch.setattr("wpn.train.unlearning_terms", terms)
    _trained(causal_lm)
    assert modes == {(True, False)}


def test_gradient_checkpointing_changes_nothing_but_the_memory(causal_lm):
    plain, checkpointed = (_trained(causal_lm, gradient_checkpointing=flag) for flag in (False, True))
    for name, weights in plain.items():
        assert torch.allclose(weights, checkpointed[name], atol=1e-9)


def test_adapters_are_merged_and_move_only_the_linear_layers(causal_lm):
    model, _ = causal_lm
    before = {name: weights.clone() for name, weights in model.state_dict().items()}
    after = _trained(causal_lm, lora=Lora(rank=2, alpha=4), learning_rate=1e-2)
    assert before.keys() == after.keys()
    linear = {f"{name}.weight" for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved and moved <= linear - {"lm_head.weight"}
    for name in moved:  # the change is of the rank of the adapter
        assert torch.linalg.matrix_rank(after[name] - before[name], atol=1e-9) <= 2


def test_only_the_feed_forward_layers_move_where_only_they_are_trained(causal_lm):
    model, tokenizer = causal_lm
    before = {name: weights.clone() for name, weights in model.state_dict().items()}
    trained = copy.deepcopy(model)
    settings = loop(**LOOP, weights="feed_forward")
    unlearn(trained, tokenizer, PAIRS, TEXTS, settings, METHODS["wpn"], 0, lambda row: None)
    moved = {name for name, weights in trained.state_dict().items() if not torch.equal(before[name], weights)}
    of_layers = {name for name in before if any(part in name for part in (".fc1.", ".fc2.", ".mlp."))}
    assert moved == of_layers and len(moved) >= 4
    assert all(parameter.requires_grad for parameter in trained.parameters()), "afterwards all can be trained again"


def test_an_architecture_without_known_feed_forward_layers_is_refused():
    with pytest.raises(InputError, match=r"no feed-forward layer of Linear is known .* set unlearn.weights to all"):
        train_only_feed_forward(nn.Linear(2, 2))


def test_adapters_and_a_choice_of_weights_exclude_each_other():
    with pytest.raises(ValueError, match="with lora, weights is all, not feed_forward"):
        loop(lora=Lora(rank=2, alpha=4), weights="feed_forward")


def test_a_loss_that_is_not_finite_names_step_rows_and_checkpoint(causal_lm, tmp_path):
    model, _ = causal_lm
    broken = copy.deepcopy(model)
    with torch.no_grad():
        next(broken.parameters())[:] = math.nan
    checkpoints = Checkpoints(tmp_path, "mine", every=1)
    with pytest.raises(FloatingPointError) as error:
        unlearn(broken, causal_lm[1], PAIRS, TEXTS, loop(**LOOP), METHODS["sft"], 0, lambda row: None, checkpoints)
    assert str(error.value) == (
        "loss, cross_entropy, retain, kl, gradient_norm not finite at step 1 (rows 1, 2, 3, 4 of the forget pairs, "
        "1, 2, 3, 4 of the texts); the last checkpoint is none; lower the learning rate, or look at these rows"
    )


def test_the_rows_that_are_named_are_those_of_the_file_though_some_are_held_out(causal_lm):
    broken = copy.deepcopy(causal_lm[0])
    with torch.no_grad():
        next(broken.parameters())[:] = math.nan
    stop = EarlyStop(every=1, patience=1, share=0.25)  # the first pair and the first text
    settings = loop(**LOOP | {"batch_size": 3, "early_stop": stop})
    with pytest.raises(FloatingPointError, match=r"rows 2, 3, 4 of the forget pairs, (2|3|4)[234, ]* of the texts"):
        unlearn(broken, causal_lm[1], PAIRS, TEXTS, settings, METHODS["sft"], 0, lambda row: None)


def _rows_said(causal_lm, method, texts=TEXTS, **changes):
    """What a model whose weights are lost says of the rows of its first step."""
    broken = copy.deepcopy(causal_lm[0])
    with torch.no_grad():
        next(broken.parameters())[:] = math.nan
    with pytest.raises(FloatingPointError) as error:
        unlearn(broken, causal_lm[1], PAIRS, texts, loop(**LOOP | changes), method, 0, lambda row: None)
    return str(error.value).partition(" (rows ")[2].partition("); ")[0]


def test_icu_names_the_neighbours_and_not_the_texts_that_it_never_reads(causal_lm):
    said = _rows_said(causal_lm, METHODS["icu"], TEXTS[::-1], batch_size=1)  # the text with the pair's number
    assert said in [f"{i} of the forget pairs, {5 - i} of the texts" for i in (1, 2, 3, 4)]


def test_a_method_that_reads_no_text_names_none(causal_lm):
    assert _rows_said(causal_lm, METHODS["ga"]) == "1, 2, 3, 4 of the forget pairs, none of the texts"


def test_llmu_names_the_pair_whose_answer_it_takes_from_outside_the_step(causal_lm):
    taught = _rows_said(causal_lm, METHODS["llmu"], batch_size=1).partition(" of")[0]
    assert taught in ("1, 2", "2, 3", "3, 4", "1, 4")  # the pair and the one after it


def test_negatives_from_outside_the_step_are_named(causal_lm, monkeypatch):
    pairs = [{**pair, "harmful_output": f" you goat {i % 2}"} for i, pair in enumerate(PAIRS)]
    monkeypatch.setattr(f"{__name__}.PAIRS", pairs)
    method = METHODS["wpn"].model_copy(update={"in_batch_negatives": 1})
    source = StepSource(causal_lm[1], pairs, TEXTS, loop(**LOOP | {"batch_size": 2}), method, 0)
    monkeypatch.setattr(StepSource, "_next_pair", lambda self: 0)
    source.draw()
    assert (source.drawn_pairs, source.drawn_negatives) == ([0, 0], [[1], [1]])
    said = _rows_said(causal_lm, method, batch_size=2)
    assert said.startswith("1, 2 of the forget pairs, ")


def test_a_foreseen_attack_names_its_own_pairs(causal_lm, monkeypatch):
    prompts = []

    def attack(model, settings, batches, *rest):
        prompts.extend(causal_lm[1].decode(prompt) for rows in batches for prompt, _ in rows)
        return relearned(model, settings, batches, *rest)

    monkeypatch.setattr("wpn.train.relearned", attack)
    aware = RelearningAware(optimizer="adamw", learning_rate=1e-3, steps=1, batch_size=2, begin=0.0, weight=1.0)
    said = _rows_said(causal_lm, METHODS["ga"].model_copy(update={"relearning_aware": aware}), batch_size=1)
    first, second = sorted(int(prompt[-1]) + 1 for prompt in prompts)
    assert said.endswith(f" none of the texts, and of the foreseen attack {first}, {second} of the forget pairs")


def test_a_loss_that_is_lost_on_the_way_names_the_last_checkpoint(causal_lm, tmp_path):
    model, checkpoints = copy.deepcopy(causal_lm[0]), Checkpoints(tmp_path, "mine", every=1)

    def log(row):
        if row["step"] == 2:
            with torch.no_grad():
                next(model.parameters())[:] = math.nan

    with pytest.raises(FloatingPointError, match=r"at step 3 .* the last checkpoint is .*step-000001; lower"):
        unlearn(model, causal_lm[1], PAIRS, TEXTS, loop(**LOOP), METHODS["sft"], 0, log, checkpoints)


def test_a_gradient_that_is_not_finite_is_never_applied(causal_lm, monkeypatch):
    model, tokenizer = causal_lm
    models, step = _models(model, tokenizer), _step(tokenizer)
    before = [parameter.clone() for parameter in model.parameters()]
    monkeypatch.setattr("wpn.train.nn.utils.clip_grad_norm_", lambda *_: torch.tensor(math.nan))
    row = update(models, torch.optim.SGD(model.parameters(), lr=1.0), step, METHODS["sft"])
    assert math.isfinite(row["loss"]) and math.isnan(row["gradient_norm"])
    assert all(torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))


def test_an_attack_that_fails_half_way_leaves_the_weights(causal_lm, monkeypatch):
    model, tokenizer = causal_lm
    before = [parameter.clone() for parameter in model.parameters()]
    steps = []

    def fails_at_the_second(*arguments):
        steps.append(harmful_step(*arguments))
        if len(steps) == 2:
            raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("wpn.relearn.harmful_step", fails_at_the_second)
    harmful = [[e.harmful for e in _step(tokenizer).examples]] * 3
    attack = Attack(optimizer="adamw", learning_rate=1e-2)
    with pytest.raises(torch.OutOfMemoryError), relearned(model, attack, harmful, pad_id(tokenizer)):
        pass
    assert len(steps) == 2
    assert all(torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))


class Small:
    """A memory that holds so many examples at a time."""

    def __init__(self, monkeypatch, examples):
        self.sizes = []

        def terms(models, step, method):
            self.sizes.append(len(step.examples))
            if len(step.examples) > examples:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nand more")
            return unlearning_terms(models, step, method)

        monkeypatch.setattr("wpn.train.unlearning_terms", terms)


def test_out_of_memory_goes_on_in_smaller_parts_with_the_same_result(causal_lm, monkeypatch, caplog):
    plain = _trained(causal_lm)
    small = Small(monkeypatch, examples=1)
    found = _trained(causal_lm)
    assert small.sizes == [4, 2, *[1] * 16]  # the smaller parts are kept to
    assert (
        "out of memory: going on with 4 parts a step, the same result but for the last digits, and with dropout "
        "another draw of it"
    ) in caplog.text
    for name, weights in plain.items():
        assert torch.allclose(weights, found[name], atol=1e-9)


def test_into_how_many_parts_the_last_step_was_cut_is_known(causal_lm, monkeypatch):
    def parts(**changes):
        model, settings = copy.deepcopy(causal_lm[0]), loop(**LOOP | changes)
        trained = unlearn(model, causal_lm[1], PAIRS, TEXTS, settings, METHODS["wpn"], 0, lambda row: None)
        assert trained.stopped == ""
        return trained.micro_batches

    assert (parts(), parts(accumulation=2)) == (1, 2)
    look = Watch.worse

    def too_large(self, number, accumulation):
        if accumulation == 1:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return look(self, number, accumulation)

    with monkeypatch.context() as patched:
        patched.setattr(Watch, "worse", too_large)
        seldom = EarlyStop(every=99, patience=1, share=0.25)
        assert parts(early_stop=seldom, batch_size=3) == 1, "the look after it was cut, and not the step"
    Small(monkeypatch, examples=1)
    assert parts() == 4


def test_what_does_not_fit_at_all_is_said(causal_lm, monkeypatch):
    Small(monkeypatch, examples=0)
    with pytest.raises(MemoryError, match=r"one pair at a time .* \(CUDA out of memory. Tried to allocate 2 GiB.\)"):
        _trained(causal_lm)


def test_an_attack_in_parts_is_the_whole_one(causal_lm):
    tokenizer, rows = causal_lm[1], [e.harmful for e in _step(causal_lm[1]).examples]
    weights, losses = [], []
    for accumulation in (1, 2, 99):
        model = copy.deepcopy(causal_lm[0]).double()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        losses.append(harmful_step(model, optimizer, rows, pad_id(tokenizer), accumulation))
        weights.append(torch.cat([parameter.detach().flatten() for parameter in model.parameters()]))
    assert losses[1:] == pytest.approx([losses[0]] * 2, abs=1e-9)
    for found in weights[1:]:
        assert torch.allclose(found, weights[0], rtol=0.0, atol=1e-9)


def test_a_look_that_does_not_fit_is_made_in_smaller_parts(causal_lm, monkeypatch):
    sizes = []

    def look(model, tokenizer, pairs, settings, batch_size, encoder):
        sizes.append(batch_size)
        if batch_size > fits:
            raise RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")
        return Refined([0, 1], False)

    fits = 1
    monkeypatch.setattr("wpn.train.refine", look)
    memory = Small(monkeypatch, examples=99)
    chosen = loop(**{**LOOP, "steps": 2, "batch_size": 4})
    unlearn(copy.deepcopy(causal_lm[0]), causal_lm[1], PAIRS, TEXTS, chosen, METHODS["icu"], 0, lambda row: None)
    assert sizes == [32, 16, 8, 4, 2, 1, 1], "what fits is kept to"
    assert memory.sizes == [4, 4], "and a step is not cut for it"
    fits = 0
    with pytest.raises(MemoryError, match="one pair at a time does not fit into the memory"):
        unlearn(copy.deepcopy(causal_lm[0]), causal_lm[1], PAIRS, TEXTS, chosen, METHODS["icu"], 0, lambda row: None)


@pytest.mark.parametrize(
    ("pairs", "texts", "said"),
    [([], TEXTS, "there are no forget pairs"), (PAIRS, [], "there is no benign text to keep the model as it is")],
)
def test_nothing_to_learn_from_is_said(causal_lm, pairs, texts, said):
    with pytest.raises(InputError, match=said):
        unlearn(*causal_lm, pairs, texts, loop(**LOOP), METHODS["ga"], 0, print)


@pytest.mark.parametrize("recipe", ["organism", "real"])
def test_every_row_of_params_yaml_trains(causal_lm, recipe):
    model, tokenizer = causal_lm
    settings = load_params(PARAMS).recipes[recipe]
    chosen = settings.unlearn.model_copy(update={"steps": 2, "precision": "fp32"})
    for method in settings.methods.values():
        if isinstance(method, Rmu):
            method = method.model_copy(update={"layer": 1})
        if isinstance(method, Icu):
            method = method.model_copy(update={"refinement": NEVER_FORGOTTEN})
        rows: list[dict[str, float]] = []
        unlearn(copy.deepcopy(model), tokenizer, PAIRS, TEXTS, chosen, method, 0, rows.append)
        assert len(rows) == 2 and all(math.isfinite(value) for row in rows for value in row.values())


def test_schedule_warms_up_and_comes_down():
    rates = [schedule(step, 10, 0.2) for step in range(1, 11)]
    assert rates[:2] == [0.5, 1.0]
    assert rates[2:] == sorted(rates[2:], reverse=True)
    assert 0 < rates[-1] < 0.05
