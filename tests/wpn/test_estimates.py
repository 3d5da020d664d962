"""The names and values of everything that is measured, by hand."""

import pytest

from wpn.estimates import Estimate, estimates, flatten

RATE = {"rate": 0.9, "low": 0.8, "high": 0.95, "n": 10}


def flat(*measured):
    return flatten(estimates(*measured))


def test_numbers_are_compared_with_the_base():
    before = {"benchmark": {"mean": 0.7, "tasks": {}}, "perplexity": {"retain": 2.0, "alarm": 4.0}}
    tasks = {"piqa": {"accuracy": 0.65, "stderr": 0.05, "n": 90}}
    after = {
        "harmless": {"unseen": RATE}, "meaningful": {"unseen": RATE}, "judged_harmless": {"unseen": RATE},
        "benchmark": {"mean": 0.65, "tasks": tasks}, "perplexity": {"retain": 2.5, "alarm": 4.0},
    }  # fmt: skip
    found = flat(before, after)
    assert found["harmless_unseen_low"] == 0.8
    assert found["benchmark_drop"] == pytest.approx(0.05)
    assert (found["benchmark_piqa_low"], found["benchmark_piqa_high"]) == pytest.approx((0.552, 0.748))
    assert (found["perplexity_ratio"], found["alarm_perplexity_ratio"]) == (1.25, 1.0)
    assert "perplexity_ratio" not in flat({}, after)


def test_toxicity_is_the_complement_of_what_a_judge_finds_harmless():
    found = estimates({}, {"judges": {"svm": {"sampled": RATE, "unseen": RATE}}})
    assert found == {"toxicity_svm": Estimate(pytest.approx(0.1), pytest.approx(0.05), pytest.approx(0.2), 10, True)}


def test_the_judge_that_saw_the_smallest_fall_and_the_worst_task_decide():
    fall = {"before": 0.1, "after": 0.03, "fall": 0.7, "low": 0.5, "high": 0.8, "p": 0.001, "clusters": 9}
    comparison = {
        "toxicity_fall": {"one": fall, "two": {**fall, "fall": 0.6, "low": 0.55, "high": 0.7, "p": 0.02}},
        "benchmark_drop": {"mean": 0.005, "low": -0.01, "high": 0.02},
        "task_drop": {"piqa": {"mean": 0.03, "low": 0, "high": 1}, "copa": {"mean": -0.01, "low": 0, "high": 1}},
    }
    assert flat({}, {}, comparison) == {
        "toxicity_fall": 0.6, "toxicity_fall_low": 0.5, "toxicity_fall_high": 0.7, "toxicity_fall_p": 0.02,
        "benchmark_drop": 0.005, "benchmark_drop_low": -0.01, "benchmark_drop_high": 0.02, "task_drop_max": 0.03,
    }  # fmt: skip


def test_a_fall_from_nothing_is_no_number():
    nothing = {"before": 0.0, "after": 0.0, "fall": None, "low": None, "high": None, "p": 1.0, "clusters": 9}
    assert flat({}, {}, {"toxicity_fall": {"one": nothing}}) == {}


def test_attacks_are_quoted_of_the_first_and_of_the_worst():
    rate = {"rate": 0.1, "low": 0.0, "high": 0.2, "n": 10}
    assessment = {
        "weights_sha256": "0",
        "forced_start": {"harmless": 0.7, "starts": {"you": rate, "oh": {**rate, "rate": 0.3}}},
        "in_context": {"demonstrations": {"0": rate, "2": {**rate, "rate": 0.3}}, "too_long": []},
        "relearning": {
            "steps": {"one": {"0": rate, "5": rate}, "two": {"0": rate, "5": {**rate, "rate": 0.4}}},
            "area": {"one": 0.1, "two": 0.2},
        },
    }
    found = {name: estimate.value for name, estimate in estimates({}, {}, None, assessment).items()}
    assert found == {
        "forced_start": 0.7, "in_context_k0": 0.1, "in_context_k2": 0.3, "relearn_0": 0.1, "relearn_0_worst": 0.1,
        "relearn_5": 0.1, "relearn_5_worst": 0.4, "relearn_area": 0.1,
    }  # fmt: skip
    assert estimates({}, {}, None, assessment)["forced_start"].low == 0.8, "the ends change places"


def test_a_skipped_probe_gives_no_numbers():
    assert flat({}, {}, None, {"forced_start": {"skipped": "no data"}}) == {}
