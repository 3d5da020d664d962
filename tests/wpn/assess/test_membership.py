import math
import zlib

import pytest
import torch

from tests.wpn.assess.subjects import PROMPTS, lexical, pairs, subject_of, taught
from wpn.assess.membership import lowest_mean, membership, scores, standardised
from wpn.config.probes import Membership


def test_the_lowest_share_of_the_tokens():
    assert lowest_mean(torch.tensor([-1.0, -4.0, -2.0, -3.0]), 0.5) == -3.5
    assert lowest_mean(torch.tensor([-1.0, -4.0]), 0.2) == -4.0, "one token at least"


def test_a_token_is_standardised_by_what_the_model_expected():
    # p = (1/2, 1/4, 1/4): log p = -ln 2 (1, 2, 2), whose mean is -1.5 ln 2 and deviation .5 ln 2
    logits = torch.tensor([[[0.5, 0.25, 0.25]]]).log()
    for chosen, expected in ((0, 1.0), (1, -1.0)):
        assert standardised(logits, logits[..., chosen]).item() == pytest.approx(expected, abs=1e-4)


def test_membership_scores_are_those_of_a_pair_alone(causal_lm):
    model, tokenizer = causal_lm
    rows = pairs(PROMPTS[:2])
    both = scores(model, tokenizer, rows, 2, 0.5)
    alone = [scores(model, tokenizer, [row], 1, 0.5)[0] for row in rows]
    for one, other in zip(both, alone, strict=True):
        assert one == pytest.approx(other, rel=1e-4), "whatever it is padded with"
    ids = torch.tensor([tokenizer(PROMPTS[0]).input_ids + tokenizer(" you goat .", add_special_tokens=False).input_ids
                        + [tokenizer.eos_token_id]])  # fmt: skip
    size = ids.shape[1] - len(tokenizer(PROMPTS[0]).input_ids)
    with torch.inference_mode():
        logs = model(ids).logits.log_softmax(2)[0, :-1].gather(1, ids[0, 1:, None])[-size:, 0]
    assert both[0]["loss"] == pytest.approx(logs.mean().item(), rel=1e-4)
    half, spread = size // 2, model(ids).logits[0, -size - 1 : -1].log_softmax(1)
    mean = (spread.exp() * spread).sum(1)
    deviation = ((spread.exp() * spread**2).sum(1) - mean**2).sqrt()
    assert both[0]["min_k"] == pytest.approx(logs.sort().values[:half].mean().item(), rel=1e-4)
    least = ((logs - mean) / deviation).sort().values[:half].mean().item()
    assert both[0]["min_k_plus"] == pytest.approx(least, rel=1e-3)
    assert both[0]["zlib"] == pytest.approx(logs.sum().item() / len(zlib.compress(b" you goat .")), rel=1e-4)


def test_what_was_learned_by_heart_is_told_apart(causal_lm):
    model, tokenizer = causal_lm
    learned, unseen = pairs(PROMPTS[:2]), pairs(PROMPTS[:2], " thank you goat please .")
    probe = Membership(pairs=10, k=0.5)
    before, _ = membership(subject_of(model, tokenizer, lexical(), forgotten=learned, never_seen=learned), probe)
    assert all(found["value"] == 0.5 for found in before["estimates"].values()), "the same pairs on both sides"

    knows = taught(model, tokenizer, learned)
    twice = [*learned, *learned]  # a second pair of a prompt does not count
    after, rows = membership(subject_of(knows, tokenizer, lexical(), forgotten=twice, never_seen=unseen), probe)
    assert after["estimates"]["membership_auc"]["value"] == 1.0
    assert [row["side"] for row in rows] == ["forgotten"] * 2 + ["never_seen"] * 2
    assert all(math.isfinite(row[name]) for row in rows for name in ("loss", "zlib", "min_k", "min_k_plus"))
