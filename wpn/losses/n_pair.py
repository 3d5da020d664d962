"""The N-pair loss."""

import torch
from torch import Tensor


def n_pair_loss(positive: Tensor, negatives: Tensor, temperature: float) -> Tensor:
    """Push the score of the positive above those of all negatives: the (N+1)-tuplet loss of Sohn (NeurIPS 2016).

    mean_i log(1 + sum_k exp((negative_ik - positive_i) / temperature)); with one negative and scores that are
    log-likelihoods it is the logistic loss that DPO takes of its margins.

    Args:
        positive: (B,) scores of the wanted responses.
        negatives: (B, N) scores of the unwanted ones; -inf leaves one out.
        temperature: in the unit of the scores; smaller looks only at the hardest negative.
    Returns:
        Scalar.
    Raises:
        ValueError: the shapes do not fit, or the temperature is not positive.
    """
    if positive.ndim != 1 or negatives.ndim != 2 or len(positive) != len(negatives):
        raise ValueError(f"expected (B,) and (B, N), got {tuple(positive.shape)} and {tuple(negatives.shape)}")
    if temperature <= 0:
        raise ValueError(f"temperature {temperature} must be positive")
    margins = (negatives - positive[:, None]) / temperature  # (B, N)
    zero = margins.new_zeros(len(margins), 1)  # exp(0) is the 1 of the formula
    return torch.cat([zero, margins], dim=1).logsumexp(dim=1).mean()
