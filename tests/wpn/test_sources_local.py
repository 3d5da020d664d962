"""A file or folder of this machine as a source."""

import os
import shutil
from pathlib import Path

import pytest

from wpn.config.sources import Hub, Local, Registered, Source
from wpn.errors import InputError
from wpn.files import sha256_of
from wpn.sources import fetch, select
from wpn.sources.local import described


@pytest.fixture
def target(tmp_path: Path) -> Path:
    folder = tmp_path / "target"
    folder.mkdir()
    return folder


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    (folder / "deep").mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "deep" / "weights.bin").write_bytes(b"\0\1")
    return folder


def test_a_folder_arrives_with_its_content_and_the_pinned_hash(model, target):
    row = described(str(model))
    fetch(Source(path=row), target)
    assert sha256_of(target) == row.sha256
    assert (target / "deep" / "weights.bin").read_bytes() == b"\0\1"


def test_a_file_arrives_under_its_name(tmp_path, target):
    file = tmp_path / "pairs.jsonl"
    file.write_text("x")
    row = described(str(file))
    # printf x | sha256sum
    assert row.sha256 == "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"
    fetch(Source(path=row), target)
    assert [path.name for path in target.iterdir()] == ["pairs.jsonl"]


def test_weights_are_linked_and_not_copied(model, target):
    fetch(Source(path=described(str(model))), target)
    assert (target / "config.json").samefile(model / "config.json")


def test_where_no_link_can_be_made_the_bytes_are_copied(model, target, monkeypatch):
    def refuse(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    fetch(Source(path=described(str(model))), target)
    assert not (target / "config.json").samefile(model / "config.json")
    assert sha256_of(target) == sha256_of(model)


def test_links_of_a_folder_are_followed(model, tmp_path, target):
    """The client of the hub keeps its files so: a folder of links to the content."""
    snapshot = tmp_path / "snapshot"
    snapshot.mkdir()
    (snapshot / "config.json").symlink_to(model / "config.json")
    fetch(Source(path=described(str(snapshot))), target)
    assert not (target / "config.json").is_symlink()
    shutil.rmtree(snapshot)
    assert (target / "config.json").read_text() == "{}"


def test_a_changed_content_is_refused_with_the_remedy(model, target):
    row = described(str(model))
    (model / "config.json").write_text('{"changed": 1}')
    message = rf"has the content {sha256_of(model)} now, but {row.sha256} is pinned; .* `wpn run` with the same option"
    with pytest.raises(InputError, match=message):
        fetch(Source(path=row), target)
    assert not list(target.iterdir())


def test_the_row_names_the_place_from_everywhere(model, monkeypatch):
    monkeypatch.chdir(model.parent)
    assert described("model") == described(str(model))


def test_a_missing_or_empty_place_is_said(tmp_path, target):
    with pytest.raises(InputError, match=r"nowhere does not exist; correct the path"):
        described(str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match=r"nowhere does not exist; correct the path"):
        fetch(Source(path=Local(location=str(tmp_path / "nowhere"), sha256="0" * 64)), target)
    with pytest.raises(InputError, match=r"target holds no files; name the folder that does"):
        described(str(target))


def test_a_row_of_the_registry_is_not_for_the_library(target):
    with pytest.raises(ValueError, match=r"models:/wpn-opt/3 is fetched by the outer ring"):
        fetch(Source(mlflow=Registered(uri="models:/wpn-opt/3")), target)


def test_a_pattern_is_a_name_or_crosses_folders():
    names = ["a.json", "deep/b.json", "deep/[c].txt"]
    assert select(names, ["*.json"], "x") == ["a.json", "deep/b.json"]
    assert select(names, ["deep/[c].txt", "a.json"], "x") == ["a.json", "deep/[c].txt"]
    with pytest.raises(InputError, match=r"x holds nothing that matches 'b.json'; the closest are .*deep/b.json"):
        select(names, ["*.json", "b.json"], "x")


def test_the_hub_client_is_not_imported_to_read_a_row():
    import subprocess
    import sys

    code = (
        "import sys, wpn.sources.hub, wpn.sources.wheel, wpn.sources.local; sys.exit('huggingface_hub' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert Hub(repo="a/b", revision="0" * 40, files=["*"]).kind == "model"
