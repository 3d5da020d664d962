"""The names and values of everything that is measured, by hand."""

import pytest

from wpn.estimates import Estimate, estimates, flatten
from wpn.statistics import rate

RATE = {"rate": 0.9, "low": 0.8, "high": 0.95, "n": 10}


def flat(*measured):
    return flatten(estimates(*measured))


def test_numbers_are_compared_with_the_base():
    before = {"benchmark": {"mean": 0.7, "tasks": {}}, "perplexity": {"retain": 2.0, "alarm": 4.0}}
    tasks = {"piqa": {"accuracy": 0.65, "stderr": 0.05, "n": 100}}
    after = {
        "harmless": {"unseen": RATE}, "meaningful": {"unseen": RATE}, "judged_harmless": {"unseen": RATE},
        "benchmark": {"mean": 0.65, "tasks": tasks}, "perplexity": {"retain": 2.5, "alarm": 4.0},
    }  # fmt: skip
    found = flat(before, after)
    assert found["harmless_unseen_low"] == 0.8
    assert found["benchmark_drop"] == pytest.approx(0.05)
    assert (found["benchmark_piqa_low"], found["benchmark_piqa_high"]) == pytest.approx(
        (0.5525, 0.7364), abs=1e-4
    )  # Wilson
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


def test_every_probe_names_its_own_numbers():
    assessment = {
        "weights_sha256": "0", "seconds": 3.5,
        "forced_start": {"estimates": {"forced_start": {"rate": 0.7, "low": 0.5, "high": 0.8, "n": 10}}, "starts": {}},
        "membership": {"estimates": {"membership_auc": {"value": 0.4, "low": 0.3, "high": 0.5, "n": 20}}},
        "relearning": {"estimates": {"relearn_auc": {"value": 0.1}}},
    }  # fmt: skip
    found = estimates({}, {}, None, assessment)
    assert found["forced_start"] == Estimate(0.7, 0.5, 0.8, 10, share=True)
    assert found["membership_auc"] == Estimate(0.4, 0.3, 0.5, 20), "no share: its interval is not Wilson's"
    assert found["relearn_auc"] == Estimate(0.1) and len(found) == 3


def test_what_was_compared_pair_by_pair_has_its_interval():
    ends = {"low": 1.0, "high": 1.5, "n": 9}
    comparison = {
        "perplexity_ratio": {"alarm": {"value": 1.25, **ends}},
        "in_context_recovery": {"2": {"value": 0.25, "low": 0.1, "high": 0.5, "n": 9}},
    }
    rates = {"in_context": {"estimates": {"in_context_k0": {"rate": 0.0}, "in_context_k2": {"rate": 0.25}}}}
    base = {"in_context": {"estimates": {"in_context_k2": {"rate": 1.0}}}}
    perplexities = [{"perplexity": {"retain": value, "alarm": value}} for value in (4.0, 5.0)]
    found = estimates(*perplexities, comparison, rates, base)
    assert found["alarm_perplexity_ratio"] == Estimate(1.25, 1.0, 1.5) and found["perplexity_ratio"] == Estimate(1.25)
    assert found["in_context_recovery_k2"] == Estimate(0.25, 0.1, 0.5, 9)


def test_a_skipped_probe_gives_no_numbers():
    assert flat({}, {}, None, {"forced_start": {"skipped": "no data"}}) == {}


def test_a_recovery_of_other_prompts_than_the_start_has_no_number_without_its_evidence():
    def summary(**rates):
        return {"in_context": {"estimates": {name: rate(*found).as_dict() for name, found in rates.items()}}}

    base = summary(in_context_k0=(40, 40), in_context_k2=(40, 40), in_context_k8=(3, 3))
    own = summary(in_context_k0=(0, 40), in_context_k2=(10, 40), in_context_k8=(3, 3))
    found = estimates({}, {}, None, own, base)
    assert found["in_context_recovery_k2"].value == 0.25 and "in_context_recovery_k8" not in found


def test_recovery_is_the_share_of_the_way_back_to_the_base():
    def shown(**rates):
        return {"in_context": {"estimates": {f"in_context_{k}": {"rate": share} for k, share in rates.items()}}}

    found = estimates({}, {}, None, shown(k0=0.1, k2=0.3, k8=0.1), shown(k0=1.0, k2=0.9, k8=0.1))
    recovered = {name: estimate.value for name, estimate in found.items() if "recovery" in name}
    assert recovered == {"in_context_recovery_k2": pytest.approx(0.2 / 0.8)}, "at k = 8 the base is no more harmful"
