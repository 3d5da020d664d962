import pytest
import torch

from wpn.pooling import position_weighted_mean, position_weights

HIDDEN = torch.tensor([[[1.0, 0.0], [4.0, 2.0], [7.0, 8.0]]])


def test_the_ith_token_weighs_i():
    # weights 1/6, 2/6, 3/6: (1 + 8 + 21) / 6 = 5, (0 + 4 + 24) / 6 = 14/3
    assert torch.allclose(position_weighted_mean(HIDDEN, torch.tensor([[1, 1, 1]])), torch.tensor([[5.0, 14 / 3]]))


def test_masked_tokens_do_not_count():
    # only the second and third token: weights 1/3, 2/3
    assert torch.allclose(position_weighted_mean(HIDDEN, torch.tensor([[0, 1, 1]])), torch.tensor([[6.0, 6.0]]))


def test_padding_on_either_side_changes_nothing():
    # footgun: weights from arange are wrong under left padding
    states = torch.randn(2, 3, 4, dtype=torch.float64)
    noise = torch.randn(2, 2, 4, dtype=torch.float64)
    real, pad = torch.ones(2, 3, dtype=torch.long), torch.zeros(2, 2, dtype=torch.long)
    left = position_weighted_mean(torch.cat([noise, states], 1), torch.cat([pad, real], 1))
    right = position_weighted_mean(torch.cat([states, noise], 1), torch.cat([real, pad], 1))
    assert torch.allclose(left, right, atol=1e-7)
    assert torch.allclose(left, position_weighted_mean(states, real), atol=1e-7)


def test_uniform_weights_give_the_plain_mean():
    assert position_weights(torch.tensor([[1, 0, 1, 1]]), "uniform").tolist()[0] == pytest.approx(
        [1 / 3, 0, 1 / 3, 1 / 3]
    )


def test_reversed_weights_count_from_the_end():
    assert position_weights(torch.tensor([[0, 1, 1, 1], [1, 1, 0, 0]]), "reversed").flatten().tolist() == pytest.approx(
        [0, 3 / 6, 2 / 6, 1 / 6, 2 / 3, 1 / 3, 0, 0]
    )


def test_a_row_without_tokens_is_refused():
    with pytest.raises(ValueError, match="row 1 of the mask has no token"):
        position_weighted_mean(HIDDEN.repeat(2, 1, 1), torch.tensor([[1, 1, 1], [0, 0, 0]]))
