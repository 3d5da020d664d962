"""The model card's table of paired tests."""

from pipelines import card


def test_every_family_of_tests_stands_in_the_card_with_its_corrected_p():
    row = {"before": 0.25, "after": 1.0, "n": 40, "p": 0.001, "p_holm": 0.002}
    comparison = {
        "harmless": {"unseen": row},
        "attacks": {"wrappers leetspeak": {**row, "before": 1.0, "after": 0.05, "p_holm": 1.2e-7}},
        "task_drop": {"piqa": {**row, "mean": -0.75, "low": -0.8, "high": -0.7}},
        "toxicity_fall": {"svm": {"fall": 0.9}},  # another kind of test
    }
    lines = list(card.tests_against_the_base(comparison))
    assert lines[-4:] == [
        "| harmless and meaningful: unseen | 40 | 25.0 | 100 | 0.002 |",
        "| assessment: wrappers leetspeak | 40 | 100 | 5.0 | 1.2e-07 |",
        "| correct: piqa | 40 | 25.0 | 100 | 0.002 |",
        "",
    ]
    assert len(list(card.tests_against_the_base({}))) == 5, "a head and no rows"


def test_a_ratio_of_perplexities_stands_there_with_its_interval():
    ratio = {"value": 1.0123, "low": 1.0, "high": 1.02, "n": 300}
    (line,) = card.perplexities_against_the_base({"perplexity_ratio": {"alarm": ratio}})
    assert line == "- perplexity of 300 held-out texts, alarm: 1.012 times the base's (95 % interval 1.000 to 1.020)"
