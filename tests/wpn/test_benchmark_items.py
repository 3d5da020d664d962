"""The nine benchmarks' items: from the hub's files as params.yaml names them, from a folder, and what is refused."""

import io
import json
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from tests.hub_server import HubServer
from tests.wpn.test_official_tasks import ROWS
from wpn.config.loading import load_params
from wpn.data.benchmark_items import FIELDS, read_items
from wpn.errors import InputError
from wpn.files import write_jsonl
from wpn.sources import fetch
from wpn.tasks import task_names

PARAMS = load_params(Path(__file__).parents[2] / "params.yaml")
NINE = {name: row for name, row in PARAMS.datasets.items() if row.format in FIELDS}

# as its authors' repository has them
PUBMEDQA = [
    {
        "pubid": int(row["pubid"]), "question": row["QUESTION"], "long_answer": "-",
        "context": {"contexts": row["CONTEXTS"], "labels": ["A"], "meshes": []},
        "final_decision": row["final_decision"],
    }
    for row in ROWS["pubmedqa"]
]  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for task, rows in ROWS.items():
        write_jsonl(tmp_path / "items" / f"{task}.jsonl", rows)
    (tmp_path / "items" / "README.md").write_text("what these are")
    return tmp_path / "items"


def content(name: str, rows: list[dict]) -> bytes:
    if name.endswith(".jsonl"):
        return "\n".join(json.dumps(row) for row in rows).encode()
    stream = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), stream)
    return stream.getvalue()


def test_every_task_is_known_and_has_one_row_that_the_recipe_names():
    assert sorted(FIELDS) == task_names("official") == sorted(row.format for row in NINE.values())
    assert PARAMS.recipe("opt-125m").data.benchmarks == list(NINE)


def test_the_rows_of_params_give_the_items_of_the_hubs_files(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    repositories: dict[str, dict[str, bytes]] = {}
    for row in NINE.values():
        rows = PUBMEDQA if row.format == "pubmedqa" else ROWS[row.format]
        name = row.hub.files[0].replace("*validation*", "piqa_validation").replace("*", "00000-of-00001")
        repositories.setdefault(row.hub.repo, {"README.md": b"a card"})[name] = content(name, rows)
    folders = {}
    with HubServer(tmp_path / "hub") as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        commits = {repo: hub.add(repo, files, kind="datasets").commit for repo, files in repositories.items()}
        for name, row in NINE.items():
            folders[name] = (tmp_path / "fetched" / name, row.format)
            folders[name][0].mkdir(parents=True)
            served = row.hub.model_copy(update={"revision": commits[row.hub.repo]})
            fetch(row.model_copy(update={"hub": served}), folders[name][0])
    items = read_items(folders)
    for task in FIELDS:
        wanted = [{field: row[field] for field in FIELDS[task]} for row in ROWS[task]]
        assert [{field: row[field] for field in FIELDS[task]} for row in items[task]] == wanted


def test_a_folder_holds_a_file_a_task_and_may_hold_other_things(folder):
    assert read_items({"mine": (folder, "benchmarks")}) == ROWS


def test_a_task_that_is_missing_is_named(folder):
    (folder / "mathqa.jsonl").unlink()
    with pytest.raises(InputError, match="data sets mine hold no items of mathqa; add a row"):
        read_items({"mine": (folder, "benchmarks")})


def test_a_task_in_two_data_sets_is_refused(folder, tmp_path):
    write_jsonl(tmp_path / "copa" / "copa.jsonl", ROWS["copa"])
    with pytest.raises(InputError, match="data sets mine and copa both hold items of copa"):
        read_items({"mine": (folder, "benchmarks"), "copa": (tmp_path / "copa", "copa")})


def test_a_row_without_a_field_is_named(folder):
    write_jsonl(folder / "copa.jsonl", [ROWS["copa"][0], {**ROWS["copa"][1], "label": None}])
    with pytest.raises(InputError, match=r"copa\.jsonl, row 2: no field 'label', which copa needs"):
        read_items({"mine": (folder, "benchmarks")})


def test_an_unknown_format_is_refused(folder):
    with pytest.raises(InputError, match="mine has the unknown format 'mmlu'"):
        read_items({"mine": (folder, "mmlu")})
