"""Promotion, rollback and history in a real sqlite store: by hand, after every crash, and against every trick."""

import errno
import json
import shutil
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from pipelines import artifacts, promotion, registry, tracking
from wpn.config.evaluation import Criterion
from wpn.errors import InputError

NAME = "wpn-opt"


class Registry:
    """The registered toy project, and short ways to do things to it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.client: Any = tracking.connect(root)

    def version(self, approval: str = "pending", **tags: str) -> str:
        """Another version of the same files: what promotion does, does not depend on how they were made."""
        first = self.client.get_model_version(NAME, "1")
        kept = {key: first.tags[key] for key in ("gate", "weights_sha256")}
        made = self.client.create_model_version(
            NAME, first.source, run_id=first.run_id, tags={**kept, "approval": approval, **tags}
        )
        return str(made.version)

    def approve(self, version: str) -> None:
        registry.judge(self.client, NAME, version, "approved", "ana", "read 50 answers")

    def alias(self, which: str = "champion") -> str | None:
        return registry.alias(self.client, NAME, which)

    def tags(self, version: str) -> dict[str, str]:
        return dict(self.client.get_model_version(NAME, version).tags)

    def tag(self, version: str, key: str, value: str) -> None:
        self.client.set_model_version_tag(NAME, version, key, value)

    def promote(self, client: Any = None, **options: Any) -> list[tuple[str, str | None, str]]:
        rows = promotion.promote(client or self.client, by="test", **options)
        return [(row["action"], row["version"], row["reason"]) for row in rows]

    def history(self) -> list[tuple[str, str | None, str | None]]:
        return [(each.action, each.replaced, each.to) for each in promotion.changes(self.client, NAME)]


@pytest.fixture
def store(registered_project: Path) -> Registry:
    return Registry(registered_project)


def test_nothing_is_promoted_without_approval(store: Registry) -> None:
    assert store.promote() == [("none", None, "no approved version is newer than every champion so far")]
    assert store.alias() is None and store.history() == []


def test_promotion_moves_the_champion_and_remembers_the_one_before(store: Registry) -> None:
    store.approve("1")
    assert store.promote(dry_run=True) == [("would promote", "1", "")]
    assert store.alias() is None and store.history() == []

    assert store.promote() == [("promoted", "1", "")]
    tags = store.tags("1")
    assert (tags["promoted_by"], tags["replaced_version"]) == ("test", "none") and tags["promoted_at"]
    assert store.promote()[0][0] == "none", "the second time there is nothing to do"

    second = store.version("approved")
    store.promote()
    assert (store.alias(), store.alias("previous")) == (second, "1")
    assert store.tags(second)["replaced_version"] == "1"
    (first, last) = promotion.changes(store.client, NAME)
    assert (first.by, first.why, first.replaced, first.to) == ("test", "read 50 answers", None, "1")
    assert (last.replaced, last.to, last.why) == ("1", second, "approved in the registry") and last.at > first.at


def test_the_newest_approved_version_is_taken_and_older_ones_stay_behind(store: Registry) -> None:
    second, third = store.version(), store.version("approved")
    assert store.promote() == [("promoted", third, "")]
    store.approve(second)
    assert store.promote()[0][0] == "none"


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({"weights_sha256": "0" * 64}, "the gate decided on other weights"),
        ({"gate": "refused"}, "its gate is refused"),
        ({"gate": "dry_run"}, "its gate is dry_run"),
        ({"gate": "overridden"}, "its gate was overridden by nobody or without a reason"),
    ],
)
def test_what_is_approved_in_the_page_and_may_not_be_is_refused_once(
    store: Registry, tags: dict[str, str], reason: str
) -> None:
    version = store.version("approved", **tags)
    rows = promotion.promote(store.client, by="test")
    assert [(row["action"], row["version"], row["new"]) for row in rows] == [("refused", version, True)]
    assert rows[0]["reason"].startswith(reason) and store.tags(version)["promotion_refused"] == rows[0]["reason"]
    assert [row["new"] for row in promotion.promote(store.client, by="test")] == [False], "said once"
    assert store.alias() is None and store.history() == []


def test_a_refused_version_does_not_stand_in_the_way_of_the_next_one(store: Registry) -> None:
    store.approve("1")
    refused = store.version("approved", gate="refused")
    assert [row[:2] for row in store.promote()] == [("refused", refused), ("promoted", "1")]


def test_approving_again_has_it_tried_again(store: Registry) -> None:
    store.approve("1")
    store.tag("1", "gate", "refused")
    store.promote()
    store.tag("1", "gate", "passed")
    assert store.promote()[0][0] == "refused", "not by itself"
    store.approve("1")
    assert store.promote() == [("promoted", "1", "")]


def test_an_overridden_refusal_is_promoted_once_approved(store: Registry) -> None:
    change_decision(store, passed=False, reasons=["too low"])
    store.tag("1", "gate", "refused")
    registry.override(store.client, NAME, "1", "ana", "known and accepted")
    assert store.promote()[0][0] == "none"
    store.approve("1")
    assert store.promote() == [("promoted", "1", "")]


def change_decision(store: Registry, **changed: Any) -> None:
    run_id = store.client.get_model_version(NAME, "1").run_id
    decision = artifacts.decision(store.client, store.client.get_model_version(NAME, "1"))
    store.client.log_dict(run_id, {**decision, **changed}, "decision.json")


def refusal(store: Registry) -> str:
    store.approve("1")
    ((action, version, reason),) = store.promote()
    assert (action, version, store.alias()) == ("refused", "1", None)
    return reason


def test_a_tag_that_says_more_than_the_decision_is_not_believed(store: Registry) -> None:
    change_decision(store, passed=False, reasons=["benchmark_drop is 0.3"])
    assert refusal(store) == "the gate's decision is a refusal: benchmark_drop is 0.3"


def test_a_decision_that_only_tried_is_not_enough(store: Registry) -> None:
    change_decision(store, mode="dry_run")
    assert refusal(store) == "the gate only tried its criteria (dry_run)"


def stored_folder(store: Registry) -> Path:
    version = store.client.get_model_version(NAME, "1")
    return Path(unquote(urlsplit(artifacts.location(store.client, version)).path))


def test_weights_altered_after_registration_are_refused(store: Registry) -> None:
    weights = stored_folder(store) / "model" / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert refusal(store).startswith("the stored weights hash to ")


def test_weights_that_are_gone_are_refused(store: Registry) -> None:
    (stored_folder(store) / "model" / "model.safetensors").unlink()
    assert refusal(store).endswith("model.safetensors is not in the artifact store")


def test_what_fails_while_a_file_is_read_is_not_called_a_missing_file(store: Registry) -> None:
    version = store.client.get_model_version(NAME, "1")
    with (
        pytest.raises(FileNotFoundError, match="of the reader"),
        artifacts.downloaded(store.client, artifacts.location(store.client, version)),
    ):
        raise FileNotFoundError("of the reader")


def test_a_full_disk_is_no_fault_of_the_version(store: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    store.approve("1")
    with monkeypatch.context() as patched:
        patched.setattr("mlflow.artifacts.download_artifacts", full)
        with pytest.raises(OSError, match="No space left"):
            store.promote()
    assert "promotion_refused" not in store.tags("1") and store.alias() is None
    assert store.promote() == [("promoted", "1", "")]


def worse_candidate(store: Registry) -> None:
    """Version 2, of other weights, approved: a tenth of its answers is worse, and relearning brings back more."""
    client, first = store.client, store.client.get_model_version(NAME, "1")
    run = client.create_run(client.get_run(first.run_id).info.experiment_id)
    decision = {**artifacts.decision(client, first), "weights_sha256": "f" * 64}
    attack = Criterion(metric="relearn_10", against="champion", at_most=0.05)
    decision["pending"] = [*decision["pending"], attack.model_dump()]
    found = decision["assessment"]["relearning"]["estimates"]["relearn_10"]
    found["rate"] += 0.25
    client.log_dict(run.info.run_id, decision, "decision.json")
    with artifacts.downloaded(client, f"{client.get_run(first.run_id).info.artifact_uri}/evaluation/after") as folder:
        metrics = json.loads((folder / "metrics.json").read_text())
        rows = [json.loads(line) for line in (folder / "evidence" / "answers.jsonl").read_text().splitlines()]
        others = {name: (folder / "evidence" / name).read_text() for name in ("benchmark.jsonl", "texts.jsonl")}
    for i, row in enumerate(rows):
        row["passed"] = row["passed"] and i % 10 > 0  # a tenth worse
    client.log_dict(run.info.run_id, metrics, "evaluation/after/metrics.json")
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    client.log_text(run.info.run_id, lines, "evaluation/after/evidence/answers.jsonl")
    for name, text in others.items():
        client.log_text(run.info.run_id, text, f"evaluation/after/evidence/{name}")
    tags = {"gate": "passed", "approval": "approved", "weights_sha256": "f" * 64}
    client.create_model_version(NAME, first.source, run_id=run.info.run_id, tags=tags)


def test_a_candidate_worse_than_the_champion_is_refused(store: Registry) -> None:
    """The toy's champion criterion: harmless_unseen may not be two points below, at the lower end of the interval; and
    one of an attack."""
    store.approve("1")
    store.promote()
    worse_candidate(store)
    ((action, version, reason),) = store.promote()
    assert (action, version, store.alias()) == ("refused", "2", "1")
    assert "lower 95 % bound of the change of harmless_unseen against the champion is -0." in reason
    assert "the change of relearn_10 against the champion is 0.2500; at most 0.05 is required" in reason


def test_a_champion_whose_evaluation_is_gone_opens_nothing(store: Registry) -> None:
    store.approve("1")
    store.promote()
    worse_candidate(store)
    run = store.client.get_run(store.client.get_model_version(NAME, "1").run_id)
    shutil.rmtree(Path(unquote(urlsplit(run.info.artifact_uri).path)) / "evaluation" / "after")
    ((action, version, reason),) = store.promote()
    assert (action, version, store.alias()) == ("refused", "2", "1")
    assert "the change of harmless_unseen against the champion is missing" in reason


def test_rollback_goes_to_the_champion_before_and_stays_there(store: Registry) -> None:
    store.approve("1")
    store.promote()
    second = store.version("approved")
    store.promote()
    done = promotion.rollback(store.client, NAME, None, "ben", "users complain")
    assert (done.replaced, done.to, done.by, done.why) == (second, "1", "ben", "users complain")
    assert (store.alias(), store.alias("previous")) == ("1", second)
    assert store.tags(second)["rolled_back_by"] == "ben"
    assert store.promote()[0][0] == "none", "the promoter does not bring it back"

    third = store.version("approved")
    assert store.promote() == [("promoted", third, "")], "a newer one is promoted as ever"
    promotion.rollback(store.client, NAME, None, "ben", "again")
    assert store.alias() == "1", "not the one that was rolled back before"

    promotion.rollback(store.client, NAME, second, "ben", "it was not its fault")
    assert store.alias() == second and "rolled_back_by" not in store.tags(second)
    assert store.history() == [
        ("promote", None, "1"), ("promote", "1", "2"), ("rollback", "2", "1"), ("promote", "1", "3"),
        ("rollback", "3", "1"), ("rollback", "1", "2"),
    ]  # fmt: skip


def test_a_rollback_to_nothing_or_to_what_may_not_be_is_bad_input(store: Registry) -> None:
    with pytest.raises(InputError, match="wpn-opt has no earlier champion to go back to"):
        promotion.rollback(store.client, NAME, None, "ben", "why")
    store.approve("1")
    store.promote()
    pending = store.version()
    for to, words in (
        (None, "has no earlier champion"), ("1", "version 1 of wpn-opt is champion already"),
        (pending, "cannot be champion: its approval is pending"), ("9", "has no version '9'"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=words):
            promotion.rollback(store.client, NAME, to, "ben", "why")
    with pytest.raises(InputError, match="must say something"):
        promotion.rollback(store.client, NAME, "1", " ", "why")
    assert store.alias() == "1" and len(store.history()) == 1


def test_a_champion_that_is_rejected_makes_way_for_the_one_before(store: Registry) -> None:
    store.approve("1")
    store.promote()
    second = store.version("approved")
    store.promote()
    registry.judge(store.client, NAME, second, "rejected", "ana", "a bad answer")
    rows = store.promote()
    assert rows[0] == ("withdrawn", "1", f"version {second}: its approval is rejected") and store.alias() == "1"
    registry.judge(store.client, NAME, "1", "rejected", "ana", "this one too")
    store.promote()
    assert store.alias() is None and store.history()[-1] == ("withdraw", "1", None)


def test_a_champion_that_is_deleted_makes_way(store: Registry) -> None:
    store.approve("1")
    store.promote()
    second = store.version("approved")
    store.promote()
    store.client.delete_model_version(NAME, second)
    store.promote()
    assert store.alias() == "1" and store.history()[-1] == ("withdraw", second, "1")


def test_what_a_person_makes_champion_must_have_its_weights(store: Registry) -> None:
    store.approve("1")
    store.promote()
    altered = store.version("approved", weights_sha256="0" * 64)
    store.client.set_registered_model_alias(NAME, "champion", altered)
    store.promote()
    assert store.alias() == "1"
    assert store.history()[-2:] == [("by hand", "1", altered), ("withdraw", altered, "1")]
    with pytest.raises(InputError, match="cannot be champion: the gate decided on other weights"):
        promotion.rollback(store.client, NAME, altered, "ben", "why")


def test_a_writer_whose_clock_is_behind_writes_after_the_others(
    store: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Ahead(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime.now(tz) + timedelta(hours=1)

    with monkeypatch.context() as patched:
        patched.setattr("pipelines.history.datetime", Ahead)
        store.approve("1")
        store.promote()
        second = store.version("approved")
        store.promote()
    promotion.rollback(store.client, NAME, None, "ben", "users complain")
    assert store.alias() == "1" and store.history()[-1] == ("rollback", second, "1")
    assert store.promote()[0][0] == "none" and store.alias() == "1"


def test_an_alias_moved_by_hand_is_noted_and_stays_only_where_it_may(store: Registry) -> None:
    store.approve("1")
    store.promote()
    good, bad = store.version("approved"), store.version()
    store.client.set_registered_model_alias(NAME, "champion", good)
    store.promote()
    assert store.alias() == good and store.history()[-1] == ("by hand", "1", good)

    store.client.set_registered_model_alias(NAME, "champion", bad)
    store.promote()
    assert store.alias() == good
    assert store.history()[-2:] == [("by hand", good, bad), ("withdraw", bad, good)]

    store.client.delete_registered_model_alias(NAME, "champion")
    store.promote()
    assert store.alias() is None and store.history()[-1] == ("by hand", good, None)


class Dying:
    """A client whose store dies at its n-th write."""

    def __init__(self, client: Any, survives: int) -> None:
        self._client, self.left = client, survives

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)
        if not name.startswith(("set_", "delete_", "create_", "update_", "log_")):
            return method

        def write(*arguments: Any, **options: Any) -> Any:
            if self.left == 0:
                raise ConnectionError("the store died")
            self.left -= 1
            return method(*arguments, **options)

        return write


def crash_everywhere(store: Registry, act: Callable[[Any], Any], check: Callable[[], None]) -> int:
    """Let the store die at each write in turn, until one try gets through; returns how many writes there were."""
    for survives in range(40):
        try:
            act(Dying(store.client, survives))
        except ConnectionError:
            check()
            continue
        return survives
    raise AssertionError("it never got through")


def test_a_promotion_that_dies_anywhere_is_ended_by_the_next_one(store: Registry) -> None:
    def champion_may_be_it() -> None:
        if (champion := store.alias()) is not None:
            assert store.tags(champion)["approval"] == "approved"

    store.approve("1")
    writes = crash_everywhere(store, lambda client: store.promote(client), champion_may_be_it)
    second = store.version("approved")
    assert crash_everywhere(store, lambda client: store.promote(client), champion_may_be_it) + writes >= 2
    store.promote()
    assert (store.alias(), store.alias("previous")) == (second, "1")
    assert store.history() == [("promote", None, "1"), ("promote", "1", second)]
    assert store.tags(second)["replaced_version"] == "1" and store.tags(second)["promoted_at"]


@pytest.mark.parametrize("survives", range(9))
def test_a_promotion_that_dies_once_is_ended_by_the_next_one(store: Registry, survives: int) -> None:
    store.approve("1")
    store.promote()
    second = store.version("approved")
    try:
        store.promote(Dying(store.client, survives))
        assert survives >= 7, "seven writes: entry, champion, previous, three tags, mark"
    except ConnectionError:
        assert survives < 7
    store.promote()
    tags = store.tags(second)
    assert (store.alias(), store.alias("previous"), tags["replaced_version"]) == (second, "1", "1")
    assert tags["promoted_by"] == "test" and len(store.history()) == 2


@pytest.mark.parametrize("survives", range(0, 12))
def test_a_rollback_that_dies_is_done_or_not_begun(store: Registry, survives: int) -> None:
    store.approve("1")
    store.promote()
    second = store.version("approved")
    store.promote()
    try:
        promotion.rollback(Dying(store.client, survives), NAME, None, "ben", "why")
    except ConnectionError:
        store.promote()
        if store.alias() == second:
            promotion.rollback(store.client, NAME, None, "ben", "why")
    assert (store.alias(), store.alias("previous")) == ("1", second)
    assert store.history()[-1] == ("rollback", second, "1") and len(store.history()) == 3
    assert store.promote()[0][0] == "none"
