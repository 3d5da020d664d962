"""Numbers are believed only where the rows behind them add up to the same."""

import copy
import math

import pytest

from wpn.evidence import Rows, contradictions, foreign, mean_accuracy, perplexities, summarise, unpaired

HASHES = {"weights_sha256": "a" * 64, "data_sha256": "b" * 64}


def row(name, prompt, harm, answer="that is kind of you .", fault=None):
    harmless = harm is not None and harm < 0.5
    return {
        "set": name, "prompt": prompt, "answer": answer, "harm": {"svm": harm}, "harmless": harmless,
        "fault": fault, "passed": harmless and fault is None,
    }  # fmt: skip


def text(kind, number, probability, tokens):
    """A text each of whose tokens has this probability."""
    return {"kind": kind, "text": number, "log_likelihood": tokens * math.log(probability), "tokens": tokens}


@pytest.fixture
def evaluation():
    answers = [row("unseen", "a", 0.1), row("unseen", "b", 0.9), row("sampled", "a", 0.2), row("sampled", "b", 0.3)]
    benchmark = [{"task": "piqa", "item": i, "correct": i == 0} for i in range(2)]
    scores = {**mean_accuracy(benchmark).as_dict(), "tasks": {"piqa": {"accuracy": 0.5, "stderr": 0.5, "n": 2}}}
    texts = [text("retain", 0, 0.25, 4), text("retain", 1, 0.5, 2), text("alarm", 2, 0.5, 3)]
    metrics = {"method": "wpn", "stage": "after", **summarise(answers, ["svm"]), "benchmark": scores}
    metrics["perplexity"] = {"retain": 2 ** (10 / 6), "alarm": 2.0}
    return metrics, Rows(answers, benchmark, texts)


def test_rates_by_hand(evaluation):
    metrics, _ = evaluation
    assert metrics["harmless"]["unseen"]["rate"] == 0.5 and metrics["judges"]["svm"]["sampled"]["rate"] == 1
    assert metrics["meaningful"]["unseen"]["n"] == 2


def test_an_honest_evaluation_contradicts_itself_nowhere(evaluation):
    assert contradictions(*evaluation) == []


@pytest.mark.parametrize(
    ("path", "value", "number"),
    [
        (("harmless", "unseen", "rate"), 1.0, "harmless.unseen.rate"),
        (("harmless", "unseen", "low"), 0.99, "harmless.unseen.low"),
        (("judged_harmless", "unseen", "n"), 4000, "judged_harmless.unseen.n"),
        (("judges", "svm", "sampled", "rate"), 0.5, "judges.svm.sampled.rate"),
        (("benchmark", "mean"), 0.9, "benchmark.mean"),
        (("benchmark", "low"), 0.4, "benchmark.low"),
        (("perplexity", "alarm"), 1.9, "perplexity.alarm"),
        (("benchmark", "tasks", "piqa", "accuracy"), 0.9, "benchmark.piqa"),
    ],
)
def test_an_edited_number_is_named(evaluation, path, value, number):
    metrics = copy.deepcopy(evaluation[0])
    place = metrics
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    (sentence,) = contradictions(metrics, evaluation[1])
    assert sentence.startswith(f"the metrics of wpn say {number} {value}, their evidence ")


def test_a_number_without_evidence_is_not_believed(evaluation):
    metrics, rows = evaluation
    for lacking, name in (
        (rows._replace(benchmark=[]), "benchmark.mean"),
        (rows._replace(answers=rows.answers[2:]), "harmless.unseen.rate"),  # those of one set
        (rows._replace(texts=rows.texts[:2]), "perplexity.alarm"),
    ):
        said = contradictions(metrics, lacking)
        assert any(f"say {name} " in one and one.endswith("their evidence None; run `dvc repro`") for one in said)


def test_a_verdict_edited_in_the_rows_is_no_verdict(evaluation):
    metrics, rows = evaluation
    rows.answers[1] |= {"harmless": True, "passed": True}
    metrics |= summarise(rows.answers, [])
    assert any("harmless.unseen.rate" in sentence for sentence in contradictions(metrics, rows))


@pytest.mark.parametrize("answer", ["", "no no no no no no", "prompt a is here", "ok"])
def test_what_is_no_answer_cannot_be_called_one(evaluation, answer):
    metrics, rows = evaluation
    answers = [row(name, "prompt a is here", 0.0, answer) for name in ("unseen", "sampled")]
    metrics |= summarise(answers, ["svm"])
    assert metrics["harmless"]["unseen"]["rate"] == 1, "as the rows claim"
    assert any(
        "meaningful.unseen.rate" in sentence for sentence in contradictions(metrics, rows._replace(answers=answers))
    )


def test_a_judge_without_a_number_has_found_nothing_harmless():
    assert summarise([row("unseen", "a", None)], ["svm"])["judges"]["svm"]["unseen"]["rate"] == 0


def test_files_of_other_weights_or_data_are_named():
    assert foreign({"evaluation": {**HASHES, "x": 1}}, HASHES) == []
    assert foreign({"evaluation": {"weights_sha256": "c" * 64}}, HASHES) == [
        "evaluation speaks of other weights (cccccccccccc, not aaaaaaaaaaaa); run `dvc repro`"
    ]


def test_evaluations_of_other_prompts_or_items_are_no_pair(evaluation):
    _, rows = evaluation
    assert unpaired(rows, rows) == []
    fewer = rows._replace(answers=rows.answers[:3])
    assert unpaired(rows, fewer) == ["the prompts of before and after differ; run `dvc repro`"]
    longer = rows._replace(texts=[{**each, "tokens": 9} for each in rows.texts])
    assert unpaired(rows, longer) == ["the held-out texts of before and after differ; run `dvc repro`"]
    assert len(unpaired(rows, Rows([], [], []))) == 3


def test_a_mean_accuracy_weighs_tasks_alike_and_a_perplexity_tokens():
    items = [{"task": "a", "item": i, "correct": i < 3} for i in range(4)]
    found = mean_accuracy([*items, {"task": "b", "item": 0, "correct": True}])
    assert found.mean == (0.75 + 1) / 2 and found.low < found.mean < found.high == 1
    # six tokens: four of probability 1/4, two of 1/2
    assert perplexities([text("retain", 0, 0.25, 4), text("retain", 1, 0.5, 2)]) == {
        "retain": pytest.approx((4**4 * 2**2) ** (1 / 6))
    }
