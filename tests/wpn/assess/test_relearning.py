import copy

import pytest
import torch

from tests.wpn.assess.subjects import ATTACKS, lexical, pairs, subject_of
from wpn.assess.relearning import relearning
from wpn.config.probes import Relearning
from wpn.config.training import Attack
from wpn.outcomes import relearning_areas
from wpn.statistics import mean_share, rate, shared_confidence
from wpn.worst import worst_mean


def test_relearning_teaches_a_copy_and_asks_on_the_way(causal_lm):
    model, tokenizer = causal_lm
    before = copy.deepcopy(model.state_dict())
    summary, rows = relearning(subject_of(model, tokenizer, lexical(), held_out=pairs()), ATTACKS)
    rates = [found["rate"] for found in summary["steps"]["adamw-0.03"].values()]
    assert rates[0] == 0.0 and rates[-1] == 1.0  # a model of two layers learns two pairs by heart
    assert list(summary["steps"]["adamw-0.03"]) == ["0", "2", "30"]
    whole = (rates[0] + rates[1]) / 2 * 2 + (rates[1] + 1) / 2 * 28
    assert summary["area"]["adamw-0.03"]["value"] == pytest.approx(whole / 30)
    assert len(rows) == 9 and {row["pairs"] for row in rows} == {2}
    assert all(torch.equal(before[name], weights) for name, weights in model.state_dict().items())


def test_relearning_is_quoted_of_the_first_attack_and_of_the_worst(causal_lm):
    slow, fast = (Attack(optimizer="adamw", learning_rate=rate) for rate in (1e-6, 0.03))
    settings = ATTACKS.model_copy(update={"attacks": [slow, fast]})
    summary, _ = relearning(subject_of(*causal_lm, lexical(), held_out=pairs()), settings)
    found = {name: estimate.get("rate", estimate.get("value")) for name, estimate in summary["estimates"].items()}
    assert (found["relearn_30"], found["relearn_30_worst"], found["relearn_0"]) == (0.0, 1.0, 0.0)
    assert (found["relearn_auc"], found["relearn_auc_worst"]) == (0.0, summary["area"]["adamw-0.03"]["value"])
    assert summary["estimates"]["relearn_0_worst"]["high"] == rate(0, 3, shared_confidence(2)).high


def test_relearning_from_fewer_pairs_is_of_the_first_attack_alone(causal_lm):
    first, second = (Attack(optimizer="adamw", learning_rate=rate) for rate in (0.03, 1e-6))
    settings = Relearning(pairs=[2, 1], batch_size=2, steps=[30], attacks=[first, second])
    summary, rows = relearning(subject_of(*causal_lm, lexical(), held_out=pairs()), settings)
    assert list(summary["steps"]) == ["adamw-0.03", "adamw-1e-06", "adamw-0.03-of-1"]
    assert {(row["attack"], row["pairs"]) for row in rows} == {
        ("adamw-0.03", 2), ("adamw-1e-06", 2), ("adamw-0.03-of-1", 1),
    }  # fmt: skip
    alone = Relearning(pairs=[1], batch_size=2, steps=[30], attacks=[first])
    of_one, _ = relearning(subject_of(*causal_lm, lexical(), held_out=pairs()), alone)
    found, expected = summary["estimates"], of_one["estimates"]
    for name in ("relearn_0", "relearn_30", "relearn_auc"):
        assert found[f"{name}_of_1"] == expected[name]
    assert set(found) == {*expected, *(f"{name}_of_1" for name in ("relearn_0", "relearn_30", "relearn_auc"))}


def test_fewer_pairs_than_there_are_is_fewer(causal_lm):
    settings = Relearning(pairs=[16, 3, 1], batch_size=2, steps=[1], attacks=ATTACKS.attacks)
    summary, _ = relearning(subject_of(*causal_lm, lexical(), held_out=pairs()), settings)
    assert list(summary["steps"]) == ["adamw-0.03", "adamw-0.03-of-1"], "three of three is the same attack again"


def test_a_number_of_pairs_is_attacked_once():
    with pytest.raises(ValueError, match="4 is there twice; leave one out"):
        Relearning(pairs=[4, 1, 4], batch_size=2, steps=[1], attacks=ATTACKS.attacks)
    with pytest.raises(ValueError, match="greater than 0"):
        Relearning(pairs=[4, 0], batch_size=2, steps=[1], attacks=ATTACKS.attacks)
    with pytest.raises(ValueError, match="is not the largest; put 16 first"):
        Relearning(pairs=[1, 4, 16], batch_size=2, steps=[1], attacks=ATTACKS.attacks)


def test_the_area_of_each_prompt_is_one_observation():
    harm = {0: (False, False), 10: (True, False), 20: (True, False)}
    described = [(step, prompt, each) for step, both in harm.items() for prompt, each in zip("ab", both, strict=True)]
    rows = [{"attack": "sgd-1", "step": step, "prompt": prompt, "harmful": each} for step, prompt, each in described]
    # of the first prompt 0 to 10 rises from 0 to 1 (mean 1/2), 10 to 20 stays at 1
    assert relearning_areas({"relearning": rows}) == {"sgd-1": {"a": 0.75, "b": 0.0}}


def test_the_highest_area_has_an_interval_for_all_of_them():
    low, high = [i / 80 for i in range(40)], [0.5 + i / 80 for i in range(40)]
    found = worst_mean([low, high], seed=0)
    alone = mean_share(high)
    assert (found.value, found.n) == (alone.value, 40) and found.low < alone.low < alone.high < found.high
    assert worst_mean([high], seed=0) == alone
