"""README and docs say what results/ holds."""

import re

import pytest

from benchmarks import tables
from benchmarks.provenance import ROOT
from benchmarks.tables import FILES, real_table, rendered
from wpn.files import read_json, write_json


@pytest.mark.parametrize("name", FILES)
def test_the_tables_are_those_of_the_results(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    assert rendered(text) == text, "run `make tables`"
    assert "<!-- table" in text


@pytest.mark.parametrize("path", sorted((ROOT / "results").glob("*.json")), ids=lambda path: path.stem)
def test_every_result_says_where_it_comes_from(path):
    found = read_json(path)
    assert re.fullmatch(r"[0-9a-f]{40}", found["commit"])
    assert found["command"].startswith("python -m benchmarks.")
    assert not re.search(r"(^|[\s:=])/", found["command"]), "a folder of the machine that measured it"
    assert found["seeds"] and found["hardware"] and found["versions"]["torch"]


def test_a_changed_number_is_noticed():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    place = re.search(r"<!-- table organisms -->\n.*?(\d\d\.\d)", text, re.DOTALL)
    assert place is not None
    changed = text[: place.start(1)] + "12.3" + text[place.end(1) :]
    assert rendered(changed) == text


def test_attacks_are_a_table_of_their_own(tmp_path, monkeypatch):
    numbers = {"forced_start": 1.0, "in_context_k2": 0.02, "relearn_5": 0.0, "relearn_10": 0.1}
    rows = [
        {"model": "opt", "method": "wpn", "stage": "after", **numbers, "relearn_10_worst": worst,
         "alarm_perplexity_ratio": 1.004}
        for worst in (0.1, 0.3)
    ]  # fmt: skip
    found = {"rows": rows, "seeds": [1, 2], "command": "c", "commit": "0123456789ab", "hardware": "h"}
    write_json(tmp_path / "results" / "tiny.json", found)
    monkeypatch.setattr(tables, "ROOT", tmp_path)
    assert tables.attack_table("tiny").splitlines()[2] == (
        "| opt | wpn | 100.0 | 2.0 | 0.0 | 10.0 | 20.0 (10.0 to 30.0) | 1.004 |"
    )


def test_what_was_spent_has_units_of_its_own(tmp_path, monkeypatch):
    spent = [{"steps": 120, "tokens": tokens, "seconds": 61.4, "peak_memory_mb": 640.6} for tokens in (1400, 2600)]
    rows = [{"model": "opt", "method": "wpn", "stage": "after", **each} for each in spent]
    found = {"rows": rows, "seeds": [1, 2], "command": "c", "commit": "0123456789ab", "hardware": "h"}
    write_json(tmp_path / "results" / "tiny.json", found)
    monkeypatch.setattr(tables, "ROOT", tmp_path)
    columns = {name: tables.METHOD_COLUMNS[name] for name in ("steps", "k tokens", "s", "MB")}
    assert tables.attack_table("tiny", columns).splitlines()[2] == "| opt | wpn | 120 | 2 | 61 | 641 |"


def test_a_real_models_table_has_a_column_a_grader_the_largest_p_and_the_worst_task_of_all_seeds(tmp_path, monkeypatch):
    numbers = {"benchmark_mean": 0.5, "meaningful_sampled": 0.96, "perplexity_ratio": 1.0, "seconds": 20.4}
    nothing = dict.fromkeys(("toxicity_fall", "toxicity_fall_p", "benchmark_drop"))
    before = {
        "method": None, "stage": "before", "toxicity": {"a": 0.12, "b": 0.1}, "gate": None,
        "tasks": {"piqa": 0.5, "copa": 0.5}, **numbers, **nothing,
    }  # fmt: skip
    rows = [
        row
        for rate, gate, p, tasks in (
            (0.03, "passed", 0.001, {"piqa": 0.47, "copa": 0.52}),
            (0.05, "refused", 0.004, {"piqa": 0.49, "copa": 0.46}),  # copa is the worst of this seed alone
        )
        for row in (
            before,
            {"method": "wpn", "stage": "after", "toxicity": {"a": rate, "b": 0.02}, "gate": gate, **numbers,
             "toxicity_fall": 0.7, "toxicity_fall_p": p, "benchmark_drop": 0.01, "tasks": tasks},
        )
    ]  # fmt: skip
    found = {"rows": rows, "seeds": [1, 2], "command": "c", "commit": "0123456789ab", "hardware": "h"}
    write_json(tmp_path / "results" / "tiny.json", found)
    monkeypatch.setattr(tables, "ROOT", tmp_path)
    lines = real_table("tiny").splitlines()
    assert lines[0] == (
        "| stage | a | b | fall | p | meaningful | benchmarks | drop | perplexity x | s | worst task | gate |"
    )
    assert lines[2] == "| before | 12.0 | 10.0 |  |  | 96.0 | 50.0 |  | 1.000 | 20 |  |  |"
    assert lines[3] == (
        "| wpn | 4.0 (3.0 to 5.0) | 2.0 | 70.0 | 0.004 | 96.0 | 50.0 | 1.0 | 1.000 | 20 | piqa 2.0 | 1 of 2 |"
    )


def test_a_search_on_several_models_shows_the_mean_of_the_rows_it_began_with(monkeypatch):
    settings = {"method": "npo", "beta": 0.1}
    trials = [{"method": "npo", "trial": 0, "settings": settings, "score": score} for score in (0.5, 0.7)]
    best = {**trials[0], "settings": {**settings, "beta": 0.5}, "score": 0.9}
    described = {"command": "x", "commit": "f" * 40, "seeds": [1], "hardware": "y"}
    found = {**described, "best": {"npo": best}, "trials": trials}
    monkeypatch.setattr(tables, "read_json", lambda _: found)
    assert "| npo | 0.600 | 0.900 |  | beta 0.5 |" in tables.tuning_table()
    found["trials"] = [trials[0], {"method": "npo", "trial": 0, "settings": settings, "failed": "loss is nan"}]
    assert "| npo | diverged | 0.900 |" in tables.tuning_table()
