"""Perplexity, from the log-likelihoods of texts: of one model, and how many times larger another's is."""

import math
from collections.abc import Sequence
from typing import Any

from wpn.statistics import FEW, Value, percentile_interval, resampled_sums

MOST_NATS = 700.0  # whose exp is a float; a perplexity beyond is said to be so large


def perplexity_of(found: Sequence[tuple[float, int]]) -> float:
    """exp of the mean negative log-likelihood a token, over all tokens of all texts; inf of no tokens.

    Args:
        found: log-likelihood (nats) and number of tokens of each text.
    """
    tokens = sum(count for _, count in found)
    return math.exp(min(MOST_NATS, -sum(total for total, _ in found) / tokens)) if tokens else math.inf


def perplexity_ratio(before: Sequence[float], after: Sequence[float], tokens: Sequence[int], seed: int = 0) -> Value:
    """How many times the perplexity of the same texts is larger, exp of the mean fall of a token's log-likelihood.

    The interval is a paired percentile bootstrap over the texts; fewer than FEW say too little for one.

    Args:
        before: N log-likelihoods of whole texts, in nats.
        after: N of the same texts.
        tokens: N numbers of tokens.
    Raises:
        ValueError: no texts, or sequences of different lengths.
    """
    import numpy as np

    if not before:
        raise ValueError("no texts to compare; evaluate at least one")
    table = np.array(list(zip(before, after, tokens, strict=True)), float)  # (N, 3)

    def ratio(sums: Any) -> Any:
        return np.exp(np.minimum(MOST_NATS, (sums[..., 0] - sums[..., 1]) / sums[..., 2]))

    found = float(ratio(table.sum(axis=0)))
    if len(table) < FEW:
        return Value(found, None, None, len(table))
    return Value(found, *percentile_interval(ratio(resampled_sums(table, seed))), len(table))
