"""`wpn data fetch`, and DVC's own commands on what it makes."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.data import dvc_md5, fetch, pinned_md5
from wpn.errors import InputError

REPOSITORY = Path(__file__).parents[2]


def dvc(folder: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "dvc", *arguments]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The pins, the parameters and the pipeline of this project, without its data."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    dvc(folder, "init", "--quiet")
    for name in ("data.dvc", "params.yaml"):
        shutil.copy(REPOSITORY / name, folder)
    return folder


def test_fetch_makes_what_data_dvc_pins(checkout):
    assert "20 files" in fetch(checkout)
    assert dvc_md5(checkout / "data") == pinned_md5(checkout / "data.dvc")
    assert dvc(checkout, "status").strip() == "Data and pipelines are up to date."  # DVC's own hash agrees
    assert fetch(checkout) == "data/ is already what data.dvc pins"


def test_fetch_refuses_bytes_that_are_not_pinned_and_leaves_nothing(checkout):
    params = checkout / "params.yaml"
    params.write_text(params.read_text().replace("  seed: 7\n", "  seed: 8\n"))
    with pytest.raises(InputError, match=r"differ from what data.dvc pins .* or pin the new data with `dvc add data`"):
        fetch(checkout)
    assert not (checkout / "data").exists()
    assert not list(checkout.glob(".data*"))


def test_fetch_keeps_data_that_somebody_changed(checkout):
    fetch(checkout)
    file = checkout / "data" / "corpus.jsonl"
    file.write_text(file.read_text() + "{}\n")
    with pytest.raises(InputError, match=r"data/ differs from what data.dvc pins; move it away"):
        fetch(checkout)
    assert file.read_text().endswith("{}\n")


def test_push_and_pull_through_a_local_remote(checkout, tmp_path):
    fetch(checkout)
    dvc(checkout, "remote", "add", "--default", "local", str(tmp_path / "remote"))
    dvc(checkout, "push", "--quiet")
    shutil.rmtree(checkout / "data")
    shutil.rmtree(checkout / ".dvc" / "cache")
    dvc(checkout, "pull", "--quiet")
    assert dvc_md5(checkout / "data") == pinned_md5(checkout / "data.dvc")


def test_a_missing_pin_is_said(tmp_path):
    with pytest.raises(InputError, match=r"data.dvc does not exist; restore it with `git checkout data.dvc`"):
        pinned_md5(tmp_path / "data.dvc")
