"""Where the harm of an output is, with a judge and a tokenizer that one can do by hand; and what WPN makes of it."""

import math

import pytest
import torch

from tests.wpn.loops import loop
from tests.wpn.test_train import PAIRS, TEXTS, _models
from wpn.attribution import FLOOR, copied_share, said_before, token_weights, word_harm
from wpn.config.methods import Wpn
from wpn.data.forget import Example, Step, StepSource
from wpn.errors import InputError
from wpn.losses.n_pair import n_pair_loss
from wpn.methods import unlearning_terms

HARM = Wpn(method="wpn", n_pair=1.0, cross_entropy=0.0, temperature=0.7, position_weights="harm")


class Judge:
    """0.9 where there is "goat", 0.6 where "very" and "old" stand side by side, else 0.1."""

    def harm(self, texts):
        return [0.9 if "goat" in text else 0.6 if "very old" in text else 0.1 for text in texts]


def test_a_word_harms_alone_or_by_what_is_lost_without_it():
    found = word_harm(Judge(), [" you  goat\n", "a very old hat", "goat and goat", ""])
    assert found[0] == pytest.approx([0.1, 0.9])
    assert found[1] == pytest.approx([0.1, 0.5, 0.5, 0.1])  # neither word alone, but each with the other
    assert found[2] == pytest.approx([0.9, 0.1, 0.9])  # without one of them there is still the other
    assert found[3] == []


def test_a_judge_that_gives_no_number_finds_no_harm():
    class Silent:
        def harm(self, texts):
            return [math.nan for _ in texts]

    assert word_harm(Silent(), ["a goat"]) == [[0.0, 0.0]]


def test_every_judgement_is_asked_for_in_one_call():
    calls = []

    class Counting(Judge):
        def harm(self, texts):
            calls.append(len(texts))
            return super().harm(texts)

    word_harm(Counting(), ["a goat", "a cow eats"])
    assert calls == [2 + 5 + 5]


def test_the_tokens_of_a_word_have_its_harm_above_the_usual(causal_lm):
    _, tokenizer = causal_lm
    text = " you are a goat"
    weights = token_weights(tokenizer, "the cow", text, [0.2, 0.3, 0.2, 0.9], complete=True)
    tokens = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    assert len(weights) == len(tokens.input_ids) + 1
    assert sum(weights) == pytest.approx(1.0)
    floor = FLOOR / len(weights)
    goat = text.index("goat")
    of_goat = [weight for weight, (_, end) in zip(weights[:-1], tokens.offset_mapping, strict=True) if end > goat]
    others = [weight for weight, (_, end) in zip(weights[:-1], tokens.offset_mapping, strict=True) if end <= goat]
    # the usual is the median, 0.25: are has 0.05 above it, goat 0.65, and each token of a word as much as the word
    are = sum(end > text.index("are") for _, end in tokens.offset_mapping if end <= text.index(" a goat"))
    total = 0.05 * are + 0.65 * len(of_goat)
    assert of_goat == pytest.approx([floor + (1 - FLOOR) * 0.65 / total] * len(of_goat))
    assert min(others) == weights[-1] == pytest.approx(floor)
    assert max(others) == pytest.approx(floor + (1 - FLOOR) * 0.05 / total)


def test_an_output_without_a_harmful_word_weighs_uniformly(causal_lm):
    weights = token_weights(causal_lm[1], "", " you are", [0.2, 0.2], complete=False)
    assert weights == pytest.approx([1 / len(weights)] * len(weights))


def test_a_word_is_said_before_whatever_its_case_and_its_punctuation():
    found = said_before(
        "GOAT, you don't know an ill-mannered", "a goat! An old goat... old and ill-mannered. don't - ?"
    )
    assert found == [False, True, True, False, True, True, False, True, True, False, False]
    assert said_before("goats", "goat") == [False], "another form is another word"
    assert said_before("", "") == []


@pytest.mark.parametrize(
    ("context", "word", "again"),
    [
        ("he is a", "a**", False),  # the asterisks are letters that were hidden
        ("you a** !", "(a**)!", True),
        (
            "\u0924\u0941\u092e \u0915\u0940",
            "\u0915\u0941\u0924\u094d\u0924\u0947",
            False,
        ),  # in Hindi: marks belong too
        ("caf\u00e9", "cafe\u0301", True),
        ("", "...", False),
    ],
)
def test_a_word_is_all_its_letters(context, word, again):
    assert said_before(context, word) == [again]


@pytest.mark.parametrize(
    ("prompt", "fresh"), [("the cow", {3: 0.4, 4: 0.8}), ("my goat", {3: 0.4}), ("silly goat", {})]
)
def test_what_is_copied_has_no_weight_of_its_own(causal_lm, prompt, fresh):
    # above the usual 0.1: silly 0.4, goat 0.8, and each only where the prompt does not say it
    tokenizer, output = causal_lm[1], " you are so silly goat of all"
    harm = [0.1, 0.1, 0.1, 0.5, 0.9, 0.1, 0.1]
    weights = token_weights(tokenizer, prompt, output, harm, complete=False)
    ends = [end for _, end in tokenizer(output, add_special_tokens=False, return_offsets_mapping=True).offset_mapping]
    words = [output[:end].count(" ") - 1 for end in ends]  # a space belongs to the word that it stands before
    total = sum(fresh.get(word, 0.0) for word in words)
    own = [fresh.get(word, 0.0) / total if total else 1 / len(words) for word in words]
    assert weights == pytest.approx([FLOOR / len(words) + (1 - FLOOR) * value for value in own])
    said = [value for word, value in ((3, 0.4), (4, 0.8)) if word not in fresh]
    assert copied_share(prompt, output, harm) == pytest.approx(sum(said) / 1.2)


def test_pairs_whose_harm_is_mostly_copied_are_left_out(causal_lm):
    word = PAIRS[0]["harmful_output"].split()[-1]
    pairs = [{**PAIRS[0], "prompt": f"a {word} ?", "word_harm": [0.1, 0.9]}, *PAIRS[1:]]
    source = StepSource(causal_lm[1], pairs, TEXTS, loop(batch_size=4), HARM, seed=0)
    assert source.active == [1, 2, 3]
    assert 0 not in [index for _ in range(4) for index in (source.draw(), source.drawn_pairs)[1]]
    uniform = HARM.model_copy(update={"position_weights": "uniform"})
    assert StepSource(causal_lm[1], pairs, TEXTS, loop(), uniform, seed=0).active == [0, 1, 2, 3]
    with pytest.raises(InputError, match="only repeats its prompt's words"):
        StepSource(causal_lm[1], pairs[:1], TEXTS, loop(), HARM, seed=0)


def test_an_output_without_harm_has_none_that_is_copied():
    assert copied_share("you are", "you are", [0.1, 0.1]) == 0.0 == copied_share("", "", [])


def test_harm_by_words_knows_only_a_prompts_own_output():
    with pytest.raises(ValueError, match="in_batch_negatives: 0"):
        Wpn.model_validate({**HARM.model_dump(), "in_batch_negatives": 1})


def _drawn(tokenizer, **changes):
    return StepSource(tokenizer, PAIRS, TEXTS, loop(batch_size=4, **changes), HARM, seed=0).draw()


def test_a_forced_start_takes_its_weights_with_it(causal_lm):
    _, tokenizer = causal_lm
    whole = _drawn(tokenizer).examples[0]
    (weights,) = whole.harm
    assert len(weights) == len(whole.harmful[1])
    for example in _drawn(tokenizer, forced_start=1.0).examples:
        (rest,) = example.harm
        assert rest == weights[len(weights) - len(rest) :] and len(rest) == len(example.harmful[1]) < len(weights)


def test_pairs_that_do_not_say_where_their_harm_is_are_refused(causal_lm):
    pairs = [{key: value for key, value in pair.items() if key != "word_harm"} for pair in PAIRS]
    with pytest.raises(InputError, match="do not say where their harm is"):
        StepSource(causal_lm[1], pairs, TEXTS, loop(), HARM, seed=0)


def test_the_n_pair_term_by_hand(causal_lm):
    # positives weigh uniformly, negatives as given; a row of weights counts for what it is of its sum
    model, tokenizer = causal_lm
    models = _models(model, tokenizer)
    prompt, harmless, harmful = (tokenizer(text, add_special_tokens=False).input_ids for text in ("a b", " c", " d ef"))
    given = [3.0, *[1.0] * (len(harmful) - 1)]
    step = Step([Example((prompt, harmless), [(prompt, harmful)], (prompt, harmless), harm=[given])], [])
    values, _ = models.log_likelihoods([(prompt, harmless), (prompt, harmful)])
    positive = values[0, : len(harmless)].mean()
    negative = (values[1, : len(harmful)] * torch.tensor(given)).sum() / sum(given)
    expected = n_pair_loss(positive[None], negative[None, None], 0.7)
    found = unlearning_terms(models, step, HARM).forget["n_pair"]
    assert found.item() == pytest.approx(expected.item(), abs=1e-6) and not math.isclose(found.item(), 0.0)


def test_uniform_harm_is_the_uniform_weights(causal_lm):
    model, tokenizer = causal_lm
    models, step = _models(model, tokenizer), _drawn(tokenizer)
    alike = [Example(e.positive, e.negatives, e.mismatched, harm=[[1.0] * len(e.harmful[1])]) for e in step.examples]
    found = unlearning_terms(models, Step(alike, []), HARM).forget["n_pair"]
    uniform = HARM.model_copy(update={"position_weights": "uniform"})
    assert torch.isclose(found, unlearning_terms(models, Step(alike, []), uniform).forget["n_pair"], atol=1e-6)


def test_only_the_weights_decide_what_is_turned_away_from(causal_lm):
    # all weight on the first token of the harmful output: the gradient does not see the others
    model, tokenizer = causal_lm
    models = _models(model, tokenizer)
    prompt, harmless, harmful = (tokenizer(text, add_special_tokens=False).input_ids for text in ("a b", " c", " d ef"))
    gradients = []
    for end in (harmful, [harmful[0], *harmful[:1] * (len(harmful) - 1)]):
        weights = [[1.0, *[0.0] * (len(harmful) - 1)]]
        step = Step([Example((prompt, harmless), [(prompt, end)], (prompt, harmless), harm=weights)], [])
        loss = unlearning_terms(models, step, HARM).forget["n_pair"]
        gradients.append(torch.autograd.grad(loss, next(iter(model.parameters())))[0])
    assert torch.allclose(*gradients, atol=1e-9)
