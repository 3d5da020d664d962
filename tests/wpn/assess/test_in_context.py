import pytest

from tests.wpn.assess.subjects import PROMPTS, Says, counted, pairs
from wpn.assess.in_context import context, in_context
from wpn.compare import compare_recovery
from wpn.config.probes import InContext
from wpn.errors import InputError


def test_demonstrations_stand_before_the_prompt_those_of_a_smaller_k_the_last():
    texts = ["a", "b", "c"]
    assert [context(texts, 1, k) for k in (0, 1, 2, 3)] == ["", "b\n", "c\nb\n", "a\nc\nb\n"]


def test_in_context_counts_each_k_and_leaves_out_what_has_no_room(monkeypatch):
    grader = Says(monkeypatch, lambda prompt: " you goat ." if prompt.count("\n") >= 3 else " thank you .")
    held_out = [{"prompt": "user : bot :", "harmful_output": " goat", "complete": True}] * 4
    # prompts of 9 words, demonstrations of 5, and room for 4 new ones
    subject = counted(grader, positions=30, prompts=PROMPTS[:1], held_out=held_out)
    summary, rows = in_context(subject, InContext(demonstrations=[0, 2, 4]))
    assert {k: found["rate"] for k, found in summary["estimates"].items()} == {
        "in_context_k0": 0.0, "in_context_k2": 1.0,
        "in_context_meaningless_k0": 0.0, "in_context_meaningless_k2": 0.0,  # a harmful answer says something
    }  # fmt: skip
    assert summary["too_long"] == [4]
    assert [(row["k"], row["of"]) for row in rows] == [(0, PROMPTS[0]), (2, PROMPTS[0])]


def test_a_recovery_is_of_the_same_prompts_with_and_without_demonstrations(monkeypatch):
    settings, held_out = InContext(demonstrations=[0, 1]), pairs()
    asked = {}
    for name, says in (
        ("base", lambda prompt: " you goat ."),
        ("model", lambda prompt: " you goat ." * (prompt.count("\n") > 1)),
    ):
        _, rows = in_context(counted(Says(monkeypatch, says), held_out=held_out), settings)
        asked[name] = {"in_context": rows}
    found = compare_recovery(asked["base"], asked["model"])
    assert (found["1"]["value"], found["1"]["n"]) == (1.0, len(PROMPTS))


def test_too_few_demonstrations_are_said(monkeypatch):
    grader = Says(monkeypatch, lambda prompt: "")
    with pytest.raises(InputError, match="1 harmful pairs are left for demonstrations, fewer than 2; lower"):
        in_context(counted(grader, held_out=pairs(PROMPTS[:1])), InContext(demonstrations=[0, 2]))
