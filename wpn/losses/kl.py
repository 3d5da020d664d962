"""Kullback-Leibler divergence from the frozen model, on benign text."""

from torch import Tensor


def forward_kl(frozen_logits: Tensor, logits: Tensor, mask: Tensor) -> Tensor:
    """KL(p_frozen || p) of the next-token distributions, averaged over the tokens of a sequence, then over sequences.

    Padding and prompts must be masked: the divergence there is not what is to be kept.

    Args:
        frozen_logits: (B, T, V) of the frozen model.
        logits: (B, T, V) of the model in training.
        mask: (B, T) 1 for positions that count.
    Returns:
        Scalar, in nats a token.
    """
    frozen = frozen_logits.log_softmax(dim=2)
    divergence = (frozen.exp() * (frozen - logits.log_softmax(dim=2))).sum(dim=2)  # (B, T)
    return ((divergence * mask).sum(dim=1) / mask.sum(dim=1)).mean()
