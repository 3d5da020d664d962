"""The flows on a toy project, with a real Prefect server and a real MLflow store."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterKey,
    LogFilter,
    LogFilterTaskRunId,
    TaskRunFilter,
    TaskRunFilterName,
)
from prefect.client.schemas.sorting import ArtifactSort

from pipelines import flows, registry, tracking
from pipelines.processes import free_port
from pipelines.repro import StageFailed
from tests.pipelines.test_repro import dvc_busy
from tests.pipelines.toy import breaks, stages_run
from wpn.errors import InputError

pytestmark = pytest.mark.usefixtures("prefect_api")


def make_evaluations_stale(root: Path) -> None:
    (root / "quality.json").write_text('{"opt/sft": 0.8, "gpt-neo/wpn": 0.9, "gpt-neo/sft": 0.9}\n')


def task_lines(name: str) -> list[str]:
    """The log lines of the task run of this name that started last, as the server has them."""
    with get_client(sync_client=True) as client:
        runs = client.read_task_runs(task_run_filter=TaskRunFilter(name=TaskRunFilterName(any_=[name])))
        newest = max(runs, key=lambda run: str(run.start_time))
        logs = client.read_logs(LogFilter(task_run_id=LogFilterTaskRunId(any_=[newest.id])))
    return [log.message for log in logs]


def artifact(key: str) -> str:
    with get_client(sync_client=True) as client:
        found = client.read_artifacts(
            artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=[key])), sort=ArtifactSort.CREATED_DESC
        )
    return str(found[0].data)


def test_the_flow_runs_every_stage_and_registers_what_passed(fresh_project: Path) -> None:
    done = flows.unlearn(workers=2)

    assert len(done["outcomes"]) == 28 and set(done["outcomes"].values()) == {"computed"}
    assert sorted(stages_run(fresh_project)) == sorted(done["outcomes"])
    registered = {(row["model"], row["method"]): (row["name"], row["version"]) for row in done["registered"]}
    assert registered == {
        ("opt", "wpn"): ("wpn-opt", "1"),
        ("opt", "sft"): (None, None),  # not the candidate method
        ("gpt-neo", "wpn"): ("wpn-gpt-neo", "1"),  # refused by the gate, and no candidate
        ("gpt-neo", "sft"): (None, None),
    }
    assert "toy unlearn opt wpn" in task_lines("unlearn@opt-wpn"), "a stage's lines reach its task run"
    assert '"harmless_unseen_low"' in artifact("results")
    assert "opt / wpn passed the gate" in artifact("verdicts")

    client = tracking.connect(fresh_project)
    gates = [run.data.tags["gate"] for run in client.search_runs([tracking.experiment_id(client, fresh_project)])]
    assert sorted(gates) == ["passed", "refused", "refused", "refused"]


def test_a_second_run_starts_no_stage_and_changes_nothing(stored_project: Path) -> None:
    first = flows.unlearn()
    second = flows.unlearn()
    assert stages_run(stored_project) == [] and second["outcomes"] == {}
    assert len(second["unchanged"]) == 28 and second["registered"] == first["registered"]


def test_only_what_changed_and_its_downstream_runs_and_a_killed_stage_is_tried_again(stored_project: Path) -> None:
    make_evaluations_stale(stored_project)
    breaks(stored_project, "evaluate@opt-sft", "killed once")
    done = flows.unlearn(models=["opt"], methods=["sft"])
    assert done["outcomes"] == {"evaluate@opt-sft": "computed", "gate@opt-sft": "computed"}
    assert stages_run(stored_project) == ["evaluate@opt-sft", "evaluate@opt-sft", "gate@opt-sft"]
    assert any("trying again" in line for line in task_lines("evaluate@opt-sft"))


def test_a_new_bound_of_the_gate_runs_the_gates_and_no_training(stored_project: Path) -> None:
    params = stored_project / "params.yaml"
    params.write_text(params.read_text().replace("at_least: 0.958}", "at_least: 0.957}"))
    done = flows.unlearn(models=["opt"], methods=["wpn"])
    assert stages_run(stored_project) == ["settings", "gate@opt-wpn"] == list(done["outcomes"])


def test_a_failed_stage_is_one_readable_error_and_stops_its_downstream_only(stored_project: Path) -> None:
    make_evaluations_stale(stored_project)
    breaks(stored_project, "evaluate@opt-sft", "crash")
    with pytest.raises(StageFailed) as raised:
        flows.unlearn(models=["opt"])
    message = str(raised.value)
    assert message.startswith("stage evaluate@opt-sft failed (exit code 1); its last lines:\n")
    assert "ZeroDivisionError" in message and "not run, because they need it: gate@opt-sft" in message
    assert stages_run(stored_project) == ["evaluate@opt-wpn", "evaluate@opt-sft"]  # same metrics, so the same gate


def test_bad_input_found_by_a_stage_is_its_sentence(stored_project: Path) -> None:
    make_evaluations_stale(stored_project)
    breaks(stored_project, "evaluate@opt-sft", "input")
    with pytest.raises(InputError, match=r"^data/raw\.jsonl, row 3: the prompt is empty"):
        flows.unlearn(models=["opt"], methods=["sft"])


def test_a_busy_dvc_is_said_at_once(stored_project: Path) -> None:
    with dvc_busy(stored_project), pytest.raises(InputError, match="another DVC command"):
        flows.unlearn()


@pytest.mark.parametrize(("models", "methods"), [(["bert"], None), (None, ["dpo"])])
def test_an_unknown_name_stops_the_flow(
    stored_project: Path, models: list[str] | None, methods: list[str] | None
) -> None:
    with pytest.raises(InputError, match="unknown"):
        flows.unlearn(models=models, methods=methods)


def test_mlflow_out_of_reach_stops_the_flow_before_anything_is_computed(
    fresh_project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(InputError, match="no MLflow server answers"):
        flows.unlearn()
    assert stages_run(fresh_project) == []


def test_stages_that_use_a_gpu_wait_for_its_slot_and_no_others_do(
    stored_project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[dict[str, Any]] = []

    @contextmanager
    def slot(name: str, **options: Any) -> Iterator[None]:
        taken.append({"name": name, **options})
        yield

    monkeypatch.setattr(flows, "concurrency", slot)
    make_evaluations_stale(stored_project)
    monkeypatch.setattr(flows, "uses_gpu", lambda device: True)
    done = flows.unlearn(models=["opt"], methods=["sft"])
    assert list(done["outcomes"]) == ["evaluate@opt-sft", "gate@opt-sft"]
    assert [(each["name"], each["strict"]) for each in taken] == [("gpu", True)], "the evaluation's; a gate needs none"


@pytest.mark.parametrize(
    ("device", "card", "used"),
    [("cuda:1", False, True), ("cpu", True, False), ("auto", True, True), ("auto", False, False)],
)
def test_which_device_is_a_gpu(monkeypatch: pytest.MonkeyPatch, device: str, card: bool, used: bool) -> None:
    monkeypatch.setattr("shutil.which", lambda name: "/usr/bin/nvidia-smi" if card else None)
    assert flows.uses_gpu(device) is used


def test_the_gpu_limit_has_one_slot_and_keeps_what_a_person_sets() -> None:
    flows.ensure_gpu_limit()
    with get_client(sync_client=True) as client:
        assert client.read_global_concurrency_limit_by_name("gpu").limit == 1
        client.upsert_global_concurrency_limit_by_name("gpu", limit=2)
        flows.ensure_gpu_limit()
        assert client.read_global_concurrency_limit_by_name("gpu").limit == 2
        client.upsert_global_concurrency_limit_by_name("gpu", limit=1)


def test_the_promote_flow_makes_the_approved_version_champion(registered_project: Path) -> None:
    client = tracking.connect(registered_project)
    assert [row["action"] for row in flows.promote()] == ["none"], "nobody has approved it"
    registry.judge(client, "wpn-opt", "1", "approved", "ana", "read 50 answers")
    assert [row["action"] for row in flows.promote(dry_run=True)] == ["would promote"]
    assert [row["action"] for row in flows.promote()] == ["promoted"]
    assert client.get_model_version("wpn-opt", "1").tags["promoted_by"] == "flow promote"
    assert "flow promote" not in artifact("promotions") and "promoted" in artifact("promotions")


def test_promoting_nothing_is_no_error(stored_project: Path) -> None:
    assert flows.promote() == []
