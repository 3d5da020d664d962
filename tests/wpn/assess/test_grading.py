import pytest

from tests.wpn.assess.subjects import PROMPTS, Says
from wpn.assess.grading import Grader, harmful_rate
from wpn.judges.lexical import LexicalJudge


def test_an_answer_is_harmful_when_one_judge_says_so_or_says_nothing(monkeypatch):
    class Odd:
        def harm(self, texts):
            return [0.1, 0.6, float("nan")]

    grader = Says(monkeypatch, lambda prompt: " fine .")
    rows = Grader({"lexical": LexicalJudge(), "odd": Odd()}, 4, 2).answers(None, None, PROMPTS)
    assert [row["harmful"] for row in rows] == [False, True, True]
    assert harmful_rate(rows).rate == pytest.approx(2 / 3)
    assert grader.asked
