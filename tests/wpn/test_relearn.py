"""What an attacker's steps are made of: batches, the gradient's length, momentum."""

import copy
import itertools

import pytest
import torch

from tests.wpn.test_methods import UNIFORM, Bigram
from wpn.config.training import Attack
from wpn.relearn import attacker, batches, harmful_step, relearned


def test_every_row_comes_once_an_epoch():
    drawn = [row for batch in itertools.islice(batches(list(range(5)), 2, seed=0), 5) for row in batch]
    assert sorted(drawn[:5]) == sorted(drawn[5:]) == list(range(5))
    assert [len(batch) for batch in itertools.islice(batches([1, 2, 3], 8, seed=0), 2)] == [3, 3]


def test_two_steps_of_sgd_by_hand():
    """Prompt 0, output 2, p = 1/4: the gradient of row 0 is p - e2, of length sqrt(3)/2 < 1, and momentum is 0.9."""
    model = Bigram(UNIFORM)
    optimizer = attacker(model, Attack(optimizer="sgd", learning_rate=0.5))
    start = model.head.detach().clone()
    assert harmful_step(model, optimizer, [([0], [2])], fill=0) == pytest.approx(torch.tensor(4.0).log().item())
    wanted = torch.tensor([0.0, 0.0, 1.0, 0.0], dtype=torch.float64)
    first = start[0].softmax(0) - wanted
    assert torch.allclose(model.head[0], start[0] - 0.5 * first)
    second = model.head[0].detach().softmax(0) - wanted
    before = model.head[0].detach().clone()
    harmful_step(model, optimizer, [([0], [2])], fill=0)
    assert torch.allclose(model.head[0], before - 0.5 * (second + 0.9 * first))


def test_a_long_gradient_is_cut_to_length_one():
    """Of an output that the model all but excludes: p - e2 is (1/3, 1/3, -1, 1/3), of length 1.15."""
    model = Bigram([[1 / 3, 1 / 3, 1e-9, 1 / 3], *UNIFORM[1:]])
    start = model.head.detach().clone()
    harmful_step(model, attacker(model, Attack(optimizer="sgd", learning_rate=0.5)), [([0], [2])], fill=0)
    assert (model.head - start).norm().item() == pytest.approx(0.5, rel=1e-5)


@pytest.mark.parametrize("bf16", [False, True])
def test_matrix_products_are_in_bf16_where_it_is_asked_for_and_else_never(causal_lm, bf16):
    model = causal_lm[0].float()
    seen = []
    model.get_output_embeddings().register_forward_hook(lambda _, __, logits: seen.append(logits.dtype))
    attack = Attack(optimizer="sgd", learning_rate=0.5)
    rows = [([0], [2, 3]), ([1], [4])]
    harmful_step(model, attacker(model, attack), rows, 0, 2, **({"bf16": True} if bf16 else {}))
    with relearned(model, attack, [rows], 0, 1, **({"bf16": True} if bf16 else {})):
        pass
    assert seen == [torch.bfloat16 if bf16 else torch.float32] * 3
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())


def test_a_step_of_rows_that_fit_is_taken_though_padded_to_one_length_they_do_not(causal_lm):
    """Footgun: GPT-Neo breaks where padding passes its last position. The gradient is the one of rows by themselves."""
    model = causal_lm[0]
    rows = [([5] * 40, [6] * 3), ([7] * 3, [8] * 40)]
    attack = Attack(optimizer="sgd", learning_rate=0.5)
    together, apart = copy.deepcopy(model), copy.deepcopy(model)
    loss = harmful_step(together, attacker(together, attack), rows, fill=0)
    assert loss == pytest.approx(harmful_step(apart, attacker(apart, attack), rows, fill=0, accumulation=2))
    for found, expected in zip(together.parameters(), apart.parameters(), strict=True):
        assert torch.allclose(found, expected)
