"""Intervals, by scipy."""

from dataclasses import asdict, dataclass

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Rate:
    """A share with its Wilson score interval."""

    rate: float
    low: float
    high: float
    n: int

    def as_dict(self) -> dict[str, float]:
        """For JSON."""
        return asdict(self)


def rate(successes: int, n: int) -> Rate:
    """Share of successes with its 95 % Wilson interval (Wilson 1927).

    Raises:
        ValueError: there are no trials.
    """
    if n == 0:
        raise ValueError("a rate of no trials; give at least one prompt")
    from scipy.stats import binomtest

    interval = binomtest(successes, n).proportion_ci(CONFIDENCE, method="wilson")
    return Rate(successes / n, float(interval.low), float(interval.high), n)
