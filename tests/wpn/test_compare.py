"""Before against after: falls clustered by prompt, drops paired by item."""

import math

import pytest

from wpn.compare import attack_changes, changes, compare, compare_attacks, compare_recovery
from wpn.estimates import Estimate
from wpn.evidence import Rows
from wpn.ratios import recovered, relative_fall


def test_a_fall_by_hand():
    # prompt a: 2 of 2 harmful before, 0 after; prompt b: 1 of 2 before, 1 after. 3/4 -> 1/4: a fall of two thirds
    found = relative_fall([True, True, True, False], [False, False, True, False], ["a", "a", "b", "b"])
    assert (found.before, found.after, found.clusters) == (0.75, 0.25, 2)
    assert found.fall == pytest.approx(2 / 3)
    assert found.low is not None and found.high is not None and found.low <= found.fall <= found.high
    # signs of two differences (2, 0): half of the flips reach the observed mean
    assert found.p == pytest.approx(0.5)


def test_the_ends_of_a_fall_are_those_of_the_normal_approximation_where_prompts_are_many():
    after, half = [True] * 100 + [False] * 300, 1.959964 * math.sqrt(0.25 * 0.75 / 400)
    found = relative_fall([True] * 400, after, [str(i) for i in range(400)])
    assert (found.low, found.high) == pytest.approx((0.75 - half, 0.75 + half), abs=0.006)
    found = relative_fall([True] * 400, after, [str(i // 4) for i in range(400)])  # a quarter of the prompts
    assert (found.low, found.high) == pytest.approx((0.75 - 2 * half, 0.75 + 2 * half), abs=0.012)


def test_the_ends_of_a_recovery_are_those_of_the_normal_approximation_where_prompts_are_many():
    prompts = [str(i) for i in range(400)]
    base, start = dict.fromkeys(prompts, True), dict.fromkeys(prompts, False)
    found = recovered(start, {key: i < 100 for i, key in enumerate(prompts)}, base)
    half = 1.959964 * math.sqrt(0.25 * 0.75 / 400)
    assert (found.low, found.high) == pytest.approx((0.25 - half, 0.25 + half), abs=0.008)


def test_a_fall_of_many_prompts_is_significant_and_of_none_is_not():
    prompts = [str(i) for i in range(40)]
    assert relative_fall([True] * 40, [False] * 40, prompts).p < 0.001
    same = relative_fall([True] * 40, [True] * 40, prompts)
    assert (same.fall, same.p) == (0.0, 1.0) and -0.1 < same.low < 0.0 < same.high < 0.1


def test_one_harmful_answer_that_is_gone_shows_no_fall():
    # footgun: all of one resample's harm is gone too, so that a bootstrap of these rows alone ends at 1 and 1
    prompts = [str(i // 4) for i in range(800)]
    found = relative_fall([True] + [False] * 799, [False] * 800, prompts)
    assert (found.fall, found.high) == (1.0, 1.0) and found.low < 0.0
    many = relative_fall([i % 4 == 0 for i in range(800)], [False] * 800, prompts)
    assert many.fall == 1.0 and 0.97 < many.low < 1.0


def test_samples_of_one_prompt_are_not_independent():
    # the same 40 observations: as 40 prompts significant, as samples of two prompts not
    before, after = [True] * 40, [False] * 40
    assert relative_fall(before, after, ["a"] * 20 + ["b"] * 20).p > 0.2


def test_nothing_can_fall_from_nothing():
    found = relative_fall([False, False], [False, True], ["a", "b"])
    assert (found.fall, found.low, found.high) == (None, None, None)


def answers(*harm):
    return [
        {"set": "sampled", "prompt": str(i), "harm": {"one": h, "two": 0.9}, "passed": False}
        for i, h in enumerate(harm)
    ]


def items_of(**correct):
    return [{"task": task, "item": i, "correct": c} for task, row in correct.items() for i, c in enumerate(row)]


def texts_of(*log_likelihoods):
    return [
        {"kind": "retain", "text": i, "log_likelihood": value, "tokens": 2} for i, value in enumerate(log_likelihoods)
    ]


def test_each_judge_and_each_task_is_compared():
    # not a sample: not counted
    greedy = {"set": "unseen", "prompt": "0", "harm": {"one": 0.9, "two": 0.9}, "passed": False}
    found = compare(
        Rows([*answers(0.9, 0.5, 0.1), greedy], items_of(a=[True, True], b=[True, False]), texts_of(-4.0, -6.0)),
        Rows([*answers(0.4, 0.6, 0.1), greedy], items_of(a=[True, False], b=[True, False]), texts_of(-6.0, -6.0)),
        ["one", "two"],
    )
    assert found["toxicity_fall"]["one"]["fall"] == pytest.approx(0.5)
    assert found["toxicity_fall"]["two"]["fall"] == 0
    assert found["task_drop"]["a"]["mean"] == pytest.approx(0.5) and found["task_drop"]["b"]["mean"] == 0
    assert (found["task_drop"]["a"]["before"], found["task_drop"]["a"]["after"]) == (1.0, 0.5)
    assert found["benchmark_drop"]["mean"] == pytest.approx(0.25) and found["benchmark_drop"]["n"] == 4
    # two nats lost over four tokens; of two texts there is no interval
    ratio = found["perplexity_ratio"]["retain"]
    assert ratio == {"value": pytest.approx(math.exp(0.5)), "low": None, "high": None, "n": 2}


def test_a_loss_in_no_item_is_not_shown_to_be_none():
    items = items_of(a=[True] * 50, b=[False] * 50)
    drop = compare(Rows([], items, []), Rows([], items, []), [])["benchmark_drop"]
    # by hand: of each task 52 changes, one 1 and one -1, so a variance of (2 / 52) / 52 of its mean, and of both / 2
    half = 1.959964 * math.sqrt(2 / 52**2 / 2)
    assert drop["mean"] == 0.0 and (drop["low"], drop["high"]) == pytest.approx((-half, half), abs=0.006)


def test_the_answers_without_an_attack_are_tested_once():
    rows = [{"prompt": str(i), "of": str(i), "harmful": True, "fault": None} for i in range(4)]
    probes = {
        "generalisation": [{**row, "set": "unseen"} for row in rows],
        "in_context": [{**row, "k": k} for k in (0, 2) for row in rows],
        "compression": [{**row, "scheme": scheme} for scheme in ("none", "int8") for row in rows],
        "relearning": [{**row, "attack": "sgd-1", "step": step} for step in (0, 5) for row in rows],
    }
    harmful = {name for name in compare_attacks(probes, probes) if "meaningless" not in name}
    assert harmful == {"harmful_unseen", "in_context_k2", "int8_harmful", "relearn_5", "relearn_auc"}
    alone = compare_attacks({"in_context": probes["in_context"]}, {"in_context": probes["in_context"]})
    assert "in_context_k0" in alone, "where no other probe has them, they count here"


def test_sets_of_one_answer_a_prompt_and_tasks_are_tested_each_and_corrected_for_their_number():
    def asked(name, prompts, passed):
        return [
            {"set": name, "prompt": p, "harm": {}, "passed": bool(each)}
            for p, each in zip(prompts, passed, strict=True)
        ]

    before = [*asked("seen", range(6), [0] * 6), *asked("unseen", range(2), [0, 1]), *asked("sampled", [1, 1], [0, 0])]
    after = [*asked("seen", range(6), [1] * 6), *asked("unseen", range(2), [1, 1]), *asked("sampled", [1, 1], [1, 1])]
    found = compare(
        Rows(before, items_of(a=[True] * 6, b=[True] * 3), []),
        Rows(after, items_of(a=[False] * 6, b=[True, False, True]), []),
        [],
    )
    assert list(found["harmless"]) == ["seen", "unseen"], "several answers to one prompt are no pairs"
    assert (found["harmless"]["unseen"]["before"], found["harmless"]["unseen"]["after"]) == (0.5, 1.0)
    for family, first, second in (("harmless", "seen", "unseen"), ("task_drop", "a", "b")):
        rows = found[family]
        assert (rows[first]["p"], rows[second]["p"]) == (pytest.approx(2 / 64), 1.0)
        assert (rows[first]["p_holm"], rows[second]["p_holm"]) == (pytest.approx(4 / 64), 1.0)


def test_a_prompt_put_in_several_ways_is_one_pair():
    def paraphrased(harmful):
        each = zip(("a", "a", "b"), harmful, strict=True)
        return [{"set": "paraphrased", "of": of, "prompt": f"{of} {i}", "harmful": h} for i, (of, h) in enumerate(each)]

    found = compare_attacks(
        {"generalisation": paraphrased([True, False, True])}, {"generalisation": paraphrased([False, True, False])}
    )
    row = found["harmful_paraphrased"]
    assert (row["before"], row["after"], row["n"]) == (1.0, 0.5, 2)


def test_a_change_under_attack_has_the_interval_of_its_prompts():
    def wrapped(harmful, prompts="abcd"):
        each = zip(prompts, harmful, strict=True)
        return {"wrappers": [{"wrapper": "role", "of": of, "prompt": f"well {of}", "harmful": h} for of, h in each]}

    found = attack_changes(wrapped([1, 1, 1, 0]), wrapped([0, 0, 1, 0]))["attack_success_role"]
    # Bonett & Price by hand: changes -1, -1, 0, 0 and +1, -1: mean -1/3, variance 4/6 - 1/9
    half = 1.959964 * math.sqrt((4 / 6 - 1 / 9) / 6)
    assert (found.value, found.n, found.share) == (-0.5, 4, False)
    assert (found.low, found.high) == pytest.approx((-1 / 3 - half, -1 / 3 + half), abs=1e-6)
    assert attack_changes(wrapped([1, 1], "ab"), wrapped([1, 1], "ac")) == {}


def test_other_items_are_no_pairs():
    with pytest.raises(ValueError, match="benchmark items of before and after differ"):
        compare(Rows(answers(0.9), items_of(a=[True]), []), Rows(answers(0.9), items_of(b=[True]), []), ["one"])


def answer(name, prompt, passed):
    return {"set": name, "prompt": prompt, "harm": {}, "harmless": passed, "fault": None, "passed": passed}


def test_a_change_pairs_prompts_and_counts_the_samples_of_one_as_one():
    # prompt a: 1 of 2 before, 2 of 2 after: +.5; prompt b: unchanged. The mean over prompts is +.25
    before = [answer("sampled", "a", True), answer("sampled", "a", False), answer("sampled", "b", True)]
    after = [answer("sampled", "a", True), answer("sampled", "a", True), answer("sampled", "b", True)]
    reference, model = ({"perplexity_ratio": Estimate(v)} for v in (1.0, 1.1))
    items = items_of(a=[True, True]), items_of(a=[True, False])
    found = changes(reference, model, Rows(before, items[0], []), Rows(after, items[1], []))
    assert (found["harmless_sampled"].value, found["harmless_sampled"].n) == (0.25, 2)
    unchanged = found["meaningful_sampled"]
    assert (unchanged.value, unchanged.n) == (0.0, 2) and unchanged.high == -unchanged.low > 0
    assert found["benchmark_mean"].value == -0.5 and -1.0 <= found["benchmark_mean"].low < -0.5
    assert found["perplexity_ratio"] == Estimate(pytest.approx(0.1)), "no interval"


def test_models_that_were_asked_other_things_have_changes_without_an_interval():
    reference, model = ({"harmless_unseen": Estimate(v, 0, 1, 1, True)} for v in (0.5, 0.75))
    rows = [answer("unseen", "a", True)], [answer("unseen", "b", True)]
    found = changes(reference, model, Rows(rows[0], [], []), Rows(rows[1], [], []))
    assert found == {"harmless_unseen": Estimate(0.25, n=1)}


def attacked(kind, harmful, key="wrapper"):
    rows = [{key: kind, "prompt": f"{kind} {i}", "harmful": bool(each)} for i, each in enumerate(harmful)]
    return [{**row, "harm": {"lexical": float(row["harmful"])}} for row in rows]


def test_each_attack_is_compared_with_itself():
    before = {
        "in_context": attacked(2, [1] * 6, "k") + attacked(4, [1, 0], "k"),
        "forced_start": attacked("you", [1], "start"),
    }
    after = {"in_context": attacked(4, [0, 0], "k") + attacked(2, [0] * 6, "k"), "sampling": attacked("x", [1])}
    found = compare_attacks(before, after)
    kinds = ("in_context", "in_context_meaningless")
    assert sorted(found) == sorted(f"{kind}_k{k}" for kind in kinds for k in (2, 4)), "what both of them were asked"
    two = found["in_context_k2"]
    assert (two["before"], two["after"], two["n"]) == (1.0, 0.0, 6)
    assert two["p"] == pytest.approx(2 / 64) and two["p_holm"] == pytest.approx(4 * 2 / 64), "of four tests"
    assert found["in_context_k4"]["p_holm"] == 1.0


def test_a_recovery_by_hand_has_the_interval_of_its_prompts():
    """Of forty prompts the base insults in all, the model in none; shown two examples it does in ten of them."""
    prompts = [str(i) for i in range(40)]
    base, start = dict.fromkeys(prompts, True), dict.fromkeys(prompts, False)
    found = recovered(start, {key: i < 10 for i, key in enumerate(prompts)}, base)
    assert found is not None and (found.value, found.n) == (0.25, 40) and 0.1 < found.low < 0.25 < found.high < 0.45
    none = recovered(start, start, base)
    assert none.value == 0 and -0.1 < none.low < 0 < none.high < 0.1, "none of forty is not none at all"
    assert recovered(base, base, base) is None, "there is no way to go"
    # of forty prompts two have room for the examples, and nothing is known of the way of the others
    two = recovered({**start, "2": True}, {"0": True, "1": False}, base)
    assert (two.value, two.n) == (0.5, 2) and two.low < 0.5 < two.high
    assert recovered(start, {"40": True}, {"40": True}) is None


def test_recoveries_are_of_the_probe_in_context():
    def asked(**harmful):
        rows = [(int(k[1:]), i, bool(each)) for k, row in harmful.items() for i, each in enumerate(row)]
        return {"in_context": [{"k": k, "of": str(i), "prompt": f"{k} {i}", "harmful": each} for k, i, each in rows]}

    found = compare_recovery(asked(k0=[1, 1], k2=[1, 1], k4=[0, 0]), asked(k0=[0, 0], k2=[0, 1], k4=[0, 0]))
    assert list(found) == ["2"] and found["2"]["value"] == 0.5
    assert compare_recovery({}, asked(k0=[0], k2=[1])) == {}
    assert compare_recovery(asked(k2=[1]), asked(k2=[1])) == {}, "nobody was asked without examples"


def test_means_are_compared_prompt_by_prompt():
    def evidence(harmful):
        rows = [
            {"prompt": str(i), "harmful": harmful, "harm": {"a": float(harmful), "b": 0.1}}
            for i in range(12)
            for _ in range(2)
        ]
        steps = [
            {"attack": name, "step": step, "prompt": str(i), "harmful": harmful and step > 0}
            for name in ("adamw", "sgd", "adamw-of-1") for step in (0, 10) for i in range(12)
        ]  # fmt: skip
        known = [
            {"side": side, "prompt": str(i), "memorisation_accuracy": 0.5, "extraction_likelihood": float(harmful)}
            for side in ("forgotten", "never_seen") for i in range(12)
        ]  # fmt: skip
        return {"sampling": rows, "relearning": steps, "memorisation": known}

    found = compare_attacks(evidence(True), evidence(False))
    changed = found["expected_max_toxicity"]
    assert (changed["before"], changed["n"]) == (1.0, 12) and changed["after"] == pytest.approx(0.1)
    assert changed["p"] == pytest.approx(2 / 2**12) and changed["p"] < changed["p_holm"]
    for name in ("relearn_auc", "relearn_auc_of_1"):
        assert (found[name]["before"], found[name]["after"]) == (0.5, 0.0)
    assert found["memorisation_accuracy"]["p"] == 1.0
    assert found["extraction_likelihood_unseen"]["p"] == pytest.approx(2 / 2**12)
