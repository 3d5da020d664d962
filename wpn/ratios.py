"""How far a rate fell or came back, relative to what it was, with paired bootstrap intervals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wpn.statistics import Found, Value, percentile_interval, resampled_sums


@dataclass(frozen=True)
class Fall(Found):
    """How far a rate fell, relative to what it was: 1 is gone, 0 unchanged, negative risen.

    Attributes:
        before: the rate before; after: the rate after.
        low: lower end of the 95 % interval of the fall; high: its upper end. None where nothing was there to fall.
        p: of no fall, one-sided.
        clusters: over which was resampled.
    """

    before: float
    after: float
    fall: float | None
    low: float | None
    high: float | None
    p: float
    clusters: int


def relative_fall(before: Sequence[bool], after: Sequence[bool], clusters: Sequence[str], seed: int = 0) -> Fall:
    """1 - rate after / rate before, of paired observations that come in clusters (samples of one prompt).

    The interval is a percentile bootstrap over clusters, after a single observation is added that rose and one that
    fell (as in `recovered`): that one of one is gone does not say that all are. The test flips the sign of whole
    clusters' differences (a paired permutation test), so that several samples of a prompt do not pass for independent
    prompts.

    Raises:
        ValueError: no observations, or lists of different lengths.
    """
    import numpy as np
    from scipy.stats import permutation_test

    if not before:
        raise ValueError("no observations to compare; sample at least one prompt")
    counts: dict[str, list[float]] = {}
    for first, second, cluster in zip(before, after, clusters, strict=True):
        row = counts.setdefault(cluster, [0.0, 0.0, 0.0])
        row[0] += first
        row[1] += second
        row[2] += 1
    table = np.array(list(counts.values()))  # (clusters, 3): harmful before, after, samples
    total = table.sum(axis=0)
    fall = low = high = None
    if total[0]:
        fall = float(1 - total[1] / total[0])
        rose, fell = [0, 1, 1], [1, 0, 1]
        drawn = resampled_sums(np.vstack([table, rose, fell]), seed)
        drawn = drawn[drawn[:, 0] > 0]
        low, high = percentile_interval(1 - drawn[:, 1] / drawn[:, 0])
        low, high = min(fall, low), max(fall, high)
    p = 1.0
    if len(table) > 1:
        p = permutation_test(
            (table[:, 0], table[:, 1]),
            lambda x, y, axis: np.mean(x - y, axis=axis),
            permutation_type="samples", alternative="greater", n_resamples=9999, vectorized=True,
            rng=np.random.default_rng(seed),
        ).pvalue  # fmt: skip
    return Fall(float(total[0] / total[2]), float(total[1] / total[2]), fall, low, high, float(p), len(table))


def recovered(
    start: Mapping[str, bool], shown: Mapping[str, bool], base: Mapping[str, bool], seed: int = 0
) -> Value | None:
    """How much of the way from one rate to another is gone: (shown - start) / (base - start); 0 is none, 1 all of it.

    The interval is a percentile bootstrap over prompts, each with all that is known of it, after a prompt is added
    that rose and one that fell (ours, after Bonett & Price 2012): none of 100 is not none at all.

    Args:
        start, shown, base: {prompt: outcome}; prompts that are not in all three say nothing of a way, and are left out.
    Returns:
        None where there is no way to go: the base's rate is not above the start's.
    """
    import numpy as np

    prompts = sorted(start.keys() & shown.keys() & base.keys())
    table = np.array([[rate[prompt] for rate in (start, shown, base)] for prompt in prompts], float).reshape(-1, 3)
    rose, fell = [0, 1, 1], [1, 0, 1]

    def way(sums: Any) -> Any:
        return sums[..., 2] - sums[..., 0]

    found, drawn = table.sum(axis=0), resampled_sums(np.vstack([table, rose, fell]), seed)
    if not way(found) > 0:
        return None
    drawn = drawn[way(drawn) > 0]
    low, high = percentile_interval((drawn[:, 1] - drawn[:, 0]) / way(drawn))
    return Value(float((found[1] - found[0]) / way(found)), low, high, len(prompts))
