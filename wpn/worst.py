"""The worst of several attacks: the highest rate or mean, with an interval that holds for all of them."""

from collections.abc import Sequence

from wpn.statistics import Rate, Value, mean_share, rate, shared_confidence


def worst_rate(rates: Sequence[Rate]) -> Value:
    """The highest of several rates, whose intervals hold together with 95 % (Bonferroni); n is the smallest.

    The ends are the highest too: a rate of few prompts may be the worst, and not have shown it.
    """
    confidence = shared_confidence(len(rates))
    wide = [rate(round(each.rate * each.n), each.n, confidence) for each in rates]
    return _highest([Value(each.rate, each.low, each.high, each.n) for each in wide])


def worst_mean(observed: Sequence[Sequence[float]], seed: int) -> Value:
    """The same of the means of several lists of observations from 0 to 1, of which `seed` draws the bootstrap."""
    confidence = shared_confidence(len(observed))
    return _highest([mean_share(each, seed, confidence) for each in observed])


def _highest(found: Sequence[Value]) -> Value:
    value, low, high = (max(getattr(each, name) for each in found) for name in ("value", "low", "high"))
    return Value(value, low, high, min(each.n for each in found))
