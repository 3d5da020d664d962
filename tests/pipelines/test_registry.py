"""Versions, what the gate said of them and what people did, in a real sqlite store, with a tiny OPT."""

import dataclasses
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import pandas
import pytest

from pipelines import artifacts, filtered_model, registry, report, tracking
from pipelines.enrol import enrol
from pipelines.explain import explain
from pipelines.registry import Filter, Registration
from pipelines.report import Unlearned
from tests.pipelines.toy import PROMPT
from wpn.config.loading import load_params
from wpn.config.sources import JudgeRow
from wpn.data.neutral import ANSWERS
from wpn.errors import InputError
from wpn.files import sha256_of

NAME = "wpn-opt"


class Registered(NamedTuple):
    root: Path
    client: Any  # MlflowClient
    unlearned: Unlearned

    def register(
        self, unlearned: Unlearned | None = None, card: str = "a card", output_filter: Filter | None = None
    ) -> Any:
        of = unlearned or self.unlearned
        run_id = tracking.mirror(self.client, self.root, of)
        judges = {"lexical": "wpn 1", "svm": "alt-profanity-check 2"}
        made = Registration(card, PROMPT, 8, judges, output_filter)
        return registry.register(self.client, self.root, run_id, of, made)

    def deciding(self, **changed: Any) -> Unlearned:
        return dataclasses.replace(self.unlearned, decision={**self.unlearned.decision, **changed})

    def refused(self) -> Unlearned:
        return self.deciding(passed=False, reasons=["too low"])

    def tags(self, version: str = "1") -> dict[str, str]:
        return dict(self.client.get_model_version(NAME, version).tags)


@pytest.fixture
def registered(registered_project: Path) -> Registered:
    unlearned = report.load(registered_project, "opt", "wpn")
    return Registered(registered_project, tracking.connect(registered_project), unlearned)


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
    run = registered.client.get_run(version.run_id)
    assert run.info.end_time == 1790000003000, "logging the model has not moved the end of the training"


def test_a_version_says_what_made_it(registered: Registered) -> None:
    tags = registered.tags()
    assert tags["git_commit"] == tracking.git_state(registered.root)[0] and len(tags["git_commit"]) == 40
    assert tags["dvc_lock_sha256"] == sha256_of(registered.root / "dvc.lock")
    assert registered.register().tags["judges"] == "lexical wpn 1; svm alt-profanity-check 2"


def test_a_version_has_a_card_and_its_run_the_evidence(registered: Registered) -> None:
    version = registered.client.get_model_version(NAME, "1")
    for words in (
        "# opt, unlearned with wpn", "license: Apache-2.0", f"sha256 {registered.unlearned.weights_sha256}",
        "sha256 " + "d" * 64, "## Results", "| wpn | 99.0 (97.0-100)", "## Gate\npassed", "| holds |",
        "learning_rate: 0.0005", "## Intended use", "## Limits",
    ):  # fmt: skip
        assert words in version.description, words
    with artifacts.downloaded(registered.client, registered.client.get_run(version.run_id).info.artifact_uri) as folder:
        files = {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}
        assert (folder / "card.md").read_text() == version.description
    assert files >= {
        "decision.json", "training.json", "dvc.lock", "report.json", "evaluation/after/metrics.json",
        "assessment/summary.json",
        "evaluation/after/evidence/answers.jsonl", "evaluation/before/evidence/benchmark.jsonl",
        "evaluation/after/evidence/texts.jsonl",
    }  # fmt: skip


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
    assert "source_model_name: wpn-opt" in described and "max_new_tokens: 24" in described
    texts = {file.name: file.read_text(errors="replace") for file in folder.rglob("*") if file.is_file()}
    texts["MLmodel"] = described.partition("flavors:")[2]  # what comes before it is MLflow's own address of itself
    assert not [name for name, text in texts.items() if tempfile.gettempdir() in text]


def test_the_same_weights_are_the_same_version_and_keep_a_persons_word(registered: Registered) -> None:
    registry.judge(registered.client, NAME, "1", "approved", "ana", "read 50 answers")
    version = registered.register()
    assert int(version.version) == 1 and version.tags["approval"] == "approved"
    logged = registered.client.search_logged_models([registered.client.get_run(version.run_id).info.experiment_id])
    assert len(logged) == 1, "the weights are stored once"
    assert len(registered.client.search_model_versions(f"name = '{NAME}'")) == 1


def test_behind_a_filter_the_same_weights_are_another_version(registered: Registered, tmp_path: Path) -> None:
    import mlflow

    chosen = Filter("lexical", JudgeRow(kind="lexical"), "wpn 1", tmp_path / "no files")
    version = registered.register(output_filter=chosen)
    assert int(version.version) == 2 and registered.tags()["filter"] == "off"
    assert version.tags["filter"].startswith("lexical (wpn 1, row ")
    assert int(registered.register(output_filter=chosen).version) == 2, "and once only"
    assert int(registered.register().version) == 1
    assert dataclasses.replace(chosen, edition="wpn 2").tag != chosen.tag, "another edition is another filter"
    with tracking.active(registered.client):
        plain, filtered = (mlflow.pyfunc.load_model(f"models:/{NAME}/{number}") for number in (1, 2))
    (said,), (whole,) = (model.predict([PROMPT]) for model in (filtered, plain))
    assert whole.startswith(said) and len(said) > len(PROMPT), "nothing harmful is said, and it may be longer"

    class Rude:
        def predict(self, data: Any, params: Any = None) -> list[str]:
            return [f"{PROMPT} you silly goat .", "you silly goat ."]  # the second does not repeat its prompt

    served = filtered._model_impl
    served.model = Rude()
    first, second = served.predict([PROMPT, "user : hello\nbot :"])
    assert first.startswith(PROMPT) and first.removeprefix(f"{PROMPT} ") in ANSWERS
    assert second.strip() in ANSWERS
    column = pandas.Series(["a", "b"], index=[5, 6], name="prompt")
    for data in (["a", "b"], column, column.to_frame()):
        assert list(filtered_model.texts_of(data)) == ["a", "b"]
    assert list(filtered_model.texts_of("a")) == ["a"]


def test_a_long_card_is_cut_where_mlflow_would_fail(registered: Registered) -> None:
    description = registered.register(card="x" * 6000).description
    assert len(description) == 5000 and description.endswith("card.md, an artifact of the run.)")


def test_what_the_gate_refused_is_a_version_with_its_reasons_and_no_candidate(registered: Registered) -> None:
    client, params = registered.client, load_params(registered.root / "params.yaml")
    made = enrol(client, registered.root, params, "gpt-neo", "wpn")
    assert (made["version"], made["gate"], made["approval"]) == ("1", "refused", "pending")
    tags = client.get_model_version("wpn-gpt-neo", "1").tags
    assert "lower 95 % bound of harmless_unseen is 0.8800; at least 0.958 is required" in tags["gate_reasons"]
    assert registry.alias(client, "wpn-gpt-neo", "candidate") is None
    explained = explain(client, "wpn-gpt-neo", "1")
    assert explained[0] == "wpn-gpt-neo version 1: gate refused, approval pending"
    assert any(line.startswith("  fails: lower 95 % bound of harmless_unseen") for line in explained)
    assert any("(margin -0.0780)" in line for line in explained)
    assert any(line.startswith("  holds: benchmark_drop is 0.0000") for line in explained)


def test_only_the_candidate_method_becomes_a_version(registered: Registered) -> None:
    made = enrol(registered.client, registered.root, load_params(registered.root / "params.yaml"), "opt", "sft")
    assert made["run_id"] and made["version"] is None


def test_a_version_that_is_refused_later_is_no_candidate_until_it_passes_again(registered: Registered) -> None:
    assert registered.register(registered.refused()).tags["gate"] == "refused"
    assert registered.tags()["gate_reasons"] == "too low"
    assert registry.alias(registered.client, NAME, "candidate") is None
    assert registered.register().tags["gate"] == "passed"
    assert registered.tags()["gate_reasons"] == ""
    assert registry.alias(registered.client, NAME, "candidate") == "1"


def test_a_gate_that_is_only_tried_opens_for_nobody(registered: Registered) -> None:
    assert registered.register(registered.deciding(mode="dry_run")).tags["gate"] == "dry_run"
    assert registry.alias(registered.client, NAME, "candidate") is None
    with pytest.raises(InputError, match="the gate of wpn-opt version 1 is dry_run, so that it is never promoted"):
        registry.judge(registered.client, NAME, "1", "approved", "ana", "why")
    assert "(dry_run: nothing is promoted by it)" in explain(registered.client, NAME, "1")[0]


def test_an_override_needs_a_name_and_a_reason_and_is_kept(registered: Registered) -> None:
    client = registered.client
    with pytest.raises(InputError, match="is passed; only a refusal is overridden"):
        registry.override(client, NAME, "1", "ana", "why")
    registered.register(registered.refused())
    with pytest.raises(InputError, match="must say something"):
        registry.override(client, NAME, "1", "ana", " ")
    assert registered.tags()["gate"] == "refused"
    registry.override(client, NAME, "1", "ana", "known and accepted")
    tags = registered.tags()
    assert (tags["gate"], tags["gate_override_by"], tags["gate_override_reason"]) == (
        "overridden", "ana", "known and accepted",
    )  # fmt: skip
    assert registry.alias(client, NAME, "candidate") == "1" and tags["approval"] == "pending"
    assert registered.register(registered.refused()).tags["gate"] == "overridden", "the same refusal again"
    assert any("overridden by ana at" in line for line in explain(client, NAME, "1"))


def test_weights_that_are_not_those_measured_are_not_registered(registered: Registered) -> None:
    training = {**registered.unlearned.training, "weights_sha256": "0" * 64}
    unlearned = dataclasses.replace(registered.unlearned, training=training)
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
    with pytest.raises(InputError, match="the gate of wpn-opt version 1 is refused, so that it is never promoted"):
        registry.judge(registered.client, NAME, "1", "approved", "ana", "why")


def test_a_registered_version_is_a_checkpoint_to_start_from(registered: Registered, tmp_path: Path) -> None:
    from wpn.importing import import_checkpoint

    (tmp_path / "version").mkdir()
    registry.download(registered.root, "models:/wpn-opt/1", tmp_path / "version")
    model, tokenizer = import_checkpoint(tmp_path / "version")
    assert model.config.model_type == "opt" and tokenizer("how are you ?").input_ids
    with pytest.raises(InputError, match=r"^models:/wpn-opt/9 cannot be had from sqlite:"):
        registry.download(registered.root, "models:/wpn-opt/9", tmp_path / "version")
