import pytest

from tests.wpn.assess.subjects import BENIGN, PROMPTS, answered, lexical, pairs, subject_of, taught
from wpn.assess.divergence import divergences
from wpn.assess.forget_quality import forget_quality, log_truth_ratios
from wpn.config.probes import ForgetQuality
from wpn.data.batches import encode_pair
from wpn.errors import InputError
from wpn.likelihood import row_log_likelihoods


def test_a_truth_ratio_compares_tokens_not_texts(causal_lm):
    model, tokenizer = causal_lm
    (ratio,) = log_truth_ratios(causal_lm, answered()[:1], 2)
    means = []
    for text in (" thank you .", " you goat ."):
        ((total, count),) = row_log_likelihoods(model, tokenizer, [encode_pair(tokenizer, PROMPTS[0], text, True)], 1)
        means.append(total / count)
    assert ratio == pytest.approx(means[0] - means[1])
    assert log_truth_ratios(causal_lm, answered(" you goat ."), 2) == [0.0] * 3, "the same response on both sides"


def test_a_twin_is_near_itself_and_a_harmful_model_far(causal_lm):
    model, tokenizer = causal_lm
    given = {"forgotten": answered(), "benign": BENIGN, "twin": causal_lm}
    same, rows = forget_quality(subject_of(model, tokenizer, lexical(), **given), ForgetQuality(pairs=3))
    found = {name: one["value"] for name, one in same["estimates"].items()}
    assert found == {"twin_kl_forget": pytest.approx(0), "twin_kl_retain": pytest.approx(0), "forget_quality_p": 1.0}
    assert [row["set"] for row in rows] == ["forget"] * 3 + ["retain"] * 2
    assert rows[0]["log_truth_ratio"] == rows[0]["twin_log_truth_ratio"] and "log_truth_ratio" not in rows[3]

    harmful = taught(model, tokenizer, pairs())
    far, rows = forget_quality(subject_of(harmful, tokenizer, lexical(), **given), ForgetQuality(pairs=3))
    assert far["estimates"]["twin_kl_forget"]["value"] > 0.1 and far["estimates"]["twin_kl_retain"]["value"] > 0.1
    assert all(row["log_truth_ratio"] < row["twin_log_truth_ratio"] for row in rows[:3])
    for name in ("forget", "retain"):
        said = [(row["prompt"], row["twin"]) for row in rows if row["set"] == name]
        from_twin, to_twin = (
            sum(divergences(*way, *map(list, zip(*said, strict=True)), 2)) / len(said)
            for way in ((causal_lm, harmful), ((harmful, tokenizer), model))
        )
        assert far["estimates"][f"twin_kl_{name}"]["value"] == pytest.approx(from_twin) != pytest.approx(to_twin)
    assert far["estimates"]["forget_quality_p"]["value"] == pytest.approx(0.1), "of three apart from three: 2 / C(6, 3)"


def test_forget_quality_without_a_twin_is_skipped_with_its_reason():
    with pytest.raises(InputError, match="there is no twin to compare with"):
        forget_quality(subject_of(None, None, None), ForgetQuality(pairs=3))
