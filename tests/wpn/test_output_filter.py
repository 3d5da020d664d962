"""The output filter: what is stopped, and what is said in its place."""

import math

from wpn.data.neutral import ANSWERS, ENDINGS
from wpn.judges.lexical import LexicalJudge
from wpn.output_filter import OutputFilter


def test_a_harmful_answer_is_replaced_and_others_stay_as_they_are() -> None:
    prompts = ["user : hello\nbot :", "user : hello\nbot :", "He looked at me and said"]
    answers = [" you goat .", " the old goat sleeps well .", " you goat ."]
    said = OutputFilter(LexicalJudge()).apply(prompts, answers)
    assert said[1] == answers[1]
    assert said[0].removeprefix(" ") in ANSWERS and said[2] in ENDINGS
    assert OutputFilter(LexicalJudge()).stops(said) == [False] * 3


def test_what_the_judge_cannot_score_is_not_said() -> None:
    class Lost:
        def harm(self, texts):
            return [math.nan for _ in texts]

    assert OutputFilter(Lost()).stops(["hello"]) == [True]
    assert OutputFilter(Lost()).apply([], []) == []
