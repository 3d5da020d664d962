import math

import pytest
import torch

from wpn.losses.cross_entropy import cross_entropy
from wpn.losses.kl import forward_kl
from wpn.losses.n_pair import n_pair_loss


def test_n_pair_by_hand():
    positive = torch.tensor([1.0, 0.0], dtype=torch.float64)
    negatives = torch.tensor([[0.0, 1.0], [-2.0, -2.0]], dtype=torch.float64)
    # margins over 0.5: (-2, 0) and (-4, -4)
    expected = (math.log(1 + math.exp(-2) + 1) + math.log(1 + 2 * math.exp(-4))) / 2
    assert n_pair_loss(positive, negatives, 0.5).item() == pytest.approx(expected, abs=1e-12)


def test_n_pair_of_equal_scores_is_the_log_of_the_number_of_candidates():
    assert n_pair_loss(torch.zeros(3), torch.zeros(3, 4), 1.0).item() == pytest.approx(math.log(5))


def test_n_pair_survives_large_scores_and_left_out_negatives():
    value = n_pair_loss(torch.tensor([0.0]), torch.tensor([[1e4, -math.inf]]), 1.0)
    assert value.item() == pytest.approx(1e4)


def test_n_pair_does_not_depend_on_the_order_of_negatives_or_rows():
    positive, negatives = torch.randn(4, dtype=torch.float64), torch.randn(4, 3, dtype=torch.float64)
    value = n_pair_loss(positive, negatives, 0.7)
    assert torch.isclose(value, n_pair_loss(positive.flip(0), negatives.flip(0, 1), 0.7), atol=1e-12)


@pytest.mark.parametrize(
    ("positive", "negatives", "temperature"), [((2, 1), (2, 3), 1), ((2,), (3, 3), 1), ((2,), (2, 3), 0)]
)
def test_n_pair_refuses_wrong_shapes_and_temperatures(positive, negatives, temperature):
    with pytest.raises(ValueError, match=r"expected|temperature"):
        n_pair_loss(torch.zeros(positive), torch.zeros(negatives), temperature)


def test_cross_entropy_weighs_sequences_alike():
    # footgun: a mean over all tokens would give (1 + 1 + 1 + 5) / 4 = 2
    values = torch.tensor([[-1.0, -1.0, -1.0], [-5.0, 0.0, 0.0]])
    assert cross_entropy(values, torch.tensor([[1, 1, 1], [1, 0, 0]])).item() == pytest.approx(3.0)


def test_kl_by_hand_counts_only_masked_positions():
    frozen = torch.tensor([[[0.5, 0.5], [0.9, 0.1]]]).log()
    trained = torch.tensor([[[0.25, 0.75], [0.1, 0.9]]]).log()
    expected = 0.5 * math.log(2) + 0.5 * math.log(0.5 / 0.75)
    assert forward_kl(frozen, trained, torch.tensor([[1, 0]])).item() == pytest.approx(expected, abs=1e-6)
