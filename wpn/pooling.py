"""Position-weighted mean pooling, and the two scores of a response that it gives the N-pair loss."""

import torch
from torch import Tensor, nn


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


def sequence_scores(log_likelihoods: Tensor, weights: Tensor) -> Tensor:
    """Reading P (ours): s(x, y) = sum_t w_t log p(y_t | x, y_<t), the position-weighted mean log-likelihood.

    Args:
        log_likelihoods: (R, T) of each response token, zero elsewhere.
        weights: (R, T) of the tokens; those of a row sum to one.
    Returns:
        (R,) scores in nats a token.
    """
    return (log_likelihoods * weights).sum(dim=1)


def representation_scores(hidden: Tensor, prompt: Tensor, response: Tensor, size: int, kind: str) -> Tensor:
    """Reading H (ours): the cosine of the pooled prompt and the pooled response.

    Args:
        hidden: (R, T, D) states of the last layer; the first `size` rows are positives, the rest their negatives,
            row by row.
        prompt: (R, T) 1 for the tokens of the prompt.
        response: (R, T) 1 for those of the response.
        size: B.
        kind: of the position weights.
    Returns:
        (R,) similarities in [-1, 1].
    """
    anchors = position_weighted_mean(hidden[:size], prompt[:size], kind)  # (B, D)
    responses = position_weighted_mean(hidden, response, kind)  # (R, D)
    negatives_each = len(responses) // size - 1
    repeated = torch.cat([anchors, anchors.repeat_interleave(negatives_each, dim=0)])  # (R, D)
    return nn.functional.cosine_similarity(repeated, responses, dim=1)
