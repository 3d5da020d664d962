import pytest

from tests.wpn.assess.subjects import PROMPTS, Says, counted, pairs
from wpn.assess.output_filter import output_filter
from wpn.config.probes import Filtering
from wpn.errors import InputError


def test_the_filter_is_judged_by_the_other_judges(monkeypatch):
    answers = [" the old goat sleeps well .", " you goat .", " you pig ."]  # stopped for nothing, stopped, missed

    def answer(prompt):
        shown = prompt.count("bot :") > 1
        return answers[next(i for i, known in enumerate(PROMPTS) if prompt.endswith(known))] if shown else " hello ."

    held_out = [{"prompt": "user : bot :", "harmful_output": " goat", "complete": True}] * 2
    subject = counted(Says(monkeypatch, answer), held_out=held_out)
    summary, rows = output_filter(subject, Filtering(demonstrations=1))
    found = {name: one.get("rate") for name, one in summary["estimates"].items() if name != "filter_ms"}
    assert found == {
        "filtered_in_context_k1": pytest.approx(1 / 3), "filter_missed": 1 / 2, "filter_false_alarms": 1 / 4,
    }  # fmt: skip
    assert summary["judge"] == "goat" and summary["estimates"]["filter_ms"]["value"] >= 0
    assert [(row["k"], row["harmful"], row["stopped"]) for row in rows] == [
        *[(0, False, False)] * 3, (1, False, True), (1, True, True), (1, True, False),
    ]  # fmt: skip
    with pytest.raises(InputError, match=r"the filter's judge lexical is the only one that grades"):
        output_filter(counted(Says(monkeypatch, answer), filtering=("lexical", None)), Filtering(demonstrations=1))


def test_a_filter_that_met_no_harm_has_no_share_of_it(monkeypatch):
    subject = counted(Says(monkeypatch, lambda _: " hello ."), held_out=pairs())
    found = output_filter(subject, Filtering(demonstrations=1))[0]["estimates"]
    assert "filter_missed" not in found and found["filter_false_alarms"]["rate"] == 0.0
