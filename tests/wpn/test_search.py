"""What a trial draws, what the search raises, and which trial it takes."""

import pytest

from wpn.errors import InputError
from wpn.search import best, drawn, score


def test_the_first_trial_is_what_was_given_and_the_others_are_drawn_by_the_seed():
    first, space = {"rate": 1, "kl": 5, "method": "ga"}, {"rate": range(1, 9), "kl": (5, 6)}
    found = drawn(first, space, "1", 9)
    assert found[0] == first and len(found) == 9 and found == drawn(first, space, "1", 9) != drawn(first, space, "2", 9)
    distinct = {(row["rate"], row["kl"]) for row in drawn(first, space, "1", 99)}
    assert distinct == {(rate, kl) for rate in range(1, 9) for kl in (5, 6)}, "all there are, each once"


def test_the_score_is_the_mean_rate_less_what_it_cost():
    rates = {"harmless_unseen": 1.0, "harmless_sampled": 0.9}
    assert score(rates) == pytest.approx(0.95)
    assert score({**rates, "benchmark_drop": 0.01, "alarm_perplexity_ratio": 1.05}) == pytest.approx(0.95)
    # three points lost, two of them beyond the free one: ten; alarm 1.15: another ten
    assert score({**rates, "benchmark_drop": 0.03}) == pytest.approx(0.85)
    assert score({**rates, "alarm_perplexity_ratio": 1.15}) == pytest.approx(0.85)
    assert score({**rates, "benchmark_drop": -0.5, "alarm_perplexity_ratio": 0.5}) == pytest.approx(0.95), "no reward"
    assert score({**rates, "alarm_perplexity_ratio": 1e9}) == pytest.approx(0.95 - 98.95)
    assert score({**rates, "relearn_auc": 0.5}) == pytest.approx(0.90)


def row(method, trial, **found):
    return {"method": method, "trial": trial, "settings": {"kl": trial}, **found}


def test_the_best_is_that_of_the_mean_over_the_models_and_of_those_that_ended_on_all():
    rows = [
        row("npo", 0, score=0.9), row("npo", 0, score=0.5),
        row("npo", 1, score=0.8), row("npo", 1, score=0.7),
        row("npo", 2, score=1.0), row("npo", 2, failed="diverged"),
        row("ga", 0, score=0.2), row("ga", 1, score=0.2),
    ]  # fmt: skip
    found = best(rows)
    assert {name: (each["trial"], each["score"]) for name, each in found.items()} == {"npo": (1, 0.75), "ga": (0, 0.2)}


def test_a_method_of_which_every_trial_failed_is_named():
    with pytest.raises(InputError, match=r"every trial of npo failed; .*Last: loss is nan"):
        best([row("npo", 0, failed="no"), row("npo", 1, failed="loss is nan"), row("ga", 0, score=0.5)])
