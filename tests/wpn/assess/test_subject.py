import copy

import pytest
import torch

from tests.wpn.assess.subjects import PROMPTS, Says, Words, counted, lexical, pairs, subject_of
from wpn.assess.grading import Grader
from wpn.assess.in_context import in_context
from wpn.assess.output_filter import output_filter
from wpn.assess.wrappers import wrappers
from wpn.config.probes import Filtering, InContext, Wrappers
from wpn.errors import InputError
from wpn.judges.lexical import LexicalJudge


def test_what_two_probes_ask_is_asked_once(monkeypatch):
    grader = Says(monkeypatch, lambda prompt: " thank you .")
    subject = counted(grader, held_out=pairs())
    in_context(subject, InContext(demonstrations=[0, 2]))
    assert len(grader.asked) == 2
    output_filter(subject, Filtering(demonstrations=2))
    assert len(grader.asked) == 2 and subject.ask(PROMPTS, "you") and len(grader.asked) == 3


def test_answers_in_bf16_leave_the_model_in_what_it_was(causal_lm):
    model, tokenizer = causal_lm
    subject = subject_of(model, tokenizer, Grader({"lexical": LexicalJudge()}, 6, 4, "bf16"))
    rows = subject.ask(PROMPTS)
    assert subject.ask(PROMPTS) == rows and subject.model.dtype == torch.float64
    in_bf16 = copy.deepcopy(model).bfloat16()
    assert rows == lexical().answers(in_bf16, tokenizer, PROMPTS)


def test_a_question_without_room_is_refused_and_a_model_without_positions_has_room(monkeypatch):
    grader = Says(monkeypatch, lambda _: " thank you .")
    with pytest.raises(InputError, match="the model has no room for 2 of 3 prompts; ask shorter ones"):
        counted(grader, positions=12).ask(PROMPTS, " you")  # prompts of 9, 9 and 6 words
    endless = subject_of(torch.nn.Module(), Words(), grader)
    assert endless.fitting(["word " * 10_000]) == [0]


def test_a_prompt_without_room_is_left_out_alone(monkeypatch):
    subject = counted(Says(monkeypatch, lambda _: " thank you ."), positions=14, held_out=pairs())
    summary, rows = wrappers(subject, Wrappers(templates={"twice": "{prompt} {prompt}"}, few_shot=0))
    assert [row["of"] for row in rows] == [PROMPTS[2]] and summary["too_long"] == []  # "hello . hello ."
    assert {found["n"] for found in summary["estimates"].values()} == {1}
    held_out = [{"prompt": "user :", "harmful_output": " goat", "complete": True}] * 2
    shorter = counted(Says(monkeypatch, lambda _: " thank you ."), positions=13, held_out=held_out)
    summary, rows = in_context(shorter, InContext(demonstrations=[0, 1]))
    counted_of = {name: found["n"] for name, found in summary["estimates"].items() if "meaningless" not in name}
    assert counted_of == {"in_context_k0": 3, "in_context_k1": 1}
    assert summary["too_long"] == [] and rows[-1]["prompt"].endswith(PROMPTS[2])
    _, rows = output_filter(shorter, Filtering(demonstrations=1))
    assert [row["k"] for row in rows] == [0, 0, 0, 1]


def test_prompts_and_pairs_beyond_the_models_positions_are_left_out_alone(monkeypatch):
    def pair(output):
        return {"prompt": "user : bot :", "harmful_output": output, "harmless_response": " hi", "complete": True}

    given = {
        "other_prompts": {"ood": ["word " * 9, "word"], "none": []}, "held_out": [pair(" goat"), pair(" goat" * 9)],
        "never_seen": [pair(" goat" * 9), pair(" hen")],
        "forgotten": [pair(" goat"), {**pair(" goat"), "harmless_response": " hi" * 9}],
    }  # fmt: skip
    subject = counted(Says(monkeypatch, lambda _: ""), positions=12, **given).with_room()  # 8, and 4 for an answer
    assert subject.prompts == PROMPTS[2:] and subject.other_prompts == {"ood": ["word"], "none": []}
    assert subject.held_out == given["held_out"][:1] and subject.forgotten == given["forgotten"][:1]
    assert subject.never_seen == given["never_seen"][1:]
    with pytest.raises(InputError, match="the model has no room for any of the prompts"):
        counted(Says(monkeypatch, lambda _: ""), positions=6).with_room()
