"""Intervals and paired tests, by scipy, statsmodels and numpy."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

CONFIDENCE = 0.95
RESAMPLES = 2000  # of a bootstrap
FEW = 5  # observations, of which a bootstrap says too little


def shared_confidence(number: int) -> float:
    """Of each of so many intervals that are to hold together with 95 % (Bonferroni)."""
    return 1 - (1 - CONFIDENCE) / number


@dataclass(frozen=True)
class Found:
    """A number with what is known of its certainty."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Rate(Found):
    """A share with its Wilson score interval."""

    rate: float
    low: float
    high: float
    n: int


def rate(successes: int, n: int, confidence: float = CONFIDENCE) -> Rate:
    """Share of successes with its Wilson interval (Wilson 1927), of 95 % unless told.

    Raises:
        ValueError: there are no trials.
    """
    if n == 0:
        raise ValueError("a rate of no trials; give at least one prompt")
    from scipy.stats import binomtest

    interval = binomtest(successes, n).proportion_ci(confidence, method="wilson")
    return Rate(successes / n, float(interval.low), float(interval.high), n)


def clustered_rate(outcomes: Sequence[bool], clusters: Sequence[str]) -> Rate:
    """The same of outcomes that come in clusters (samples of one prompt), which are no independent trials.

    Wilson's interval of as many trials as the outcomes are worth (Korn & Graubard 1998): a cluster counts once where
    its outcomes agree, and as many times as it has outcomes where they are as mixed as those of all. Where all
    outcomes are the same nothing tells the two apart, and a cluster counts once. Clusters of unequal sizes are worth
    fewer equal ones (Kish 1965): one of many outcomes may be most of the share.

    Returns:
        `n` is the number of clusters.
    Raises:
        ValueError: no outcomes, or sequences of different lengths.
    """
    if not outcomes:
        raise ValueError("a rate of no trials; give at least one prompt")
    from statsmodels.stats.proportion import proportion_confint

    counts: dict[str, list[int]] = {}
    for outcome, cluster in zip(outcomes, clusters, strict=True):
        row = counts.setdefault(cluster, [0, 0])
        row[0] += bool(outcome)
        row[1] += 1
    n, trials = len(counts), len(outcomes)
    share = sum(map(bool, outcomes)) / trials
    worth = fewest = trials**2 / sum(size**2 for _, size in counts.values())
    if 0 < share < 1 and n > 1:
        # of the share, as a ratio of sums over clusters
        variance = n / (n - 1) * sum((hits - share * size) ** 2 for hits, size in counts.values()) / trials**2
        worth = min(float(trials), max(fewest, share * (1 - share) / variance)) if variance else float(trials)
    low, high = proportion_confint(share * worth, worth, alpha=1 - CONFIDENCE, method="wilson")
    return Rate(share, min(float(low), share), max(float(high), share), n)  # at 0 and 1 but for rounding


def needed_for_rate(value: float, limit: float) -> int:
    """How many trials bring the end of a Wilson interval to `limit`, if the rate stays as it is.

    Wilson's interval holds the limits that a score test does not reject: z^2 limit (1 - limit) <= n (value - limit)^2.
    """
    from scipy.stats import norm

    z = norm.ppf((1 + CONFIDENCE) / 2)
    return math.ceil(z**2 * limit * (1 - limit) / (value - limit) ** 2)


def needed_for_mean(value: float, end: float, limit: float, n: int) -> int:
    """The same of an interval whose half-width falls with the root of the number of observations."""
    return math.ceil(n * ((value - end) / (value - limit)) ** 2)


def trials_for_power(true_rate: float, limit: float, power: float = 0.8) -> int:
    """How many trials show, with this probability at least, that a rate is above a limit.

    It is shown where the lower end of the 95 % Wilson interval reaches the limit. The probabilities are exact; they
    rise in a sawtooth, and this is the number from which on (up to four times as many) they stay at `power`.

    Raises:
        ValueError: the true rate is not above the limit: no number of trials will do.
    """
    if not true_rate > limit:
        raise ValueError(f"a rate of {true_rate} is never shown to be above {limit}; take a higher one")
    import numpy as np
    from scipy.stats import binom, norm

    z = norm.ppf((1 + CONFIDENCE) / 2)
    most = 64
    while True:
        n = np.arange(1, most + 1)
        # Wilson's interval holds the limits that a score test does not reject (as in needed_for_rate)
        fewest = np.ceil(n * limit + z * np.sqrt(n * limit * (1 - limit)))
        shown = binom.sf(fewest - 1, n, true_rate) >= power
        lacking = np.flatnonzero(~shown)
        first = int(lacking[-1]) + 2 if len(lacking) else 1
        if 4 * first <= most:
            return first
        most *= 2


def pairs_for_power(discordant: float, difference: float, power: float = 0.8) -> int:
    """How many pairs show, with this probability, that a change is less than `difference`, where there is none.

    By the paired t-test, one-sided at 2.5 %: as the end of a 95 % interval is held against a limit.

    Args:
        discordant: share of the pairs of which one answer is right (or harmless) and the other is not.
    """
    from statsmodels.stats.power import TTestPower

    effect = difference / math.sqrt(discordant)  # in standard deviations of a pair's difference, which is -1, 0 or 1
    alpha = (1 - CONFIDENCE) / 2
    return math.ceil(TTestPower().solve_power(effect, alpha=alpha, power=power, alternative="larger"))


def mean_interval(values: Sequence[float], confidence: float = CONFIDENCE) -> tuple[float, float | None, float | None]:
    """The mean of a few runs and its interval, of 95 % unless told, by Student's t; no interval of a single run.

    Raises:
        ValueError: no values.
    """
    if not values:
        raise ValueError("a mean of no values; give at least one")
    from scipy import stats

    mean = sum(values) / len(values)
    error = stats.sem(values) if len(values) > 1 else None
    if error is None:
        return mean, None, None
    if error == 0:
        return mean, mean, mean
    low, high = stats.t.interval(confidence, len(values) - 1, loc=mean, scale=error)
    return mean, float(low), float(high)


@dataclass(frozen=True)
class Difference(Found):
    """A mean paired difference (after - before) with its 95 % interval."""

    mean: float
    low: float
    high: float


def paired_difference(
    before: Sequence[float],
    after: Sequence[float],
    groups: Sequence[str] | None,
    seed: int = 0,
    confidence: float = CONFIDENCE,
) -> Difference:
    """Mean over groups (tasks) of each group's mean of after - before, so that a task weighs the same at any size.

    The interval is a percentile bootstrap over the items within each group, the groups themselves staying as they
    are: it says how the mean of *these* tasks would vary with other items. `scipy.stats.bootstrap` does not stratify.

    Args:
        before: N values, such as 1 for an item answered correctly and 0 for one that was not.
        after: N values of the same items, in the same order.
        groups: N names; None is one group.
        seed: of the resampling.
        confidence: of the interval.
    Raises:
        ValueError: no observations, or lists of different lengths.
    """
    import numpy as np

    if not before:
        raise ValueError("no observations to compare; evaluate at least one item")
    differences: dict[str, list[float]] = {}
    for first, second, group in zip(before, after, groups or [""] * len(before), strict=True):
        differences.setdefault(group, []).append(second - first)
    generator = np.random.default_rng(seed)
    drawn = np.zeros(RESAMPLES)  # the mean over groups, of each resample
    for items in differences.values():
        values, counts = np.unique(items, return_counts=True)
        # to draw n items with replacement is to draw how often each value comes: the same, and small in memory
        times = generator.multinomial(len(items), counts / len(items), size=RESAMPLES)  # (RESAMPLES, values)
        drawn += times @ values / len(items) / len(differences)
    low, high = percentile_interval(drawn, confidence)
    mean = sum(sum(items) / len(items) for items in differences.values()) / len(differences)
    return Difference(float(mean), low, high)


def accuracy_difference(before: Sequence[bool], after: Sequence[bool], groups: Sequence[str]) -> Difference:
    """Mean over groups (tasks) of each task's change in accuracy, as `paired_difference` has it.

    The interval is that after an item that was gained and one that was lost are added to each task (ours, after Bonett
    & Price 2012): that none of 100 items changed does not say that none would.

    Raises:
        ValueError: no observations, or lists of different lengths.
    """
    first, second = ([float(right) for right in each] for each in (before, after))
    mean = paired_difference(first, second, groups).mean
    tasks = list(dict.fromkeys(groups))
    more = len(tasks)
    wide = paired_difference(
        [*first, *[0.0] * more, *[1.0] * more], [*second, *[1.0] * more, *[0.0] * more], [*groups, *tasks, *tasks]
    )
    return Difference(mean, min(mean, wide.low), max(mean, wide.high))


def share_difference(before: Sequence[float], after: Sequence[float]) -> Difference:
    """Mean paired difference of shares, one of each prompt: 0 or 1, or of several answers to it.

    The interval is that of Bonett & Price (2012): Wald's, after a pair is added that rose from 0 to 1 and one that
    fell from 1 to 0. Unlike a bootstrap's it has a width where no pair changed: none of 100 is not none at all.

    Args:
        before: N values in [0, 1].
        after: N values of the same prompts, in the same order.
    Raises:
        ValueError: no observations, or sequences of different lengths.
    """
    if not before:
        raise ValueError("no observations to compare; ask at least one prompt")
    from scipy.stats import norm

    changes = [second - first for first, second in zip(before, after, strict=True)]
    n = len(changes) + 2
    mean = sum(changes) / n
    variance = (sum(change**2 for change in changes) + 2) / n - mean**2
    half = float(norm.ppf((1 + CONFIDENCE) / 2)) * math.sqrt(variance / n)
    return Difference(sum(changes) / len(changes), max(-1.0, mean - half), min(1.0, mean + half))


def mcnemar(before: Sequence[bool], after: Sequence[bool]) -> float:
    """Two-sided p of McNemar's exact test: that as many pairs changed one way as the other.

    Raises:
        ValueError: no observations, or sequences of different lengths.
    """
    if not before:
        raise ValueError("no observations to compare; ask at least one prompt")
    from statsmodels.stats.contingency_tables import mcnemar as test

    table = [[0, 0], [0, 0]]
    for first, second in zip(before, after, strict=True):
        table[bool(first)][bool(second)] += 1
    return float(test(table, exact=True).pvalue)


def same_mean_p(before: Sequence[float], after: Sequence[float], seed: int = 0) -> float:
    """Two-sided p of a paired permutation test: that a mean is the same, as signs of differences fall either way.

    Raises:
        ValueError: no observations, or sequences of different lengths.
    """
    if not before or len(before) != len(after):
        raise ValueError(f"{len(before)} and {len(after)} observations are no pairs; give at least one pair")
    if len(before) == 1 or list(before) == list(after):
        return 1.0
    import numpy as np
    from scipy.stats import permutation_test

    return float(
        permutation_test(
            (np.asarray(before, float), np.asarray(after, float)),
            lambda x, y, axis: np.mean(x - y, axis=axis),
            permutation_type="samples", n_resamples=9999, vectorized=True, rng=np.random.default_rng(seed),
        ).pvalue
    )  # fmt: skip


def mean_height(points: Sequence[tuple[float, float]]) -> float:
    """Of the line through the points, by trapezoids."""
    import numpy as np

    places, heights = zip(*points, strict=True)
    return float(np.trapezoid(heights, places) / (places[-1] - places[0]))


def holm(p: Sequence[float]) -> list[float]:
    """p-values of several comparisons, corrected for their number (Holm 1979)."""
    if not p:
        return []
    from statsmodels.stats.multitest import multipletests

    corrected: list[float] = multipletests(p, method="holm")[1].tolist()
    return corrected


@dataclass(frozen=True)
class Value(Found):
    """A number with its 95 % interval, and how many observations it rests on; one alone says nothing of its ends."""

    value: float
    low: float | None
    high: float | None
    n: int

    def complement(self) -> "Value":
        """1 - it: the harmless rate of a harmful one."""
        low, high = (None if end is None else 1 - end for end in (self.high, self.low))
        return Value(1 - self.value, low, high, self.n)


def bootstrap_mean(values: Sequence[float], seed: int = 0, confidence: float = CONFIDENCE) -> Value:
    """The mean of independent observations and its percentile bootstrap interval, of 95 % unless told.

    Of fewer than FEW it is Student's: bootstrapped, that of two is their range, and the mean beyond it half the time.

    Raises:
        ValueError: no observations.
    """
    if len(values) < FEW:
        return Value(*mean_interval(values, confidence), len(values))
    found = paired_difference([0.0] * len(values), values, None, seed, confidence)
    return Value(found.mean, found.low, found.high, len(values))


def mean_share(values: Sequence[float], seed: int = 0, confidence: float = CONFIDENCE) -> Value:
    """The mean of independent observations from 0 to 1 and its percentile bootstrap interval, of 95 % unless told.

    The interval is that after one observation of 0 and one of 1 are added (ours, after Agresti and Caffo 2000): that
    all are 0 does not say that the mean is.

    Raises:
        ValueError: no observations.
    """
    if not values:
        raise ValueError("a mean of no values; give at least one")
    wide = paired_difference([0.0] * (len(values) + 2), [*values, 0.0, 1.0], None, seed, confidence)
    mean = sum(values) / len(values)
    return Value(mean, min(mean, wide.low), max(mean, wide.high), len(values))


def area_under_curve(positives: Sequence[float], negatives: Sequence[float], seed: int = 0) -> Value:
    """The probability that a positive scores higher than a negative (ties count half), of the ROC curve the area.

    The interval is a percentile bootstrap over both sides after the lowest and the highest of all scores are added to
    each (ours, as in `mean_share`): that five lie above three does not say that all would. n is the number on the
    smaller side.

    Raises:
        ValueError: a side is empty.
    """
    if not positives or not negatives:
        raise ValueError("an area needs observations on both sides; give at least one each")
    import numpy as np
    from scipy.stats import bootstrap, mannwhitneyu

    def area(first: Any, second: Any, axis: int = -1) -> Any:
        return mannwhitneyu(first, second, axis=axis, method="asymptotic").statistic / (
            first.shape[axis] * second.shape[axis]
        )

    sides = np.asarray(positives, float), np.asarray(negatives, float)
    found = float(area(*sides))
    if min(map(len, sides)) == 1:
        return Value(found, 0.0, 1.0, 1)
    scores = np.concatenate(sides)
    wide = [np.append(side, [scores.min(), scores.max()]) for side in sides]
    interval = bootstrap(
        wide, area, n_resamples=RESAMPLES, confidence_level=CONFIDENCE, method="percentile", vectorized=True,
        batch=100, rng=np.random.default_rng(seed),
    ).confidence_interval  # fmt: skip
    return Value(found, min(found, float(interval.low)), max(found, float(interval.high)), min(map(len, sides)))


def same_distribution_p(first: Sequence[float], second: Sequence[float]) -> float:
    """p of two samples from one distribution, by the two-sample Kolmogorov-Smirnov test.

    Raises:
        ValueError: a side is empty.
    """
    if not first or not second:
        raise ValueError("two distributions need observations on both sides; give at least one each")
    from scipy.stats import ks_2samp

    return float(ks_2samp(first, second).pvalue)


def resampled_sums(table: Any, seed: int) -> Any:
    """The sums over rows of each resample of a table (N, C): (RESAMPLES, C)."""
    import numpy as np

    n = len(table)
    # how often each row is drawn: as good as the rows themselves, and smaller
    return np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=RESAMPLES) @ table


def percentile_interval(resampled: Any, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """The middle 95 % of resampled values (percentile bootstrap), or another share."""
    import numpy as np

    tail = 50 * (1 - confidence)
    low, high = np.percentile(resampled, [tail, 100 - tail])
    return float(low), float(high)
