"""Our nine official tasks ask what lm-eval's own ask, and count as they count."""

import zlib
from pathlib import Path

import datasets
import lm_eval.tasks
import pytest
from lm_eval import evaluate
from lm_eval.api.model import LM
from lm_eval.tasks import TaskManager

from wpn.benchmark import run_benchmarks
from wpn.files import read_jsonl, write_jsonl
from wpn.tasks import task_names

SHARED = Path(__file__).parents[3] / "shared" / "data" / "benchmarks"

# The data set of each task on the hub, and two rows of our own in its fields.
HUB = {
    "lambada_openai": ("EleutherAI/lambada_openai", "default"),
    "hellaswag": ("Rowan/hellaswag", None),
    "winogrande": ("allenai/winogrande", "winogrande_xl"),
    "copa": ("aps/super_glue", "copa"),
    "arc_easy": ("allenai/ai2_arc", "ARC-Easy"),
    "arc_challenge": ("allenai/ai2_arc", "ARC-Challenge"),
    "piqa": ("baber/piqa", None),
    "mathqa": ("regisss/math_qa", None),
    "pubmedqa": ("bigbio/pubmed_qa", "pubmed_qa_labeled_fold0_source"),
}
METAL = {"text": ["wood", "iron", "glass"], "label": ["A", "B", "C"]}
LEGS = {"text": ["6", "8", "10", "none"], "label": ["1", "2", "3", "4"]}
ROWS = {
    "lambada_openai": [
        {"text": "The cow saw the gate.\n\n\"Shut it,\" said Ann, and Tom shut the gate"},
        {"text": "Rain fell on the roof all night, so Ann mended the roof"},
    ],
    "hellaswag": [
        {"ind": 4, "activity_label": "Food", "ctx_a": "[header] How to boil an egg [title] Fill a pot. [step] Heat it.",
         "ctx_b": "the cook", "ctx": "unused", "endings": ["waits.", "[substeps] sings.", "sleeps.", "runs."],
         "label": "0"},
        {"ind": 9, "activity_label": "Rowing", "ctx_a": "Two men row.", "ctx_b": "", "ctx": "unused",
         "endings": ["They stop.", "They fly.", "They melt.", "They rust."], "label": "3"},
    ],
    "winogrande": [
        {"sentence": "The cup did not fit in the bag because the _ was too big.", "option1": "cup", "option2": "bag",
         "answer": "1"},
        {"sentence": "Ann paid Tom because _ had sold a cow.", "option1": "Ann", "option2": "Tom", "answer": "2"},
    ],
    "copa": [
        {"premise": "The plant died.", "choice1": "Nobody watered it.", "choice2": "It rained.", "question": "cause",
         "idx": 0, "label": 0},
        {"premise": "The cup fell.", "choice1": "It flew.", "choice2": "It broke.", "question": "effect",
         "idx": 1, "label": 1},
    ],
    "arc_easy": [
        {"id": "a", "question": "Which is a metal?", "choices": METAL, "answerKey": "B"},
        {"id": "b", "question": "How many legs has a spider?", "choices": LEGS, "answerKey": "2"},
    ],
    "arc_challenge": [
        {"id": "c", "question": "Which is a metal?", "choices": METAL, "answerKey": "B"},
        {"id": "d", "question": "How many legs has an ant?", "choices": LEGS, "answerKey": "1"},
    ],
    "piqa": [
        {"goal": "cool tea", "sol1": "Add ice.", "sol2": "Add fire.", "label": 0},
        {"goal": "dry hair", "sol1": "Use milk.", "sol2": "Use a towel.", "label": 1},
    ],
    "mathqa": [
        {"Problem": "what is 3 / 2 ?", "options": "a ) 1 , b ) 1.5 , c ) 2 , d ) 2.5 , e ) none of these",
         "correct": "b"},
        {"Problem": "two cows cost rs . 40 . one cow ?", "options": "a ) rs . 10 , b ) 20 , c ) 30 , d ) 40 , e ) 50",
         "correct": "b"},
    ],
    "pubmedqa": [
        {"pubid": "1", "QUESTION": "Does tea help?", "CONTEXTS": ["We gave tea.", "Ten people slept."],
         "final_decision": "maybe"},
        {"pubid": "2", "QUESTION": "Does milk help?", "CONTEXTS": ["We gave milk."], "final_decision": "no"},
    ],
}  # fmt: skip

# What the first row is to become, as the tasks' authors and lm-eval put it; written by hand.
EGG = "Food: How to boil an egg. Fill a pot. Heat it. The cook"
METAL_QUESTION = "Question: Which is a metal?\nAnswer:"
TEA = "Abstract: We gave tea.\nTen people slept.\nQuestion: Does tea help?\nAnswer:"
BIG = "The cup did not fit in the bag because the"
EXPECTED = {
    "lambada_openai": [("The cow saw the gate.\n\n\"Shut it,\" said Ann, and Tom shut the", " gate")],
    "hellaswag": [(EGG, " waits."), (EGG, "  sings."), (EGG, " sleeps."), (EGG, " runs.")],
    "winogrande": [(f"{BIG} cup", " was too big."), (f"{BIG} bag", " was too big.")],
    "copa": [("The plant died because", "  nobody watered it."), ("The plant died because", "  it rained.")],
    "arc_easy": [(METAL_QUESTION, " wood"), (METAL_QUESTION, " iron"), (METAL_QUESTION, " glass")],
    "arc_challenge": [(METAL_QUESTION, " wood"), (METAL_QUESTION, " iron"), (METAL_QUESTION, " glass")],
    "piqa": [("Question: cool tea\nAnswer:", " Add ice."), ("Question: cool tea\nAnswer:", " Add fire.")],
    "mathqa": [("Question: what is 3 / 2 ?\nAnswer:", f" {x}") for x in ("1", "1.5", "2", "2.5", "none of these")],
    "pubmedqa": [(TEA, " yes"), (TEA, " no"), (TEA, " maybe")],
}  # fmt: skip
ANSWER = {"hellaswag": 0, "winogrande": 0, "copa": 0, "arc_easy": 1, "arc_challenge": 1, "piqa": 0, "mathqa": 1,
          "pubmedqa": 2, "lambada_openai": 0}  # fmt: skip


def by_checksum(context, continuation):
    number = zlib.crc32(f"{context}|{continuation}".encode())
    return -float(number % 997), number % 2 == 0


class Recorder(LM):
    """A model that notes what it is asked; its answers (likelihood, greedy) depend on the two strings alone."""

    def __init__(self, answer=by_checksum):
        super().__init__()
        self.answer, self.asked = answer, {}

    def loglikelihood(self, requests):
        for request in requests:
            self.asked.setdefault(request.task_name, {}).setdefault(request.doc_id, []).append(request.args)
        return [self.answer(*request.args) for request in requests]

    def loglikelihood_rolling(self, requests):
        raise NotImplementedError

    generate_until = loglikelihood_rolling


def ours(rows, folder, monkeypatch, answer=by_checksum):
    """The requests of our tasks over rows in files, and their results."""
    recorder = Recorder(answer)
    monkeypatch.setattr("wpn.scorer.ContextOnce", lambda *_, **__: recorder)
    for name, chosen in rows.items():
        write_jsonl(folder / f"{name}.jsonl", chosen)
    results = run_benchmarks(None, None, folder, "official", batch_size=1)
    return recorder.asked, results


def theirs(rows, monkeypatch):
    """The same of lm-eval's own nine tasks, looked up by name, with nothing changed but where the hub's rows are."""
    by_hub = {HUB[name]: chosen for name, chosen in rows.items()}

    def load_dataset(path, name=None, **_):
        return datasets.DatasetDict(
            {split: datasets.Dataset.from_list(by_hub[path, name]) for split in ("train", "validation", "test")}
        )

    own = Path(lm_eval.tasks.__file__).parent
    folders = ("lambada", "hellaswag", "winogrande", "super_glue", "arc", "piqa", "mathqa", "pubmedqa")
    manager = TaskManager(include_path=[own / folder for folder in folders], include_defaults=False)
    with monkeypatch.context() as patch:
        patch.setattr("lm_eval.api.task.datasets.load_dataset", load_dataset)
        tasks = manager.load(list(rows))
    recorder = Recorder()
    return recorder.asked, evaluate(recorder, tasks, bootstrap_iters=0)["samples"]


def assert_same(rows, folder, monkeypatch):
    asked, results = ours(rows, folder, monkeypatch)
    official, samples = theirs(rows, monkeypatch)
    assert asked.keys() == official.keys() == results.keys() == set(task_names("official"))
    for name in rows:
        assert len(asked[name]) == len(rows[name])
        assert asked[name] == official[name], name
        assert results[name].correct == [bool(sample["acc"]) for sample in samples[name]], name
        norms = [sample["acc_norm"] for sample in samples[name] if "acc_norm" in sample]
        assert results[name].accuracy_norm == (pytest.approx(sum(norms) / len(norms)) if norms else None), name


def test_our_tasks_ask_what_lm_evals_own_ask(tmp_path, monkeypatch):
    assert_same(ROWS, tmp_path, monkeypatch)


@pytest.mark.skipif(not SHARED.is_dir(), reason="no ../shared/data/benchmarks beside the project")
def test_our_tasks_ask_what_lm_evals_own_ask_of_real_rows(tmp_path, monkeypatch):
    rows = {name: read_jsonl(SHARED / f"{name}.jsonl")[:50] for name in HUB}
    assert_same(rows, tmp_path, monkeypatch)


def test_the_requests_are_those_written_by_hand(tmp_path, monkeypatch):
    right = {choices[ANSWER[name]] for name, choices in EXPECTED.items()}
    asked, results = ours(ROWS, tmp_path, monkeypatch, lambda *pair: (float(pair in right), pair in right))
    assert {name: documents[0] for name, documents in asked.items()} == EXPECTED
    assert all(result.correct[0] for result in results.values())  # the answer is the one that the row names
    assert not results["lambada_openai"].correct[1]
