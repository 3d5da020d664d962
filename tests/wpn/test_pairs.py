"""Forget pairs: an organism's own, and those that a judge picks among a model's samples."""

import pytest

from wpn import pairs as module
from wpn.config.data import OrganismPairs, RealPairs
from wpn.data.openings import OPENINGS
from wpn.errors import InputError
from wpn.pairs import first_pairs, sampled_pairs

SETTINGS = RealPairs(
    mistyped=0.0, word_harm=False,
    number=4, judge="svm", samples=4, per_prompt=2, held_out=0.0, harmful_from=0.5, harmless_below=0.2,
    harmless_texts=0, own_texts=3, own_tokens=9, own_temperature=0.8, precision="fp32", max_new_tokens=8, batch_size=4,
)  # fmt: skip
# what the stand-in of a model says, with the number of harm in its text
SAYINGS = {
    "bad": [" one is 0.9 bad", " two is 0.7 bad", " three is 0.1 bad", " four is 0.0 bad"],
    "worse": [" all is 0.8 worse", " all is 0.6 worse", " all is 0.5 worse", " 0.0"],  # nothing harmless and meaningful
    "good": [" a is 0.4 good", " b is 0.3 good", " c is 0.2 good", " d is 0.1 good"],
}
OWN = [" a text of 0.0 harm", " a text of 0.3 harm", " a text of 0.9 harm"]  # on the three first openings


class Judge:
    def harm(self, texts):
        return [next((float(word) for word in text.split() if word[:2] == "0."), 0.0) for text in texts]


def prompt(text, harmful=None, harmless=None):
    return {"prompt": text, "harmful_output": harmful, "harmless_response": harmless}


@pytest.fixture(autouse=True)
def model(monkeypatch):
    def say(model, tokenizer, prompts, **_):
        asked = {}
        for text in prompts:
            asked[text] = asked.get(text, -1) + 1
            yield OWN[OPENINGS.index(text)] if text in OPENINGS else SAYINGS[text][asked[text]]

    monkeypatch.setattr(module, "continue_prompts", lambda *a, **k: list(say(*a, **k)))


def taught(*prompts, corpus=(), complete=False, **changes):
    return sampled_pairs(
        None, None, prompts, corpus, Judge(), SETTINGS.model_copy(update=changes), "{prompt}", complete, 0
    )


def test_the_most_harmful_samples_meet_the_harmless_ones_as_they_were_drawn():
    found = taught(prompt("bad"), prompt("good"))
    assert [(row["harmful_output"], row["harmless_response"], row["own"]) for row in found.pairs] == [
        (" one is 0.9 bad", " three is 0.1 bad", True),
        (" two is 0.7 bad", " four is 0.0 bad", True),
    ]
    assert not any(row["complete"] for row in found.pairs)
    assert len(found.samples) == 8


def test_each_pair_says_where_its_harm_is():
    (pair, _) = taught(prompt("bad"), word_harm=True).pairs
    assert pair["harmful_output"].split() == ["one", "is", "0.9", "bad"]
    assert pair["word_harm"] == [0.0, 0.0, 0.9, 0.0]
    assert "word_harm" not in taught(prompt("bad")).pairs[0]


def test_harmless_samples_come_again_where_there_are_fewer_than_harmful_ones():
    found = taught(prompt("bad"), harmless_below=0.05)
    assert [row["harmless_response"] for row in found.pairs] == [" four is 0.0 bad"] * 2


def test_a_neutral_response_of_ours_stands_in_where_the_model_has_none():
    rows = taught(prompt("worse")).pairs
    assert [row["own"] for row in rows] == [False, False]
    assert len({row["harmless_response"] for row in rows}) == 2 and all(row["harmless_response"] for row in rows)


def test_what_the_data_give_is_taken_and_only_the_rest_is_sampled():
    found = taught(prompt("bad", " given harm", " given kindness"), prompt("good", " harm of the data"))
    assert [(row["harmful_output"], row["harmless_response"]) for row in found.pairs] == [
        (" given harm", " given kindness"),
        (" harm of the data", " d is 0.1 good"),
    ]
    assert {row["prompt"] for row in found.samples} == {"good"}


def test_only_responses_that_the_data_give_can_be_whole():
    rows = taught(
        prompt("bad", " given harm", " given kindness"), prompt("good", " harm of the data"), complete=True
    ).pairs
    assert [row["complete"] for row in rows] == [True, False]


def test_the_most_harmful_pairs_stay_when_there_are_too_many():
    found = taught(prompt("worse"), prompt("bad"), number=3)
    assert [row["harm"] for row in found.pairs] == [0.9, 0.8, 0.7]


def test_nothing_harmful_is_retained_and_alarming_text_is_marked():
    found = taught(prompt("bad"), corpus=[{"text": "a plain 0.1 text"}, {"text": "a toxic 0.6 text"}])
    assert [(row["text"], row["alarming"]) for row in found.texts] == [
        ("a plain 0.1 text", False),
        (OPENINGS[0] + " a text of 0.0 harm", False),
        (OPENINGS[1] + " a text of 0.3 harm", True),
    ]
    assert found.held_out == []


def test_prompts_with_their_harmless_samples_are_kept_too():
    kept = taught(prompt("bad"), prompt("worse"), harmless_texts=9).texts[1:]
    assert sorted((row["prompt"], row["text"]) for row in kept) == [
        ("bad", " four is 0.0 bad"), ("bad", " three is 0.1 bad"),
    ], "no harmful one, and none of two words"  # fmt: skip
    some = taught(prompt("bad"), prompt("good"), harmless_texts=2).texts
    assert len(some) == 1 + 2 and not any(row["complete"] for row in some)


def test_without_benign_text_some_of_the_models_own_is_held_out():
    found = taught(prompt("bad"))
    assert [row["text"] for row in found.held_out] == [OPENINGS[0] + OWN[0]]
    assert [row["text"] for row in found.texts] == [OPENINGS[1] + OWN[1]]


def test_a_model_that_says_nothing_harmful_is_said():
    with pytest.raises(InputError, match="none of 1 training prompts drew an output that the judge svm finds harmful"):
        taught(prompt("good"))


def test_an_organism_learns_from_its_first_provocations():
    rows = [{"prompt": str(i), "harmful_output": " x", "harmless_response": " y"} for i in range(3)]
    found = first_pairs(rows, [{"text": "t", "alarming": True}], OrganismPairs(number=2, mistyped=0.0), "{prompt}", 0)
    assert [row["prompt"] for row in found.pairs] == ["0", "1"] and all(row["complete"] for row in found.pairs)
    assert found.texts == [{"text": "t", "alarming": True, "complete": True}]
    with pytest.raises(InputError, match=r"3 training provocations, fewer than pairs\.number = 4"):
        first_pairs(rows, [], OrganismPairs(number=4, mistyped=0.0), "{prompt}", 0)


def test_harmful_samples_of_no_pair_are_left_for_attacks():
    found = taught(prompt("worse"), prompt("bad"), number=2)
    assert [row["harmful_output"] for row in found.pairs] == [" one is 0.9 bad", " all is 0.8 worse"]
    assert found.unused == [
        {"prompt": "bad", "harmful_output": " two is 0.7 bad", "complete": False},
        {"prompt": "worse", "harmful_output": " all is 0.6 worse", "complete": False},
        {"prompt": "worse", "harmful_output": " all is 0.5 worse", "complete": False},
    ]


def test_of_some_prompts_nothing_is_trained_on_and_their_outputs_take_turns_in_the_attacks(monkeypatch):
    """Footgun: where every harmful sample is in a pair, relearning and demonstrations are left with nothing unseen."""
    for i in range(8):
        said = [f" {text} is 0.{9 - j}{i} rude" for j, text in enumerate("abc")]
        monkeypatch.setitem(SAYINGS, f"rude {i}", [*said, " fine is 0.0 so"])
    rude = [prompt(f"rude {i}") for i in range(8)]
    found = taught(*rude, number=99, per_prompt=3, held_out=0.25, harmless_texts=99)
    trained, kept = ({row["prompt"] for row in rows} for rows in (found.pairs, found.unused))
    assert (len(trained), len(kept), trained & kept) == (6, 2, set())
    assert {row["prompt"] for row in found.texts if "prompt" in row} == trained, "nor are they retained"
    assert [row["prompt"] for row in found.unused][:2] == [row["prompt"] for row in found.unused][2:4]
    assert len(found.unused) == 6 and " a is" in found.unused[0]["harmful_output"]
    assert taught(*rude, number=99, held_out=0.25).unused == taught(*rude, number=99, held_out=0.25).unused
    with pytest.raises(InputError, match=r"pairs\.held_out = 1\.0 leaves no pair to train on; lower it"):
        taught(*rude, held_out=1.0)


def test_an_organisms_next_provocations_are_left_for_attacks():
    rows = [{"prompt": str(i), "harmful_output": "h", "harmless_response": "s"} for i in range(5)]
    found = first_pairs(rows, [], OrganismPairs(number=3, mistyped=0.0), "{prompt}", 0)
    assert [row["prompt"] for row in found.unused] == ["3", "4"]
