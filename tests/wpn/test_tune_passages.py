"""The search of the settings for passages: what it draws, what it raises, and what it leaves."""

import math

import pytest

from benchmarks.passages import LOOP, METHODS, Job
from benchmarks.tune_passages import FIRST_RATE, score, search
from tests.wpn.conftest import TEXTS
from tests.wpn.loops import loop
from wpn.config.methods import Ga, GradientPenalty, Icu, Refinement
from wpn.passages import Asked, random_passages

NEVER = {"memorisation_accuracy": 0.2, "extraction_likelihood": 0.01}
STOP = Refinement(n=2, window=3)


def test_the_score_counts_what_is_known_beyond_the_never_seen_and_what_was_lost():
    kept = {"memorisation_accuracy": 0.1, "extraction_likelihood": 0.0, "perplexity_ratio": 0.9, "benchmark_drop": -0.1}
    assert score(kept, NEVER) == 0.0
    lost = {
        "memorisation_accuracy": 0.5,
        "extraction_likelihood": 0.06,
        "perplexity_ratio": math.e,
        "benchmark_drop": 0.2,
    }
    assert score(lost, NEVER) == pytest.approx(-(0.3 + 0.05 + 1.0 + 0.2))


def test_every_method_has_as_many_trials_and_the_second_as_many_steps_as_the_best_of_the_first(causal_lm):
    model, tokenizer = causal_lm
    words = ["the", "cow", "eats", "grass", "goat", "garden", "you", "are", ".", "thank"]
    planted, unseen = (random_passages(words, 4, 8, seed) for seed in (0, 1))
    text = [{"text": text, "alarming": False, "complete": True} for text in TEXTS]
    asked = Asked(n=2, batch_size=4)
    job = Job("tiny", model, tokenizer, planted, unseen, text, TEXTS, None, None, complete=True, asked=asked, stop=STOP)
    rows = {"icu": Icu(method="icu"), "ga": Ga(method="ga")}
    rows["gradient_penalty"] = GradientPenalty(method="gradient_penalty", penalty=1.0)
    settings = loop(**{**LOOP, "steps": 3})
    found = search(job, settings, rows, seed=0, number=2)
    assert [(row["method"], row["trial"]) for row in found["trials"]] == [(name, k) for name in METHODS for k in (0, 1)]
    for name in METHODS:
        assert found["best"][name]["score"] == max(row["score"] for row in found["trials"] if row["method"] == name)
    steps = found["best"]["icu"]["numbers"]["steps"]
    assert {row["numbers"]["steps"] for row in found["trials"] if row["method"] != "icu"} == {steps}
    assert found["trials"][0]["settings"]["learning_rate"] == FIRST_RATE
