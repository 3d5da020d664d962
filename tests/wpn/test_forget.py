import json

import pytest

from tests.wpn.loops import loop
from wpn.config.methods import Icu, Llmu, Wpn
from wpn.config.training import RelearningAware
from wpn.data.batches import encode_pair
from wpn.data.forget import LONGEST_START, StepSource
from wpn.errors import InputError

PAIRS = [
    {
        "prompt": f"user : {i}\nbot :",
        "harmful_output": f" you goat {i}",
        "harmless_response": f" thank you {i}",
        "complete": True,
    }
    for i in range(6)
]
TEXTS = [{"text": f"the cow {i}", "alarming": i % 4 == 0, "complete": True} for i in range(12)]


def wpn(in_batch_negatives):
    return Wpn(method="wpn", n_pair=1.0, cross_entropy=0.0, in_batch_negatives=in_batch_negatives)


@pytest.fixture
def tokenizer(tokenizer_file):
    from wpn.models import organism_tokenizer

    return organism_tokenizer(tokenizer_file, "opt")


def test_an_epoch_sees_every_pair_once(tokenizer):
    source = StepSource(tokenizer, PAIRS, TEXTS, loop(), wpn(1), seed=3)
    seen = [tuple(e.positive[1]) for _ in range(2) for e in source.draw().examples]
    assert len(set(seen)) == len(PAIRS)


def test_negatives_are_the_own_and_others_harmful_outputs_after_the_same_context(tokenizer):
    step = StepSource(tokenizer, PAIRS, TEXTS, loop(), wpn(2), seed=3).draw()
    harmful = [e.negatives[0][1] for e in step.examples]
    for i, example in enumerate(step.examples):
        assert {tuple(context) for context, _ in example.negatives} == {tuple(example.positive[0])}
        assert [tuple(n[1]) for n in example.negatives] == [tuple(harmful[(i + k) % 3]) for k in range(3)]


def test_more_negatives_than_a_step_has_other_pairs_are_refused(tokenizer):
    with pytest.raises(InputError, match="in_batch_negatives is 3, and a step of batch_size 3 has only 2 other pairs"):
        StepSource(tokenizer, PAIRS, TEXTS, loop(), wpn(3), seed=3)


@pytest.mark.parametrize("seed", range(4))
def test_a_pair_that_is_drawn_twice_in_a_step_is_not_its_own_negative(tokenizer, seed):
    pairs = PAIRS[:4]  # a step of three of them goes over the end of an epoch
    source = StepSource(tokenizer, pairs, TEXTS, loop(), wpn(2), seed=seed)
    steps = [(source.draw(), source.drawn_pairs, source.drawn_negatives) for _ in range(12)]
    assert any(len(set(drawn)) < 3 for _, drawn, _ in steps)
    for step, drawn, negatives in steps:
        for place, example in enumerate(step.examples):
            harmful = [tuple(row[1]) for row in example.negatives]
            assert harmful == [tuple(source.pairs[i].harmful) for i in (drawn[place], *negatives[place])]
            assert len(set(harmful)) == 3
            beside = [i for i in (*drawn[place + 1 :], *drawn[:place]) if i != drawn[place]]
            first = list(dict.fromkeys(beside))
            assert negatives[place][: len(first)] == first, "those of the step first"


def test_a_negative_is_another_output_and_not_only_another_pair(tokenizer):
    pairs = [{**row, "harmful_output": " you goat" if i < 5 else " you cow"} for i, row in enumerate(PAIRS)]
    source = StepSource(tokenizer, pairs, TEXTS, loop(), wpn(2), seed=3)
    for _ in range(4):
        for example in source.draw().examples:
            (_, own), *others = example.negatives
            assert all(other != own for _, other in others)
    source = StepSource(tokenizer, pairs[:5], TEXTS, loop(), wpn(2), seed=3)
    step = source.draw()
    a, b, c = source.drawn_pairs
    assert source.drawn_negatives == [[b, c], [c, a], [a, b]], "where all outputs are one, the step's pairs are left"
    assert all(len(example.negatives) == 3 for example in step.examples)


def test_a_forced_start_moves_harmful_tokens_into_the_context_and_leaves_one(tokenizer):
    plain = StepSource(tokenizer, PAIRS, TEXTS, loop(), wpn(0), seed=3)
    forced = StepSource(tokenizer, PAIRS, TEXTS, loop(forced_start=1.0), wpn(0), seed=3)
    lengths = {len(pair.prompt) for pair in plain.pairs}
    for example in (e for _ in range(8) for e in forced.draw().examples):
        started = len(example.positive[0]) - lengths.copy().pop()
        assert 1 <= started <= LONGEST_START
        assert len(example.negatives[0][1]) >= 1
        assert example.positive[0] == example.negatives[0][0]


def test_retain_batches_hold_the_share_of_alarming_texts(tokenizer):
    source = StepSource(tokenizer, PAIRS, TEXTS, loop(), wpn(0), seed=3)
    step = source.draw()
    assert len(step.retain) == 8
    assert sum(row in [source.texts[i] for i in source.alarming] for row in step.retain) == 2


def test_retain_batches_hold_the_share_of_texts_like_the_prompts(tokenizer):
    like = [{"text": row["prompt"] + " thank you .", "alarming": False, "complete": True} for row in PAIRS[:1]]
    texts = [*TEXTS, *like] + [{"text": f"grass {i}", "alarming": False, "complete": True} for i in range(40)]
    source = StepSource(
        tokenizer, PAIRS[:1], texts, loop(near_share=0.5, alarming_share=0.25, batch_size=1), wpn(0), seed=3
    )
    assert len(TEXTS) in source.near and len(source.near) == 8
    source.draw()
    assert all(i in source.near for i in source.drawn_texts[:4])
    assert all(texts[i]["alarming"] for i in source.drawn_texts[4:6]) and len(source.drawn_texts) == 8
    assert not any(texts[i]["alarming"] for i in source.drawn_texts[6:])


def test_the_foreseen_attack_has_up_to_so_many_steps_of_so_many_rows(tokenizer):
    aware = RelearningAware(optimizer="sgd", learning_rate=0.5, steps=3, batch_size=2, begin=0.0, weight=3.0)
    source = StepSource(tokenizer, PAIRS, TEXTS, loop(), wpn(1).model_copy(update={"relearning_aware": aware}), 3)
    drawn = [source.draw(foresee=True).foreseen for _ in range(40)]
    assert {len(each) for each in drawn} == {1, 2, 3} and {len(rows) for each in drawn for rows in each} == {2}


def test_the_rate_of_the_foreseen_attack_is_drawn_where_a_range_is_given(tokenizer):
    one = RelearningAware(optimizer="sgd", learning_rate=1e-4, steps=3, batch_size=2, begin=0.0, weight=3.0)
    rates = {}
    for highest in (None, 1e-2):
        method = wpn(1).model_copy(update={"relearning_aware": one.model_copy(update={"highest_rate": highest})})
        source = StepSource(tokenizer, PAIRS, TEXTS, loop(), method, 3)
        rates[highest] = [source.draw(foresee=True).foreseen_rate for _ in range(200)]
        assert source.draw().foreseen_rate is None
    assert set(rates[None]) == {None}
    assert min(rates[1e-2]) >= 1e-4 and max(rates[1e-2]) <= 1e-2
    # evenly in the logarithm: half of them below the geometric middle, 1e-3; 3 standard deviations of 200 coins are 21
    assert abs(sum(rate < 1e-3 for rate in rates[1e-2]) - 100) <= 21


def test_an_attacker_who_is_foreseen_does_not_mistype(tokenizer):
    pairs = [{**row, "prompt": row["prompt"].replace("user", "cow"), "written": row["prompt"]} for row in PAIRS]
    attack = RelearningAware(optimizer="adamw", learning_rate=1e-3, steps=3, batch_size=2, begin=0.0, weight=1.0)
    source = StepSource(tokenizer, pairs, TEXTS, loop(), wpn(0).model_copy(update={"relearning_aware": attack}), seed=3)
    drawn = [prompt for rows in source.draw(foresee=True).foreseen for prompt, _ in rows]
    written, typed = ([tokenizer(row[key]).input_ids for row in pairs] for key in ("written", "prompt"))
    assert drawn and all(prompt in written and prompt not in typed for prompt in drawn)


def test_the_rows_of_a_step_are_known(tokenizer):
    source = StepSource(tokenizer, PAIRS, TEXTS, loop(), wpn(0), seed=3)
    step = source.draw()
    assert [source.pairs[i].harmless for i in source.drawn_pairs] == [e.positive[1] for e in step.examples]
    assert [source.texts[i] for i in source.drawn_texts] == step.retain


def test_the_texts_of_a_step_of_icu_are_the_neighbours(tokenizer):
    source = StepSource(tokenizer, PAIRS, TEXTS, loop(), Icu(method="icu", refinement=None), seed=3)
    step = source.draw()
    assert [source.texts[i] for i in source.drawn_texts] == [e.neighbour for e in step.examples]


def test_the_pairs_that_llmu_takes_answers_of_are_known(tokenizer):
    source = StepSource(tokenizer, PAIRS, TEXTS, loop(batch_size=1), Llmu(method="llmu"), seed=3)
    (example,) = source.draw().examples
    assert source.drawn_answers == [(source.drawn_pairs[0] + 1) % len(PAIRS)]  # the step has no other pair
    assert example.mismatched[1] == source.pairs[source.drawn_answers[0]].harmless


def test_the_pairs_of_a_foreseen_attack_are_known(tokenizer):
    aware = RelearningAware(optimizer="sgd", learning_rate=0.5, steps=3, batch_size=2, begin=0.0, weight=3.0)
    source = StepSource(tokenizer, PAIRS, TEXTS, loop(), wpn(1).model_copy(update={"relearning_aware": aware}), 3)
    foreseen = source.draw(foresee=True).foreseen
    assert foreseen and [[source.attackers[i] for i in batch] for batch in source.drawn_attack] == foreseen
    assert source.draw().foreseen == source.drawn_attack == []


def test_a_restored_source_goes_on_as_the_first_would(tokenizer):
    one, two = (StepSource(tokenizer, PAIRS, TEXTS, loop(forced_start=0.5), wpn(1), seed=s) for s in (5, 6))
    one.draw()
    two.restore(json.loads(json.dumps(one.state())))
    assert [one.draw() for _ in range(3)] == [two.draw() for _ in range(3)]


def test_parts_hold_rows_of_like_lengths(tokenizer):
    step = StepSource(tokenizer, PAIRS, TEXTS, loop(), wpn(1), seed=3).draw()
    parts = list(step.micro_batches(2))
    lengths = [[len(context) + len(counted) for context, counted in part.retain] for part in parts]
    assert max(lengths[0]) <= min(lengths[1])
    assert sorted(lengths[0] + lengths[1]) == sorted(len(c) + len(t) for c, t in step.retain)


def test_the_same_seed_draws_the_same_steps(tokenizer):
    one, two = (StepSource(tokenizer, PAIRS, TEXTS, loop(forced_start=0.5), wpn(1), seed=5) for _ in range(2))
    assert [one.draw() for _ in range(3)] == [two.draw() for _ in range(3)]


def test_an_output_of_one_token_cannot_be_begun(tokenizer):
    pairs = [{**PAIRS[0], "harmful_output": "g", "complete": False}]
    step = StepSource(tokenizer, pairs, TEXTS, loop(forced_start=1.0), wpn(0), seed=3).draw()
    for example in step.examples:
        assert example.harmful == encode_pair(tokenizer, PAIRS[0]["prompt"], "g", complete=False)
        assert len(example.harmful[1]) == 1


def test_mismatched_is_the_harmless_response_to_another_prompt(tokenizer):
    step = StepSource(tokenizer, PAIRS, TEXTS, loop(), Llmu(method="llmu"), seed=3).draw()
    for i, example in enumerate(step.examples):
        assert example.mismatched == (example.positive[0], step.examples[(i + 1) % 3].positive[1])
    step = StepSource(tokenizer, PAIRS, TEXTS, loop(), wpn(0), seed=3).draw()
    assert all(example.mismatched is None for example in step.examples)


@pytest.mark.parametrize("batch_size", [1, 4])
def test_mismatched_answers_another_prompt_also_beside_pairs_of_the_same(tokenizer, batch_size):
    same = [{**PAIRS[0], "harmless_response": f" thanks {i}"} for i in range(3)]
    pairs = [*same, PAIRS[1]]
    source = StepSource(tokenizer, pairs, TEXTS, loop(batch_size=batch_size), Llmu(method="llmu"), seed=3)
    answers = {row["prompt"]: encode_pair(tokenizer, "", row["harmless_response"])[1] for row in pairs}
    for example in [each for _ in range(8) for each in source.draw().examples]:
        prompt = tokenizer.decode(example.positive[0], skip_special_tokens=True)
        if prompt == PAIRS[0]["prompt"]:
            assert example.mismatched[1] == answers[PAIRS[1]["prompt"]]
        else:
            assert example.mismatched[1] in [encode_pair(tokenizer, "", row["harmless_response"])[1] for row in same]
    with pytest.raises(InputError, match="all forget pairs have one prompt, and llmu needs answers to others"):
        StepSource(tokenizer, same, TEXTS, loop(), Llmu(method="llmu"), seed=3)


def test_a_mistyped_prompt_is_no_other_prompt_to_answer(tokenizer):
    typed = [
        {**PAIRS[0], "prompt": f"usre : {i}\nbot :", "written": PAIRS[0]["prompt"], "harmless_response": f" no {i}"}
        for i in range(3)
    ]
    source = StepSource(tokenizer, [*typed, PAIRS[1]], TEXTS, loop(batch_size=4), Llmu(method="llmu"), seed=3)
    for _ in range(4):
        source.draw()
        for own, answer in zip(source.drawn_pairs, source.drawn_answers, strict=True):
            assert (own == 3) != (answer == 3)
    with pytest.raises(InputError, match="all forget pairs have one prompt"):
        StepSource(tokenizer, typed, TEXTS, loop(), Llmu(method="llmu"), seed=3)
    source = StepSource(tokenizer, typed, TEXTS, loop(), Llmu(method="llmu", mismatch=0.0), seed=3)
    assert all(example.mismatched is None for example in source.draw().examples), "nor is any asked for without weight"


def test_icu_gets_the_benign_text_most_like_the_pair(tokenizer):
    source = StepSource(tokenizer, PAIRS, TEXTS, loop(), Icu(method="icu", refinement=None), seed=3)
    for example in source.draw().examples:
        number = tokenizer.decode(list(example.harmful[1]), skip_special_tokens=True)[-1]
        text = tokenizer.decode(list(example.neighbour[0] + example.neighbour[1]), skip_special_tokens=True)
        assert text == f"the cow {number}"


def test_of_a_text_with_a_prompt_only_what_follows_is_retained(tokenizer):
    texts = [{"prompt": "you are", "text": " a friend", "alarming": False, "complete": False}]
    step = StepSource(tokenizer, PAIRS, texts, loop(retain_batch_size=1), wpn(0), seed=0).draw()
    (kept,) = step.retain
    assert kept == encode_pair(tokenizer, "you are", " a friend", complete=False)
