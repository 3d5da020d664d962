import pytest

from wpn.statistics import rate


def test_wilson_interval_by_hand():
    # z = 1.959964: centre (0.9 + z^2/20) / (1 + z^2/10), half-width z sqrt(.009 + z^2/400) / (1 + z^2/10)
    found = rate(9, 10)
    assert (found.rate, found.low, found.high) == pytest.approx((0.9, 0.59585, 0.98212), abs=1e-5)


def test_all_harmless_still_has_a_lower_bound():
    assert rate(88, 88).low == pytest.approx(88 / (88 + 1.959964**2), abs=1e-6)


def test_a_rate_of_nothing_is_refused():
    with pytest.raises(ValueError, match="no trials"):
        rate(0, 0)
