"""Hub repositories through the real client, from the stand-in of tests/hub_server.py."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.processes import free_port
from tests.hub_server import HubServer, Repository
from wpn.config.sources import Hub, Source
from wpn.errors import InputError
from wpn.sources import fetch
from wpn.sources.hub import described, git_sha1

MODEL = {
    "README.md": b"# a model\n",
    "config.json": b'{"model_type": "opt"}',
    "merges.txt": b"a b\n",
    "model.safetensors": bytes(range(256)) * 40,
    "onnx/model.onnx": b"other",
}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """An empty hub; the client's cache and tokens are a folder of the test."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with HubServer(tmp_path / "repositories") as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


@pytest.fixture
def model(hub: HubServer) -> Repository:
    return hub.add("org/model", MODEL)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    folder = tmp_path / "target"
    folder.mkdir()
    return folder


def row(repository: Repository, *files: str, **changes: str) -> Source:
    return Source(hub=Hub(**{"repo": repository.name, "revision": repository.commit, **changes}, files=list(files)))


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_wanted_files_arrive_under_their_paths(hub, model, target, capfd):
    fetch(row(model, "*.json", "model.safetensors", "onnx/*"), target)
    assert content(target) == {name: MODEL[name] for name in MODEL if name not in ("README.md", "merges.txt")}
    assert not any(path.is_symlink() for path in target.rglob("*"))
    assert "%" not in capfd.readouterr().err, "no bar where there is no terminal"
    assert len(hub.asked("/api/models/org/model")) == 1, "one request for the listing"


def test_what_was_fetched_once_is_taken_from_the_cache(hub, model, target):
    fetch(row(model, "*.json"), target)
    before = len(hub.asked("/resolve/"))
    (target / "config.json").unlink()
    fetch(row(model, "*.json"), target)
    assert len(hub.asked("/resolve/")) == before > 0
    assert (target / "config.json").read_bytes() == MODEL["config.json"]


def test_a_model_is_described_by_its_commit_and_the_files_to_load_it(hub, model):
    found = described("org/model")
    assert described(hub.add("org/chat", {**MODEL, "chat_template.jinja": b"x"}) and "org/chat").files[1] == "*.jinja"
    assert found == Hub(repo="org/model", revision=model.commit, files=["*.json", "*.txt", "*.safetensors"])
    assert described("org/model", "main") == described("org/model", model.commit) == found
    hub.add("org/model", {"config.json": b"{}"})
    assert described("org/model").revision == model.commit != found.revision, "the branch has moved"


def test_a_model_without_safetensors_is_described_with_its_older_weights(hub):
    hub.add("org/old", {"config.json": b"{}", "pytorch_model.bin": b"\0", "training_args.bin": b"\0"})
    assert described("org/old").files == ["*.json", "pytorch_model*.bin"]
    hub.add("org/none", {"README.md": b"#"})
    with pytest.raises(InputError, match=r"the model org/none holds no .*pytorch_model\*.bin; name its files yourself"):
        described("org/none")


def test_a_data_set_is_described_and_fetched_with_its_folders(hub, target):
    rows = {"train.jsonl": b"{}\n", "deep/er/test.jsonl.gz": b"\x1f\x8b", "deep/c.csv": b"a,b\n"}
    hub.add("org/texts", {**rows, "README.md": b"#", "load.py": b"raise SystemExit"}, kind="datasets")
    found = described("org/texts", kind="dataset")
    assert found.kind == "dataset" and found.files == ["*.jsonl", "*.jsonl.gz", "*.csv"]
    fetch(Source(hub=found), target)
    assert content(target) == rows


def test_the_hash_of_a_git_file_is_gits(tmp_path):
    (tmp_path / "file").write_bytes(b"hello\n")
    # printf 'hello\n' | git hash-object --stdin
    assert git_sha1(tmp_path / "file") == "ce013625030ba8dba906f756967f9e9ca394464a"


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_bytes_that_are_not_the_listed_ones_are_refused(hub, model, target, name):
    hub.wrong.add(name)
    message = rf"{name} of org/model arrives with the hash \w+, but the hub lists \w+; try again"
    with pytest.raises(InputError, match=message):
        fetch(row(model, name), target)
    assert not content(target)
    hub.wrong.clear()
    fetch(row(model, name), target)  # the wrong bytes are in the client's cache, and are replaced
    assert content(target) == {name: MODEL[name]}


def test_a_gated_repository_asks_for_licence_and_token(hub, model, target, monkeypatch):
    hub.gated.add("org/model")
    message = r"the model org/model is not open to you \({}\); accept its licence on http\S+/org/model and set HF_TOKEN"
    with pytest.raises(InputError, match=message.format(401)):
        fetch(row(model, "*.json"), target)
    monkeypatch.setenv("HF_TOKEN", "hf_other")
    with pytest.raises(InputError, match=message.format(403)):
        fetch(row(model, "*.json"), target)
    monkeypatch.setenv("HF_TOKEN", hub.token)
    fetch(row(model, "*.json"), target)
    assert "config.json" in content(target)


def test_what_the_hub_does_not_know_is_said(hub, model, target):
    with pytest.raises(InputError, match=r"the hub knows no such dataset org/model, or it is private; .* set HF_TOKEN"):
        described("org/model", kind="dataset")
    with pytest.raises(InputError, match=r"the model org/model has no revision v9; take a branch, tag or commit of"):
        described("org/model", "v9")
    with pytest.raises(InputError, match=rf"the model org/model has no revision {'0' * 40};"):
        fetch(row(model, "*.json", revision="0" * 40), target)
    with pytest.raises(
        InputError, match=r"the model org/model holds nothing that matches '\*.jsn'; the closest are .*"
    ):
        fetch(row(model, "*.jsn"), target)
    with pytest.raises(InputError, match=r"the model org/a--b cannot be fetched \(.*'org/a--b'"):
        described("org/a--b")


def test_a_hub_that_is_busy_is_asked_again(hub, model, target):
    hub.refusals = 2
    fetch(row(model, "*.json"), target)
    assert [request.split()[-1] for request in hub.asked("/api/models/org/model")] == ["429", "429", "200"]
    hub.refusals, hub.refused = 1, "/resolve/"
    fetch(row(model, "merges.txt"), target)
    assert set(content(target)) == {"config.json", "merges.txt"}


def test_a_hub_that_stays_busy_is_said(hub, model, target):
    hub.refusals = 100
    with pytest.raises(InputError, match=r"the hub refuses more requests for now \(429\); wait five minutes, or set"):
        fetch(row(model, "*.json"), target)
    assert hub.refusals == 96
    hub.retry_after = 3600  # nobody waits an hour for a sentence
    with pytest.raises(InputError, match=r"the hub refuses more requests"):
        fetch(row(model, "*.json"), target)
    assert hub.refusals == 95


def test_a_transfer_that_breaks_off_goes_on_where_it_broke(hub, model, target, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 100)  # a part of a chunk is fetched again
    hub.cuts, hub.cut_after = 1, 1000
    fetch(row(model, "model.safetensors"), target)
    assert content(target) == {"model.safetensors": MODEL["model.safetensors"]}
    assert [request.partition(" 20")[2] for request in hub.asked("GET /org/model/resolve/")] == ["0", "6 bytes=1000-"]


def test_a_hub_out_of_reach_is_said(hub, model, target, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(
        InputError, match=r"the hub cannot be reached for the model org/model \(.*\); check the network"
    ):
        fetch(row(model, "*.json"), target)


def test_offline_mode_is_the_users_word(hub, model, target, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)  # read from the environment when the client is imported
    with pytest.raises(
        InputError, match=r"the model org/model cannot be fetched in offline mode; unset HF_HUB_OFFLINE"
    ):
        fetch(row(model, "*.json"), target)
    assert not hub.requests


def test_the_stand_in_serves_the_datasets_library(hub, tmp_path):
    rows = b'{"text": "one"}\n{"text": "two"}\n'
    repository = hub.add("org/texts", {"data/train.jsonl": rows, "README.md": b"# texts\n"}, kind="datasets")
    code = "import datasets, sys; print(datasets.load_dataset('org/texts', revision=sys.argv[1])['train']['text'][:])"
    environment = {**os.environ, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "0", "HF_DATASETS_OFFLINE": "0"}
    command = [sys.executable, "-c", code, repository.commit]
    loaded = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert loaded.stdout.strip() == "['one', 'two']", loaded.stderr


def test_the_stand_in_lists_as_the_hub_does(hub, model):
    from huggingface_hub import HfApi

    api = HfApi(endpoint=hub.url)
    tree = {file.path: file for file in api.list_repo_tree("org/model", revision=model.commit, recursive=True)}
    assert set(tree) == {*MODEL, "onnx"}
    assert {file.path for file in api.list_repo_tree("org/model")} == {*tree} - {"onnx/model.onnx"}
    weights, folder = api.get_paths_info("org/model", ["model.safetensors", "onnx", "none"])
    assert weights.lfs.sha256 == tree["model.safetensors"].lfs.sha256 and weights.size == 256 * 40
    assert folder.path == "onnx"
    assert [branch.target_commit for branch in api.list_repo_refs("org/model").branches] == [model.commit]
    assert not api.file_exists("org/model", "none.json") and api.file_exists("org/model", "config.json")
