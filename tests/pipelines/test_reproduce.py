"""A registered version made again from its commit, data and params.yaml, with the toy project's real git and DVC."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from pipelines import report, tracking
from pipelines.repro import StageFailed
from pipelines.reproduce import Origin, again, origin
from tests.pipelines.test_cli import assert_one_sentence, wpn
from tests.pipelines.toy import breaks, run
from wpn.errors import InputError
from wpn.files import sha256_of

URI = "models:/wpn-opt/1"


@pytest.fixture
def made(registered_project: Path) -> Origin:
    return origin(tracking.connect(registered_project), URI)


def test_a_version_knows_what_made_it(registered_project: Path, made: Origin) -> None:
    unlearned = report.load(registered_project, "opt", "wpn")
    assert (made.model, made.method, made.weights_sha256) == ("opt", "wpn", unlearned.weights_sha256)
    assert made.params == (registered_project / "params.yaml").read_text()
    assert made.lines()[1].startswith(f"commit   {made.commit}")
    digest = sha256_of(registered_project / "params.yaml")
    assert f"params   {digest}, params.yaml of the MLflow run {made.run_id}" in made.lines()
    client = tracking.connect(registered_project)
    assert origin(client, "models:/wpn-opt@candidate") == made


def test_its_params_are_printed_as_they_were(registered_project: Path, made: Origin) -> None:
    (registered_project / "params.yaml").write_text("changed since")
    assert wpn("reproduce", URI, "--params").stdout == made.params


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("wpn-opt/1", "names no version; write models:/NAME/VERSION"),
        ("models:/wpn-opt/7", "has no version '7'; known: 1"),
        ("models:/wpn-opt@champion", "the registry has no models:/wpn-opt@champion"),
        ("models:/other@champion", "the registry has no models:/other@champion; known models: wpn-"),
    ],
)
def test_what_is_not_there_is_said(registered_project: Path, uri: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        origin(tracking.connect(registered_project), uri)


def clean(made: Origin) -> Origin:
    return Origin(**{**vars(made), "dirty": False})


def test_the_same_commit_and_params_make_the_same_weights(registered_project: Path, made: Origin) -> None:
    before = sorted(path.name for path in registered_project.iterdir())
    assert again(registered_project, clean(made)) == made.weights_sha256
    assert sorted(path.name for path in registered_project.iterdir()) == before


def test_other_code_makes_other_weights(registered_project: Path, made: Origin) -> None:
    stages = registered_project / "toy_stages.py"
    stages.write_text(stages.read_text().replace("len(method) / 100", "len(method) / 50"))
    run(registered_project, "git -c user.name=toy -c user.email=toy@example.org commit -qam other")
    other = Origin(**{**vars(clean(made)), "commit": tracking.git_state(registered_project)[0]})
    assert again(registered_project, other) != made.weights_sha256


def test_uncommitted_changes_and_unknown_commits_are_refused(registered_project: Path, made: Origin) -> None:
    with pytest.raises(InputError, match="uncommitted changes, which are lost"):
        again(registered_project, Origin(**{**vars(made), "dirty": True}))
    with pytest.raises(InputError, match="has no commit 0000"):
        again(registered_project, Origin(**{**vars(clean(made)), "commit": "0" * 40}))


def test_a_stage_that_fails_is_said(registered_project: Path, made: Origin) -> None:
    broken = made.params.replace("seed: 0", "seed: zero")
    with pytest.raises(StageFailed, match=r"stage settings failed[^$]*seed = 'zero': input should be a valid integer"):
        again(registered_project, Origin(**{**vars(clean(made)), "params": broken}))


def test_bad_input_of_a_stage_is_its_own_sentence(registered_project: Path, made: Origin) -> None:
    breaks(registered_project, "unlearn@opt-wpn", "input")
    run(registered_project, "git add -f break")
    run(registered_project, "git -c user.name=toy -c user.email=toy@example.org commit -qm broken")
    broken = Origin(**{**vars(clean(made)), "commit": tracking.git_state(registered_project)[0]})
    with pytest.raises(InputError, match=r"^data/raw.jsonl, row 3: the prompt is empty; fill it or delete the row$"):
        again(registered_project, broken)


@pytest.mark.parametrize("run_id", [None, ""])
def test_a_version_without_a_run_was_not_made_by_wpn_run(registered_project: Path, run_id: str | None) -> None:
    client = tracking.connect(registered_project)
    client.create_model_version("wpn-opt", str(registered_project / "checkpoint"), run_id=run_id)
    with pytest.raises(InputError, match="models:/wpn-opt/2 has no MLflow run: `wpn run` did not make it"):
        origin(client, "models:/wpn-opt/2")


def test_of_a_run_that_is_gone_it_is_said(registered_project: Path, made: Origin) -> None:
    with closing(sqlite3.connect(registered_project / "registry" / "mlflow.db")) as database, database:
        database.execute("DELETE FROM runs WHERE run_uuid = ?", (made.run_id,))
    assert_one_sentence(wpn("reproduce", URI), f"the MLflow run {made.run_id}, which says what made {URI}, is gone")


def test_of_a_params_file_that_is_gone_it_is_said(registered_project: Path, made: Origin) -> None:
    (file,) = (registered_project / "registry" / "artifacts").glob(f"{made.run_id}/**/params.yaml")
    file.unlink()
    with pytest.raises(InputError, match=rf"params.yaml of {URI} is gone: .*/{made.run_id}/.* is not in the artifact"):
        origin(tracking.connect(registered_project), URI)
