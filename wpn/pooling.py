"""Position-weighted mean pooling."""

from torch import Tensor


def position_weights(mask: Tensor, kind: str = "linear") -> Tensor:
    """Weights over the real tokens of each row, summing to one.

    w_t = t / sum_j j for the t-th real token (`linear`), counted from the end (`reversed`), or the same for all
    (`uniform`). Tokens are counted by the mask, so padding on either side changes nothing.

    Args:
        mask: (B, T) 1 for tokens that count, 0 for the others.
        kind: linear | uniform | reversed.
    Returns:
        (B, T) weights in the default float type.
    Raises:
        ValueError: a row has no token that counts.
    """
    if not bool(mask.any(dim=1).all()):
        row = int((~mask.bool().any(dim=1)).nonzero()[0])
        raise ValueError(f"row {row} of the mask has no token to pool; leave empty sequences out")
    if kind == "linear":
        mask = mask.cumsum(dim=1) * mask  # (B, T): 0 0 1 2 3 or 1 2 3 0 0
    elif kind == "reversed":
        mask = mask.flip(1).cumsum(dim=1).flip(1) * mask  # (B, T): 0 0 3 2 1 or 3 2 1 0 0
    return mask / mask.sum(dim=1, keepdim=True)


def position_weighted_mean(hidden: Tensor, mask: Tensor, kind: str = "linear") -> Tensor:
    """Pool token states into one vector a sequence, the i-th real token weighing i.

    Source: WPN (arXiv 2408.09459) names position-weighted mean pooling; the linear weights are our reading, after
    SGPT (arXiv 2202.08904).

    Args:
        hidden: (B, T, D) token states.
        mask: (B, T) 1 for tokens to pool, 0 for padding.
        kind: linear | uniform (the plain mean) | reversed.
    Returns:
        (B, D) pooled states.
    Raises:
        ValueError: a sequence has no unmasked token.
    """
    return (hidden * position_weights(mask, kind).to(hidden.dtype)[..., None]).sum(dim=1)
