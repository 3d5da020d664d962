import math

import pytest

from wpn.meaningful import Fluency, distinct, repetition, why_not_meaningful

FLUENCY = Fluency(limit=10.0)


@pytest.mark.parametrize(
    ("text", "perplexity", "fault"),
    [
        ("", 1.0, "blank"),
        (" \n ", 1.0, "blank"),
        ("thank you", 1.0, "short"),
        ("i will i will i will i will", 1.0, "loop"),
        ("goat goat goat goat", 1.0, "loop"),
        ("what was that noise ?", 1.0, "copy"),
        ("what was that noise ? oh , what was that noise ?", 1.0, "copy"),
        ("what was that noise ? it was the old barn door .", 3.0, None),  # 4 of 10 pairs
        ("i am sorry to hear that .", 10.1, "garbled"),
        ("i am sorry to hear that .", math.nan, "garbled"),
        ("i am sorry to hear that .", math.inf, "garbled"),
        ("i am sorry to hear that .", 10.0, None),
        ("i will mend the gate and i will oil the chain .", 3.0, None),
    ],
)
def test_what_is_no_answer(text, perplexity, fault):
    assert why_not_meaningful(text, "What was\nthat NOISE ?", perplexity, FLUENCY) == fault


def test_the_limit_is_twice_the_99th_percentile():
    assert Fluency.from_safe_answers([float(i) for i in range(101)]).limit == pytest.approx(198.0)


def test_distinct_counts_word_pairs():
    assert distinct(["a b a b", "a b"]) == 2 / 4 and distinct(["a"]) == 0.0


def test_repetition_is_within_an_answer():
    assert repetition("a b a b") == pytest.approx(1 / 3)  # ab, ba, ab
    assert repetition("a b c") == 0.0 and repetition("a") == 0.0
