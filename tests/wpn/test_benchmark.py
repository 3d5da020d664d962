import pytest

from wpn.benchmark import run_benchmarks, task_names
from wpn.errors import InputError
from wpn.files import write_jsonl
from wpn.likelihood import row_log_likelihoods

QUESTIONS = [
    {"context": f"the {animal} eats", "choices": [" grass", " you", " garden"], "answer": answer}
    for animal, answer in (("cow", 0), ("goat", 1), ("user", 2), ("bot", 0), ("garden", 1))
]


@pytest.fixture
def data(tmp_path):
    for name in task_names():
        write_jsonl(tmp_path / f"{name}.jsonl", QUESTIONS)
    return tmp_path


def test_there_are_nine_tasks():
    assert len(task_names()) == 9


def test_lm_eval_agrees_with_our_own_likelihoods(causal_lm, data):
    model, tokenizer = causal_lm
    results = run_benchmarks(model.float(), tokenizer, data, batch_size=4)
    expected = []
    for question in QUESTIONS:
        rows = []
        for choice in question["choices"]:
            context = tokenizer(question["context"]).input_ids
            rows.append((context, tokenizer(choice, add_special_tokens=False).input_ids))
        totals = [total for total, _ in row_log_likelihoods(model, tokenizer, rows, 3)]
        expected.append(totals.index(max(totals)) == question["answer"])
    assert results["completion"].correct == expected
    assert results["completion"].accuracy == pytest.approx(sum(expected) / 5)


def test_the_last_word_must_be_the_greedy_choice(causal_lm, data):
    model, tokenizer = causal_lm
    assert not any(run_benchmarks(model.float(), tokenizer, data, batch_size=4)["last_word"].correct)


def test_a_missing_file_is_said(causal_lm, data):
    (data / "pronoun.jsonl").unlink()
    with pytest.raises(InputError, match=r"pronoun.jsonl does not exist; run `dvc repro prepare`"):
        run_benchmarks(*causal_lm, data, batch_size=4)
