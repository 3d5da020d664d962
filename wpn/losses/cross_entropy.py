"""Cross-entropy on the harmless response."""

from torch import Tensor


def cross_entropy(log_likelihoods: Tensor, mask: Tensor) -> Tensor:
    """Mean over sequences of the mean negative log-likelihood a token, so that long responses weigh no more.

    Args:
        log_likelihoods: (B, T) of each token, zero where the mask is.
        mask: (B, T) 1 for tokens that count.
    Returns:
        Scalar, in nats a token.
    """
    return -(log_likelihoods.sum(dim=1) / mask.sum(dim=1)).mean()
