import pytest
from scipy.stats import binom

from wpn.statistics import (
    Value,
    area_under_curve,
    bootstrap_mean,
    clustered_rate,
    holm,
    mcnemar,
    mean_height,
    mean_interval,
    mean_share,
    paired_difference,
    pairs_for_power,
    rate,
    same_distribution_p,
    same_mean_p,
    share_difference,
    trials_for_power,
)


def test_wilson_interval_by_hand():
    # z = 1.959964: centre (0.9 + z^2/20) / (1 + z^2/10), half-width z sqrt(.009 + z^2/400) / (1 + z^2/10)
    found = rate(9, 10)
    assert (found.rate, found.low, found.high) == pytest.approx((0.9, 0.59585, 0.98212), abs=1e-5)


def test_all_harmless_still_has_a_lower_bound():
    assert rate(88, 88).low == pytest.approx(88 / (88 + 1.959964**2), abs=1e-6)


def test_a_rate_of_nothing_is_refused():
    with pytest.raises(ValueError, match="no trials"):
        rate(0, 0)


def test_outcomes_that_agree_within_their_cluster_count_once():
    prompts = ["a", "a", "b", "b", "c", "c", "d", "d"]
    assert clustered_rate([True, True] * 3 + [False, False], prompts) == rate(3, 4)
    assert clustered_rate([True] * 8, prompts) == rate(4, 4), "nothing tells that they are independent"
    assert clustered_rate([False] * 50, [str(i) for i in range(50)]).low == 0.0


def test_outcomes_as_mixed_within_clusters_as_among_them_all_count():
    found = clustered_rate([True, False] * 50, [str(i // 2) for i in range(100)])
    assert (found.low, found.high) == pytest.approx((rate(50, 100).low, rate(50, 100).high)) and found.n == 50


def test_a_cluster_of_many_outcomes_does_not_hide_that_it_is_one():
    found = clustered_rate([True] * 50 + [False] * 9, ["a"] * 50 + list("bcdefghij"))
    share, z = 50 / 59, 1.959964
    worth = share * (1 - share) / (10 / 9 * ((50 - 50 * share) ** 2 + 9 * share**2) / 59**2)
    assert 6 < worth < 7, "fewer than the ten prompts"
    half = z / (1 + z * z / worth) * (share * (1 - share) / worth + z * z / (4 * worth * worth)) ** 0.5
    assert (found.rate, found.n) == (share, 10)
    assert (found.high - found.low) / 2 == pytest.approx(half, abs=1e-6)
    # nothing but one prompt's is worth 59^2 / (50^2 + 9) prompts of one size
    alone = clustered_rate([True] * 59, ["a"] * 50 + list("bcdefghij"))
    worth = 59**2 / 2509
    assert alone.low == pytest.approx(1 / (1 + z * z / worth), abs=1e-6)


def test_clusters_of_one_are_trials():
    found = clustered_rate([True] * 7 + [False] * 3, list("abcdefghij"))
    assert (found.rate, found.low, found.high, found.n) == pytest.approx(tuple(rate(7, 10).as_dict().values()))


def test_a_rate_of_some_clusters_lies_between():
    outcomes = [True, True] * 20 + [True, False] * 20 + [False, False] * 10
    found = clustered_rate(outcomes, [str(i // 2) for i in range(100)])
    # variance of the ratio: 50/49 * sum (hits - .6 * 2)^2 / 100^2 = 50/49 * (20 * .64 + 20 * .04 + 10 * 1.44) / 10^4
    worth = 0.24 / (50 / 49 * 28 / 10**4)
    by_hand = (0.6 + 1.96**2 / (2 * worth)) / (1 + 1.96**2 / worth)
    assert (found.low + found.high) / 2 == pytest.approx(by_hand, abs=1e-4)
    assert rate(60, 100).low > found.low > rate(30, 50).low


@pytest.mark.parametrize("outcomes", [[], [True]])
def test_clusters_that_are_none_or_do_not_fit_are_refused(outcomes):
    with pytest.raises(ValueError):
        clustered_rate(outcomes, [])


def test_the_difference_of_shares_by_hand():
    # Bonett & Price: of 10 pairs 3 rose and none fell; (3 + 1)/12 and 1/12, so 3/12 +- 1.96 sqrt((5/12 - 1/16)/12)
    found = share_difference([0] * 5 + [1] * 5, [1] * 3 + [0] * 2 + [1] * 5)
    half = 1.959964 * ((5 / 12 - 1 / 16) / 12) ** 0.5
    assert (found.mean, found.low, found.high) == pytest.approx((0.3, 0.25 - half, 0.25 + half), abs=1e-6)


def test_no_change_of_few_is_no_proof_of_none():
    found = share_difference([0.0] * 100, [0.0] * 100)
    assert found.mean == 0 and found.high == -found.low == pytest.approx(1.96 * (2 / 102**2) ** 0.5, abs=1e-4)
    all_rose = share_difference([0.0] * 4, [1.0] * 4)
    assert (all_rose.mean, all_rose.high) == (1.0, 1.0) and all_rose.low < 0.6
    with pytest.raises(ValueError, match="no observations"):
        share_difference([], [])
    with pytest.raises(ValueError):
        share_difference([0.0], [])


def test_no_difference_is_none_at_all():
    found = paired_difference([1, 0, 1], [1, 0, 1], ["a", "a", "b"])
    assert (found.mean, found.low, found.high) == (0, 0, 0)


def test_a_constant_difference_has_no_spread():
    found = paired_difference([0.5, 0.25, 1.0], [0.25, 0.0, 0.75], None)
    assert (found.mean, found.low, found.high) == pytest.approx((-0.25, -0.25, -0.25))


def test_each_task_weighs_the_same():
    # task a: two of four lost, -1/2; task b: one of one won, +1: their mean is 1/4, while over items it is -1/5
    found = paired_difference([1, 1, 1, 0, 0], [0, 0, 1, 0, 1], ["a", "a", "a", "a", "b"])
    assert found.mean == pytest.approx(0.25)
    assert found.low < 0.25 < found.high


def test_the_interval_is_that_of_the_normal_approximation_where_items_are_many():
    # a: 400 items, 80 lost, so a variance of .2 x .8 an item; b: 100 items, 50 lost, .25
    before = [1.0] * 500
    after = [0.0] * 80 + [1.0] * 320 + [0.0] * 50 + [1.0] * 50
    found = paired_difference(before, after, ["a"] * 400 + ["b"] * 100)
    half = 1.959964 * (0.16 / 400 + 0.25 / 100) ** 0.5 / 2
    assert found.mean == pytest.approx(-0.35)
    assert (found.low, found.high) == pytest.approx((-0.35 - half, -0.35 + half), abs=0.005)


def test_differences_between_tasks_are_no_spread():
    # every item of a falls by 1, every item of b by 0: other items of these tasks would say the same
    found = paired_difference([1] * 20, [0] * 10 + [1] * 10, ["a"] * 10 + ["b"] * 10)
    assert (found.low, found.high) == pytest.approx((-0.5, -0.5))


@pytest.mark.parametrize(("after", "groups"), [([1], None), ([1, 0], ["a"])])
def test_unpaired_lists_are_refused(after, groups):
    with pytest.raises(ValueError):
        paired_difference([1, 0], after, groups)


def test_a_comparison_of_nothing_is_refused():
    with pytest.raises(ValueError, match="no observations"):
        paired_difference([], [], None)


def test_the_interval_of_a_mean_by_hand():
    # 1, 2, 3: standard error 1 / sqrt(3), t(2, .975) = 4.30265
    mean, low, high = mean_interval([1.0, 2.0, 3.0])
    assert (mean, low, high) == pytest.approx((2.0, 2 - 4.30265 / 3**0.5, 2 + 4.30265 / 3**0.5), abs=1e-5)
    assert mean_interval([2.0]) == (2.0, None, None)
    assert mean_interval([2.0, 2.0]) == (2.0, 2.0, 2.0)
    with pytest.raises(ValueError, match="no values"):
        mean_interval([])


def test_the_mean_height_by_hand():
    assert mean_height([(0, 0.0), (10, 1.0), (20, 1.0)]) == 0.75


def test_a_mean_that_changed_and_one_that_did_not():
    # of 12 differences of one sign the two signings at the ends are as far out: 2 / 2^12, and all are tried
    assert same_mean_p([0.0] * 12, [0.5] * 12) == pytest.approx(2 / 2**12)
    assert same_mean_p([0.1, 0.2], [0.1, 0.2]) == same_mean_p([0.0], [1.0]) == 1.0
    assert same_mean_p([0.0, 1.0] * 50, [1.0, 0.0] * 50) == pytest.approx(1.0, abs=0.1)
    with pytest.raises(ValueError, match="1 and 0 observations are no pairs"):
        same_mean_p([1.0], [])


def test_the_area_under_the_curve_counts_pairs_and_half_of_ties():
    found = area_under_curve([3.0, 2.0], [1.0, 2.0])  # of four pairs three are in order, and one is a tie
    assert found.value == 3.5 / 4 and found.n == 2
    assert area_under_curve([1.0], [0.0] * 400).n == area_under_curve([1.0] * 400, [0.0]).n == 1
    assert area_under_curve([1.0] * 9, [1.0] * 9).value == 0.5
    assert area_under_curve([0.0, 1.0], [2.0, 3.0]).value == 0.0, "the other way round"
    with pytest.raises(ValueError, match="both sides"):
        area_under_curve([], [1.0])


def test_the_interval_of_an_area_holds_it_and_narrows_with_more():
    narrow, wide = (area_under_curve(list(range(3, n + 3)), list(range(n))) for n in (200, 20))
    assert wide.low < wide.value < wide.high <= 1 and narrow.low < narrow.value < narrow.high
    assert narrow.high - narrow.low < wide.high - wide.low


def test_the_ends_of_an_area_are_those_of_the_normal_approximation_where_scores_are_many():
    # a fifth of the positives is above all negatives, the others tie with them: .2 + .8 / 2, of which half varies
    found = area_under_curve([1.0] * 80 + [0.0] * 320, [0.0] * 400)
    half = 1.959964 * (0.2 * 0.8 / 400) ** 0.5 / 2
    assert found.value == pytest.approx(0.6)
    assert (found.low, found.high) == pytest.approx((0.6 - half, 0.6 + half), abs=0.003)


def test_that_five_scores_lie_above_three_does_not_say_that_all_would():
    few, many = (area_under_curve([1.0] * (5 * n), [0.0] * (3 * n)) for n in (1, 40))
    assert (few.value, few.high) == (many.value, many.high) == (1.0, 1.0)
    assert few.low < 0.7 < 0.95 < many.low < 1.0


def test_a_bootstrapped_mean_is_of_its_observations():
    found = bootstrap_mean([0.0, 1.0, 1.0, 0.0] * 2)
    assert found.value == 0.5 and 0 <= found.low < 0.5 < found.high <= 1 and found.n == 8
    assert bootstrap_mean([0.3] * 5).low == pytest.approx(0.3)


def test_the_interval_of_a_few_is_students_and_one_alone_has_none():
    # mean 2, standard error 1, t of one degree of freedom 12.706
    found = bootstrap_mean([1.0, 3.0])
    assert (found.value, found.low, found.high) == pytest.approx((2.0, 2 - 12.7062, 2 + 12.7062), abs=1e-3)
    assert bootstrap_mean([0.4]) == Value(0.4, None, None, 1)


def test_a_mean_of_shares_is_never_known_without_a_width():
    none, all_alike = mean_share([0.0] * 100), mean_share([0.85] * 100)
    # of 102 observations one is 1: drawn 102 times it comes 0 to 3 times in 95 of 100
    assert (none.value, none.low, none.n) == (0.0, 0.0, 100) and none.high == pytest.approx(3 / 102, abs=0.011)
    assert all_alike.low < 0.85 == pytest.approx(all_alike.value) and all_alike.high >= all_alike.value
    one = mean_share([1.0])
    assert (one.value, one.high) == (1.0, 1.0) and one.low < 0.4
    assert none.complement() == Value(1.0, 1 - none.high, 1.0, 100)
    with pytest.raises(ValueError, match="a mean of no values"):
        mean_share([])


def test_the_number_for_a_power_is_where_the_interval_begins_to_reach_the_limit():
    n = trials_for_power(0.98, 0.958)
    for size, reached in ((n, True), (n + 1, True), (2 * n, True), (n - 1, False)):
        fewest = next(k for k in range(size + 1) if rate(k, size).low >= 0.958)
        assert (binom.sf(fewest - 1, size, 0.98) >= 0.8) == reached
    assert trials_for_power(0.99, 0.958) < n < trials_for_power(0.98, 0.958, power=0.95)
    with pytest.raises(ValueError, match=r"never shown to be above 0\.958"):
        trials_for_power(0.95, 0.958)


def test_the_pairs_for_a_power_are_those_of_the_normal_approximation_where_they_are_many():
    # d (1.96 + .84)^2 / difference^2
    assert pairs_for_power(0.1, 0.02) == pytest.approx(0.1 * (1.959964 + 0.841621) ** 2 / 0.02**2, abs=3)
    assert pairs_for_power(0.1, 0.02, power=0.95) > pairs_for_power(0.1, 0.02) > pairs_for_power(0.05, 0.02)


def test_two_samples_of_one_distribution_and_of_two():
    # three values apart from three others: 2 of the C(6, 3) orders are as far apart
    assert same_distribution_p([1.0, 2.0, 3.0], [4.0, 5.0, 6.0]) == pytest.approx(2 / 20)
    assert same_distribution_p([1.0, 2.0], [1.0, 2.0]) == 1.0
    with pytest.raises(ValueError, match="both sides"):
        same_distribution_p([], [1.0])


def test_mcnemar_counts_the_pairs_that_changed():
    # nine fell, one rose: 2 (C(10,0) + C(10,1)) / 2^10
    before, after = [1] * 9 + [0] + [1] * 5, [0] * 9 + [1] + [1] * 5
    assert mcnemar(before, after) == pytest.approx(2 * 11 / 1024)
    assert mcnemar(after, before) == pytest.approx(2 * 11 / 1024)
    assert mcnemar([1, 0], [1, 0]) == 1.0, "nothing changed"
    with pytest.raises(ValueError, match="no observations"):
        mcnemar([], [])


def test_holm_multiplies_the_smallest_by_the_number_of_comparisons():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []
