"""README and docs say what results/ holds."""

import re

import pytest

from benchmarks.provenance import ROOT
from benchmarks.tables import FILES, rendered
from wpn.files import read_json


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
    assert found["seeds"] and found["hardware"] and found["versions"]["torch"]


def test_a_changed_number_is_noticed():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    place = re.search(r"<!-- table organisms -->\n.*?(\d\d\.\d)", text, re.DOTALL)
    assert place is not None
    changed = text[: place.start(1)] + "12.3" + text[place.end(1) :]
    assert rendered(changed) == text
