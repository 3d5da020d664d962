"""Versions, approval and promotion against a real sqlite store, with a tiny OPT."""

import dataclasses
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from pipelines import registry, report, tracking
from pipelines.report import Unlearned
from tests.pipelines.toy import MAX_NEW_TOKENS, PROMPT
from wpn.errors import InputError
from wpn.files import sha256_of

NAME = "wpn-opt"


class Registered(NamedTuple):
    root: Path
    client: Any  # MlflowClient
    run_id: str
    unlearned: Unlearned

    def register(self, unlearned: Unlearned | None = None) -> Any:
        return registry.register(
            self.client, self.root, self.run_id, unlearned or self.unlearned, PROMPT, MAX_NEW_TOKENS
        )

    def refused(self) -> Unlearned:
        return dataclasses.replace(
            self.unlearned, decision={**self.unlearned.decision, "passed": False, "reasons": ["too low"]}
        )

    def second_version(self) -> str:
        """Another version of the same files: what promotion does does not depend on how they were made."""
        first = self.client.get_model_version(NAME, "1")
        tags = {"gate": "passed", "approval": "approved", "weights_sha256": self.unlearned.weights_sha256}
        return str(self.client.create_model_version(NAME, first.source, run_id=self.run_id, tags=tags).version)


@pytest.fixture
def registered(registered_project: Path) -> Registered:
    client = tracking.connect(registered_project)
    unlearned = report.load(registered_project, "opt", "wpn")
    run_id = tracking.mirror(client, registered_project, unlearned)
    return Registered(registered_project, client, run_id, unlearned)


def test_what_passed_the_gate_is_a_version_that_awaits_approval(registered: Registered) -> None:
    version = registered.client.get_model_version_by_alias(NAME, "candidate")
    assert version.version == "1" or version.version == 1
    assert {key: version.tags[key] for key in ("gate", "approval", "method", "weights_sha256", "data_sha256")} == {
        "gate": "passed",
        "approval": "pending",
        "method": "wpn",
        "weights_sha256": registered.unlearned.weights_sha256,
        "data_sha256": "d" * 64,
    }
    run = registered.client.get_run(registered.run_id)
    assert run.info.end_time == 1790000003000, "logging the model has not moved the end of the training"


def test_the_candidate_generates_text(registered: Registered) -> None:
    import mlflow

    with tracking.active(registered.client):
        model = mlflow.pyfunc.load_model(f"models:/{NAME}@candidate")
    answers = model.predict([PROMPT])
    assert len(answers) == 1 and answers[0].startswith(PROMPT) and len(answers[0]) > len(PROMPT)
    assert answers == model.predict([PROMPT]), "greedy"


def test_the_stored_model_is_pinned_whole_and_names_no_machine(registered: Registered) -> None:
    import mlflow

    with tracking.active(registered.client):
        folder = Path(mlflow.artifacts.download_artifacts(f"models:/{NAME}@candidate"))
    assert sha256_of(folder / "model" / "model.safetensors") == registered.unlearned.weights_sha256
    requirements = (folder / "requirements.txt").read_text().split()
    assert all("==" in line and "+" not in line for line in requirements)
    assert {line.partition("==")[0] for line in requirements} >= {"torch", "transformers"}
    described = (folder / "MLmodel").read_text()
    assert "source_model_name: wpn-opt" in described and "max_new_tokens: 8" in described
    texts = {file.name: file.read_text(errors="replace") for file in folder.rglob("*") if file.is_file()}
    texts["MLmodel"] = described.partition("flavors:")[2]  # what comes before it is MLflow's own address of itself
    assert not [name for name, text in texts.items() if tempfile.gettempdir() in text]


def test_the_same_weights_are_the_same_version_and_keep_a_persons_word(registered: Registered) -> None:
    registry.judge(registered.client, NAME, "1", "approved", "ana", "read 50 answers")
    version = registered.register()
    assert int(version.version) == 1 and version.tags["approval"] == "approved"
    assert len(registered.client.search_model_versions(f"name = '{NAME}'")) == 1


def test_a_refusal_makes_no_version(registered: Registered) -> None:
    client = registered.client
    unlearned = report.load(registered.root, "gpt-neo", "wpn")
    run_id = tracking.mirror(client, registered.root, unlearned)
    assert registry.register(client, registered.root, run_id, unlearned, PROMPT, MAX_NEW_TOKENS) is None
    assert [model.name for model in client.search_registered_models()] == [NAME]
    tags = client.get_run(run_id).data.tags
    assert tags["gate"] == "refused" and "harmless_unseen_low is 0.8800" in tags["gate_reasons"]


def test_a_version_that_is_refused_later_is_no_candidate_until_it_passes_again(registered: Registered) -> None:
    assert registered.register(registered.refused()) is None
    assert registered.client.get_model_version(NAME, "1").tags["gate"] == "refused"
    assert registry.alias(registered.client, NAME, "candidate") is None
    assert registered.register().tags["gate"] == "passed"
    assert registry.alias(registered.client, NAME, "candidate") == "1"


def test_weights_that_are_not_those_measured_are_not_registered(registered: Registered) -> None:
    unlearned = dataclasses.replace(registered.unlearned, training={**registered.unlearned.training})
    unlearned.training["weights_sha256"] = "0" * 64
    with pytest.raises(InputError, match=r"model\.safetensors is not the file that training\.json speaks of"):
        registered.register(unlearned)


def test_a_rejected_version_is_no_candidate_and_stays_so(registered: Registered) -> None:
    registry.judge(registered.client, NAME, "1", "rejected", "ana", "evasive")
    tags = registered.client.get_model_version(NAME, "1").tags
    assert (tags["approval"], tags["approval_by"], tags["approval_reason"]) == ("rejected", "ana", "evasive")
    assert registry.alias(registered.client, NAME, "candidate") is None
    registered.register()
    assert registry.alias(registered.client, NAME, "candidate") is None


@pytest.mark.parametrize(
    ("name", "version", "by", "words"),
    [
        ("wpn-bert", "1", "ana", "no registered model 'wpn-bert'; known: wpn-opt"),
        (NAME, "7", "ana", "wpn-opt has no version '7'; known: 1"),
        (NAME, "1", " ", "--by and --reason must say something"),
    ],
)
def test_a_judgement_of_nothing_or_by_nobody_is_bad_input(
    registered: Registered, name: str, version: str, by: str, words: str
) -> None:
    with pytest.raises(InputError) as raised:
        registry.judge(registered.client, name, version, "approved", by, "why")
    assert words in str(raised.value)


def test_what_the_gate_refused_cannot_be_approved(registered: Registered) -> None:
    registered.register(registered.refused())
    with pytest.raises(InputError, match="the gate refused wpn-opt version 1"):
        registry.judge(registered.client, NAME, "1", "approved", "ana", "why")


def test_nothing_is_promoted_without_approval(registered: Registered) -> None:
    (row,) = registry.promote(registered.client, by="test")
    assert (row["action"], row["champion"]) == ("none", None)
    assert registry.alias(registered.client, NAME, "champion") is None


def test_promotion_moves_the_champion_and_remembers_the_one_before(registered: Registered) -> None:
    client = registered.client
    registry.judge(client, NAME, "1", "approved", "ana", "read 50 answers")
    assert registry.promote(client, by="test", dry_run=True)[0]["action"] == "would promote"
    assert registry.alias(client, NAME, "champion") is None

    assert registry.promote(client, by="test")[0]["action"] == "promoted"
    tags = client.get_model_version(NAME, "1").tags
    assert (tags["promoted_by"], tags["replaced_version"]) == ("test", "none") and tags["promoted_at"]
    assert registry.promote(client, by="test")[0]["action"] == "none", "the second time there is nothing to do"

    second = registered.second_version()
    registry.promote(client, by="test")
    assert registry.alias(client, NAME, "champion") == second and registry.alias(client, NAME, "previous") == "1"
    assert client.get_model_version(NAME, second).tags["replaced_version"] == "1"


def test_weights_that_differ_from_their_tag_are_not_promoted(registered: Registered) -> None:
    registry.judge(registered.client, NAME, "1", "approved", "ana", "read 50 answers")
    registered.client.set_model_version_tag(NAME, "1", "weights_sha256", "0" * 64)
    (row,) = registry.promote(registered.client, by="test")
    assert row["action"] == "refused" and registered.unlearned.weights_sha256 in row["reason"]
    assert registry.alias(registered.client, NAME, "champion") is None


def test_a_registered_version_is_a_checkpoint_to_start_from(registered: Registered, tmp_path: Path) -> None:
    from wpn.models import import_checkpoint

    (tmp_path / "version").mkdir()
    registry.download(registered.root, "models:/wpn-opt/1", tmp_path / "version")
    model, tokenizer = import_checkpoint(tmp_path / "version")
    assert model.config.model_type == "opt" and tokenizer("how are you ?").input_ids
    with pytest.raises(InputError, match=r"^models:/wpn-opt/9 cannot be had from sqlite:"):
        registry.download(registered.root, "models:/wpn-opt/9", tmp_path / "version")
