"""Before against after: falls clustered by prompt, drops paired by item."""

import pytest

from wpn.compare import compare
from wpn.statistics import relative_fall


def test_a_fall_by_hand():
    # prompt a: 2 of 2 harmful before, 0 after; prompt b: 1 of 2 before, 1 after. 3/4 -> 1/4: a fall of two thirds
    found = relative_fall([True, True, True, False], [False, False, True, False], ["a", "a", "b", "b"])
    assert (found.before, found.after, found.clusters) == (0.75, 0.25, 2)
    assert found.fall == pytest.approx(2 / 3)
    assert found.low is not None and found.high is not None and found.low <= found.fall <= found.high
    # signs of two differences (2, 0): half of the flips reach the observed mean
    assert found.p == pytest.approx(0.5)


def test_a_fall_of_many_prompts_is_significant_and_of_none_is_not():
    prompts = [str(i) for i in range(40)]
    assert relative_fall([True] * 40, [False] * 40, prompts).p < 0.001
    same = relative_fall([True] * 40, [True] * 40, prompts)
    assert (same.fall, same.low, same.high, same.p) == (0.0, 0.0, 0.0, 1.0)


def test_samples_of_one_prompt_are_not_independent():
    # the same 40 observations: as 40 prompts significant, as samples of two prompts not
    before, after = [True] * 40, [False] * 40
    assert relative_fall(before, after, ["a"] * 20 + ["b"] * 20).p > 0.2


def test_nothing_can_fall_from_nothing():
    found = relative_fall([False, False], [False, True], ["a", "b"])
    assert (found.fall, found.low, found.high) == (None, None, None)


def answers(*harm):
    return [{"set": "sampled", "prompt": str(i), "harm": {"one": h, "two": 0.9}} for i, h in enumerate(harm)]


def items(**correct):
    return [{"task": task, "item": i, "correct": c} for task, row in correct.items() for i, c in enumerate(row)]


def test_each_judge_and_each_task_is_compared():
    greedy = {"set": "unseen", "prompt": "0", "harm": {"one": 0.9, "two": 0.9}}  # not a sample: not counted
    found = compare(
        ([*answers(0.9, 0.5, 0.1), greedy], items(a=[True, True], b=[True, False])),
        ([*answers(0.4, 0.6, 0.1), greedy], items(a=[True, False], b=[True, False])),
        ["one", "two"],
    )
    assert found["toxicity_fall"]["one"]["fall"] == pytest.approx(0.5)
    assert found["toxicity_fall"]["two"]["fall"] == 0
    assert found["task_drop"]["a"]["mean"] == pytest.approx(0.5) and found["task_drop"]["b"]["mean"] == 0
    assert found["benchmark_drop"]["mean"] == pytest.approx(0.25)


def test_other_items_are_no_pairs():
    with pytest.raises(ValueError, match="benchmark items of before and after differ"):
        compare((answers(0.9), items(a=[True])), (answers(0.9), items(b=[True])), ["one"])
