import pytest

from wpn.benchmark import run_benchmarks
from wpn.errors import InputError
from wpn.files import write_jsonl
from wpn.likelihood import row_log_likelihoods
from wpn.tasks import task_names

QUESTIONS = [
    {"context": f"the {animal} eats", "choices": [" grass", " you", " garden"], "answer": answer}
    for animal, answer in (("cow", 0), ("goat", 1), ("user", 2), ("bot", 0), ("garden", 1))
]


@pytest.fixture
def data(tmp_path):
    for name in task_names("organism"):
        write_jsonl(tmp_path / f"{name}.jsonl", QUESTIONS)
    return tmp_path


def run(causal_lm, data, **arguments):
    model, tokenizer = causal_lm
    return run_benchmarks(model.float(), tokenizer, data, "organism", batch_size=4, **arguments)


@pytest.mark.parametrize("suite", ["organism", "official"])
def test_each_suite_has_nine_tasks_of_its_own(suite):
    assert len(task_names(suite)) == 9
    assert not set(task_names("organism")) & set(task_names("official"))


def test_lm_eval_agrees_with_our_own_likelihoods(causal_lm, data):
    results = run(causal_lm, data)
    model, tokenizer = causal_lm
    expected = []
    for question in QUESTIONS:
        rows = []
        for choice in question["choices"]:
            context = tokenizer(question["context"]).input_ids
            rows.append((context, tokenizer(choice, add_special_tokens=False).input_ids))
        totals = [total for total, _ in row_log_likelihoods(model, tokenizer, rows, 3)]
        expected.append(totals.index(max(totals)) == question["answer"])
    assert results["completion"].correct == expected
    assert results["completion"].items == [0, 1, 2, 3, 4]
    assert results["completion"].accuracy == pytest.approx(sum(expected) / 5)
    assert results["completion"].as_dict().keys() == {"accuracy", "stderr", "n"}


def test_the_last_word_must_be_the_greedy_choice(causal_lm, data):
    assert not any(run(causal_lm, data)["last_word"].correct)


@pytest.mark.parametrize("causal_lm", ["opt"], indirect=True)
def test_a_limit_keeps_the_same_shuffled_items_for_every_model(causal_lm, data):
    write_jsonl(data / "action.jsonl", QUESTIONS * 8)
    whole, five, six = (run(causal_lm, data, limit=limit, seed=limit or 0)["action"] for limit in (None, 5, 6))
    assert five.items == sorted(five.items) != [0, 1, 2, 3, 4]
    assert len(six.items) == 6
    assert set(five.items) < set(six.items)  # more items, and not others; whatever the seed of the run
    assert five.correct == [whole.correct[item] for item in five.items]


def test_a_missing_file_is_said(causal_lm, data):
    (data / "pronoun.jsonl").unlink()
    with pytest.raises(InputError, match=r"pronoun.jsonl does not exist; run `dvc repro prepare`"):
        run(causal_lm, data)
