"""Kullback-Leibler divergence from the frozen model, on benign text."""

from torch import Tensor, nn


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
    counted = mask.bool()
    weight = (mask / mask.sum(dim=1, keepdim=True) / len(mask))[counted].to(logits.dtype)  # (N,) of each counted token
    frozen = frozen_logits[counted].log_softmax(dim=1)  # (N, V)
    probabilities = frozen.exp()
    # cross-entropy minus entropy: fused, so that fewer tensors of the size of the logits are kept for the backward pass
    cross_entropy = nn.functional.cross_entropy(logits[counted], probabilities, reduction="none")  # (N,)
    entropy = -(probabilities * frozen).sum(dim=1)
    return ((cross_entropy - entropy) * weight).sum()
