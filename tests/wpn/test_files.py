import json
from pathlib import Path

import pytest

from wpn.errors import InputError
from wpn.files import atomic_folder, read_json, read_jsonl, sha256_of, write_json, write_jsonl


def test_round_trips(tmp_path):
    write_json(tmp_path / "deep" / "a.json", {"é": 1})
    assert read_json(tmp_path / "deep" / "a.json") == {"é": 1}
    write_jsonl(tmp_path / "a.jsonl", [{"a": 1}, {"b": "x\ny"}])
    assert read_jsonl(tmp_path / "a.jsonl") == [{"a": 1}, {"b": "x\ny"}]


def test_a_write_that_fails_leaves_the_old_file(tmp_path):
    file = tmp_path / "a.json"
    write_json(file, {"a": 1})
    with pytest.raises(ValueError):
        write_json(file, {"a": float("nan")})
    assert json.loads(file.read_text()) == {"a": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    target = tmp_path / "out"
    with atomic_folder(target) as folder:
        (folder / "a").write_text("old")
    with pytest.raises(RuntimeError), atomic_folder(target) as folder:
        (folder / "a").write_text("new")
        raise RuntimeError
    assert (target / "a").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_folder_that_cannot_be_put_in_place_leaves_the_old_one(tmp_path, monkeypatch):
    target = tmp_path / "out"
    with atomic_folder(target) as folder:
        (folder / "a").write_text("old")
    rename = Path.rename

    def fails_for_the_new_one(self, to):
        if to == target and not self.name.endswith(".old"):
            raise OSError("the disk is gone")
        return rename(self, to)

    monkeypatch.setattr(Path, "rename", fails_for_the_new_one)
    with pytest.raises(OSError, match="the disk is gone"), atomic_folder(target) as folder:
        (folder / "a").write_text("new")
    assert (target / "a").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    monkeypatch.undo()
    with atomic_folder(target) as folder:
        (folder / "b").write_text("new")
    assert [path.name for path in target.iterdir()] == ["b"] and [path.name for path in tmp_path.iterdir()] == ["out"]


def test_the_hash_of_a_folder_sees_names_and_contents(tmp_path):
    for name, file, text in (("one", "a", "x"), ("two", "b", "x"), ("three", "a", "y"), ("four", "a", "x")):
        (tmp_path / name).mkdir()
        (tmp_path / name / file).write_text(text)
    one, two, three, four = (sha256_of(tmp_path / name) for name in ("one", "two", "three", "four"))
    assert one == four and len({one, two, three}) == 3
    # printf x | sha256sum
    assert sha256_of(tmp_path / "one" / "a") == "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"


def test_broken_json_is_said_with_the_remedy(tmp_path):
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(InputError, match=r"not valid JSON .* delete it and run `dvc repro`"):
        read_json(tmp_path / "a.json")
    with pytest.raises(InputError, match="does not exist; run the stage"):
        read_json(tmp_path / "b.json")
