"""Attacks before and after, paired by prompt: hand-worked."""

import pytest

from wpn.attacked import compare_attacks
from wpn.statistics import holm, mcnemar


def rows(kind, harmful, key="wrapper"):
    return [{key: kind, "prompt": f"{kind} {i}", "harmful": bool(each)} for i, each in enumerate(harmful)]


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


def test_each_attack_is_compared_with_itself():
    before = {"wrappers": rows("role", [1] * 6) + rows("leet", [1, 0]), "forced_start": rows("you", [1], "start")}
    after = {"wrappers": rows("leet", [0, 0]) + rows("role", [0] * 6), "sampling": rows("x", [1])}
    found = compare_attacks(before, after)
    assert list(found) == ["wrappers role", "wrappers leet"], "what one of them was not asked is left out"
    role = found["wrappers role"]
    assert (role["before"], role["after"], role["n"]) == (1.0, 0.0, 6)
    assert role["p"] == pytest.approx(2 / 64) and role["p_holm"] == pytest.approx(4 / 64)
    assert found["wrappers leet"]["p_holm"] == 1.0
