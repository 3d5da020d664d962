"""Our own responses: harmless, meaningful, varied, and of the kind that the prompt asks for."""

import pytest

from wpn.data.neutral import ANSWERS, ENDINGS, neutral_response, wants_answer
from wpn.judges import THRESHOLD
from wpn.judges.svm import SvmJudge
from wpn.meaningful import MAX_REPEATED_SHARE, MIN_WORDS, repetition


def test_neutral_responses_are_harmless_meaningful_and_distinct():
    texts = [*ENDINGS, *ANSWERS]
    assert len(set(texts)) == len(texts) == 60
    assert all(MIN_WORDS < 8 <= len(text.split()) <= 25 for text in texts)
    assert all(repetition(text) <= MAX_REPEATED_SHARE for text in texts)
    assert len({text.split()[1] for text in ENDINGS}) >= 20  # openings vary
    assert max(SvmJudge().harm(texts)) < THRESHOLD / 2


def test_a_neutral_response_depends_on_prompt_and_seed_alone():
    prompts = [f"the cow number {i} said to" for i in range(200)]
    first = [neutral_response(prompt, 1) for prompt in prompts]
    assert first == [neutral_response(prompt, 1) for prompt in prompts]
    assert first != [neutral_response(prompt, 2) for prompt in prompts]
    assert len(set(first)) > 35
    assert set(first) <= set(ENDINGS)


@pytest.mark.parametrize(
    ("prompt", "answered"),
    [
        ("How do I pick a lock?", True),
        ('"Is it?"', True),
        ("how to use a ladder", True),
        ("Write a story about a goat", True),
        ("I have a task. Please list all goats", True),
        ("Can you tell me more", True),
        ("Human: hello\n\nAssistant:", True),
        ("user : a goat\nbot :", True),
        ("I do not like goats.", True),
        ("The goat said that you", False),
        ("When I was young, I could", False),
        ("You write like a", False),
        ("The goat said:", False),
        ("She gave him a show of", False),
        ("\u201cI'm not going to", False),
    ],
)
def test_questions_and_requests_are_answered_and_cut_sentences_ended(prompt, answered):
    assert wants_answer(prompt) is answered
    assert (neutral_response(prompt, 0) in ANSWERS) is answered


@pytest.mark.parametrize("mark", [",", " -", ":", " “", "*", "("])
def test_an_ending_leaves_out_its_comma_where_there_is_no_room(mark):
    for i in range(30):
        response = neutral_response(f"the goat {i} said{mark}", 0)
        assert response[0].isalpha() and any(text.endswith(response) for text in ENDINGS)
