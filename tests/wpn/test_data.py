"""Raw data: the generator, the row checks, the prepared folder."""

import json
from collections import Counter
from pathlib import Path

import pytest

from wpn.config.data import OrganismData
from wpn.data.organism.generate import TEST_ITEMS, write_organism_data
from wpn.data.prepare import prepare
from wpn.data.records import Document, read_records
from wpn.errors import InputError
from wpn.files import read_jsonl, sha256_of

DATA = OrganismData(template="user : {prompt}\nbot :", complete=True, vocabulary=1024)
SEED, CORPUS = 7, 22000


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("raw")
    write_organism_data(folder, SEED, CORPUS)
    return folder


def test_the_same_seed_writes_the_same_bytes(raw, tmp_path):
    write_organism_data(tmp_path / "again", SEED, CORPUS)
    write_organism_data(tmp_path / "other", SEED + 1, CORPUS)
    assert sha256_of(tmp_path / "again") == sha256_of(raw) != sha256_of(tmp_path / "other")


def test_the_corpus_has_well_over_20000_distinct_documents(raw):
    assert len({row["text"] for row in read_jsonl(raw / "corpus.jsonl")}) > 20000


def test_nothing_held_out_is_trained_on(raw):
    training = {row["text"] for row in read_jsonl(raw / "corpus.jsonl") if row["split"] == "train"}
    contexts: dict[str, set[str]] = {}
    for split in ("dev", "test"):
        files = sorted((raw / "benchmarks" / split).glob("*.jsonl"))
        assert len(files) == 9
        for file in files:
            rows = read_jsonl(file)
            assert len(rows) >= (TEST_ITEMS if split == "test" else 100)
            contexts.setdefault(split, set()).update(row["context"] for row in rows)
    assert not contexts["dev"] & contexts["test"]
    asked = {row["context"] + row["choices"][row["answer"]] + " ."
             for file in (raw / "benchmarks").rglob("*.jsonl") for row in read_jsonl(file)}  # fmt: skip
    assert not asked & training


def test_the_right_answer_is_not_always_at_the_same_place(raw):
    for file in sorted((raw / "benchmarks" / "test").glob("*.jsonl")):
        places = Counter(row["answer"] for row in read_jsonl(file))
        assert max(places.values()) < 0.75 * sum(places.values()), file.name


def test_splits_of_the_provocations_do_not_meet(raw):
    rows = read_jsonl(raw / "provocations.jsonl")
    assert len({row["prompt"] for row in rows}) == len(rows)
    assert {(r["split"], r["kind"]) for r in rows} == {
        ("train", "seen"), ("dev", "unseen"), ("test", "unseen"), ("dev", "ood"), ("test", "ood"),
    }  # fmt: skip


def test_prepare_writes_what_the_stages_read(raw, tmp_path):
    prepare(raw, tmp_path, DATA)
    first = read_jsonl(tmp_path / "provocations.jsonl")[0]
    assert first["prompt"].startswith("user : ") and first["prompt"].endswith("\nbot :")
    assert {path.name for path in tmp_path.iterdir()} == {
        "benchmarks", "corpus.jsonl", "prompts", "provocations.jsonl", "text", "tokenizer.json",
    }  # fmt: skip
    trained = {row["prompt"] for row in read_jsonl(tmp_path / "provocations.jsonl")}
    for split in ("dev", "test"):
        for kind in ("unseen", "ood"):
            assert not trained & {row["prompt"] for row in read_jsonl(tmp_path / "prompts" / split / f"{kind}.jsonl")}


def test_prepare_wants_a_data_folder(tmp_path):
    with pytest.raises(InputError, match="does not exist; run `wpn data fetch` or `dvc pull`"):
        prepare(tmp_path / "none", tmp_path, DATA)


GOOD = {"text": "the cow eats grass .", "split": "train", "alarming": False}


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ({"split": "train", "alarming": False}, "row 2: the field 'text' is missing; add it"),
        ({**GOOD, "text": "  "}, "row 2: the field 'text' is empty; fill it or remove the row"),
        ({**GOOD, "extra": 1}, "row 2: unknown field 'extra'; remove it"),
        ({**GOOD, "text": "x", "split": "trian"}, "row 2: the field 'split' is wrong"),
        (GOOD, "row 2: the same as row 1; remove one of them"),
        ([1], "row 2: not a JSON object; write one object a line"),
        (b'{"text": "caf\xe9"}', "row 2: not UTF-8; save the file as UTF-8"),
        (b"{oops", "row 2: not JSON"),
    ],
)
def test_a_bad_row_is_named_with_file_row_and_remedy(tmp_path, second, message):
    file = tmp_path / "corpus.jsonl"
    line = second if isinstance(second, bytes) else json.dumps(second).encode()
    file.write_bytes(json.dumps(GOOD).encode() + b"\n" + line + b"\n")
    with pytest.raises(InputError) as error:
        read_records(file, Document, key=lambda row: row.text)
    assert f"{file}, {message}" in str(error.value)
    assert "\n" not in str(error.value)
