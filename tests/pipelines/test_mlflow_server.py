"""The same against a real `mlflow server`, which refuses what a database alone lets pass."""

import random
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines import promotion, registry, tracking
from pipelines.enrol import enrol
from tests.pipelines.toy import PROMPT
from wpn.config.loading import load_params

NAME = "wpn-opt"
SEED = 7


@pytest.fixture
def on_server(project: Path, mlflow_server: str) -> Path:
    """The toy project with opt / wpn registered on a server."""
    made = enrol(tracking.connect(project), project, load_params(project / "params.yaml"), "opt", "wpn")
    assert (made["version"], made["gate"], made["approval"]) == ("1", "passed", "pending")
    return project


def test_a_server_takes_the_run_and_serves_the_candidate(on_server: Path) -> None:
    import mlflow

    client = tracking.connect(on_server)
    version = client.get_model_version_by_alias(NAME, "candidate")
    assert not (on_server / "registry").exists(), "nothing is kept in the project"
    assert "decision.json" in {file.path for file in client.list_artifacts(version.run_id)}

    with tracking.active(client):
        answers = mlflow.pyfunc.load_model(f"models:/{NAME}@candidate").predict([PROMPT])
    assert answers[0].startswith(PROMPT) and len(answers[0]) > len(PROMPT)

    registry.judge(client, NAME, str(version.version), "approved", "ana", "read 50 answers")
    assert promotion.promote(client, by="test")[0]["action"] == "promoted"


class Watcher(threading.Thread):
    """Looks at the champion all the time, and keeps what it saw."""

    def __init__(self, root: Path) -> None:
        super().__init__(daemon=True)
        self.client, self.ended = tracking.connect(root), threading.Event()
        self.seen: list[str] = []
        self.faults: list[str] = []

    def run(self) -> None:
        while not self.ended.is_set():
            champion = registry.alias(self.client, NAME, "champion")
            if champion is None:
                continue
            tags = self.client.get_model_version(NAME, champion).tags
            if tags["approval"] != "approved" or tags["gate"] != "passed":
                self.faults.append(f"version {champion}: {tags['approval']}, {tags['gate']}")
            if self.seen[-1:] != [champion]:
                self.seen.append(champion)
            time.sleep(0.02)


def in_threads(work: list[Callable[[], None]]) -> list[BaseException]:
    """Run all at once; returns what they raised."""
    raised: list[BaseException] = []

    def one(act: Callable[[], None]) -> None:
        try:
            act()
        except BaseException as error:
            raised.append(error)

    threads = [threading.Thread(target=one, args=(act,)) for act in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return raised


def test_ten_promoters_and_five_approvers_agree(on_server: Path) -> None:
    client = tracking.connect(on_server)
    first = client.get_model_version(NAME, "1")
    model_id = first.source.removeprefix("models:/")
    kept = {"approval": "pending", **{key: first.tags[key] for key in ("gate", "weights_sha256")}}
    for i in range(12):  # one in four is refused by the gate, whatever its approval will say
        tags = {**kept, "gate": "refused"} if i % 4 == 3 else kept
        client.create_model_version(NAME, first.source, run_id=first.run_id, model_id=model_id, tags=tags)
    versions = [str(version.version) for version in registry.versions_of(client, NAME)]

    def approver(number: int) -> Callable[[], None]:
        def approve() -> None:
            chance, own = random.Random(SEED + number), tracking.connect(on_server)
            for version in chance.sample(versions, 4):
                own.set_model_version_tag(NAME, version, "approval", "approved")  # as MLflow's page does
                time.sleep(chance.random() / 5)

        return approve

    def promoter(number: int) -> Callable[[], None]:
        def promote() -> None:
            chance, own = random.Random(100 + number), tracking.connect(on_server)
            for _ in range(3):
                time.sleep(chance.random() / 2)
                promotion.promote(own, by=f"promoter {number}")

        return promote

    watcher = Watcher(on_server)
    watcher.start()
    assert in_threads([*map(approver, range(5)), *map(promoter, range(10))]) == []
    promotion.promote(client, by="the last one")
    watcher.ended.set()
    watcher.join()

    assert watcher.faults == []
    tags = {version: client.get_model_version(NAME, version).tags for version in versions}
    approved = [int(v) for v in versions if tags[v]["approval"] == "approved" and tags[v]["gate"] == "passed"]
    done = promotion.changes(client, NAME)
    champion = registry.alias(client, NAME, "champion")
    assert champion == str(max(approved)) == done[-1].to
    assert [change.replaced for change in done] == [None, *(change.to for change in done[:-1])], "an unbroken chain"
    assert {change.action for change in done} == {"promote"}
    assert set(watcher.seen) <= {change.to for change in done}, "whoever was champion is in the history"
    assert registry.alias(client, NAME, "previous") == done[-1].replaced
    assert tags[champion]["replaced_version"] == (done[-1].replaced or "none")
    refused = [v for v in versions if "promotion_refused" in tags[v]]
    assert all(tags[v]["gate"] == "refused" for v in refused)
