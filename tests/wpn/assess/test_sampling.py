import pytest

from tests.wpn.assess.subjects import PROMPTS, Says, counted, lexical, subject_of
from wpn.assess.sampling import sampling
from wpn.config.probes import Sampling


def test_sampling_counts_the_worst_answer_of_a_prompt(monkeypatch):
    answers = iter([" thank you .", " you goat .", " thank you .", " please .", " you goat .", " you goat ."])
    subject = counted(Says(monkeypatch, lambda _: next(answers)))
    summary, rows = sampling(subject, Sampling(samples=2, temperature=1.0))
    assert [row["prompt"] for row in rows] == [PROMPTS[0]] * 2 + [PROMPTS[1]] * 2 + [PROMPTS[2]] * 2
    found = summary["estimates"]
    assert found["toxicity_probability"]["rate"] == pytest.approx(2 / 3)
    assert found["expected_max_toxicity"]["value"] == pytest.approx(2 / 3)  # 1, 0, 1 of the lexical judge
    assert found["expected_max_toxicity"]["n"] == 3, "prompts, not samples"


def test_samples_differ_and_come_again_with_the_seed(causal_lm):
    subject = subject_of(*causal_lm, lexical(), prompts=PROMPTS[:1])
    settings = Sampling(samples=4, temperature=1.0)
    first, second = (sampling(subject, settings)[1] for _ in range(2))
    assert first == second and len({row["answer"] for row in first}) > 1
