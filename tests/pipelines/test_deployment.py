"""prefect.yaml on a real server with a real worker: what is declared, and scheduled runs that finish."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TypeVar

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import CronSchedule, IntervalSchedule
from prefect.exceptions import ObjectNotFound

from pipelines.processes import spawn
from tests.conftest import end
from tests.pipelines.toy import REPOSITORY

Answer = TypeVar("Answer")


@pytest.fixture
def worker(registered_project: Path, prefect_api: str, prefect_home: Path) -> Iterator[Path]:
    """The project with its deployments, and a worker for them; the worker makes the pool where it is absent."""
    shutil.copy(REPOSITORY / "prefect.yaml", registered_project)
    log = prefect_home / "worker.log"
    command = ["prefect", "worker", "start", "--pool", "gpu", "--type", "process"]
    process = spawn(command, log, {"PREFECT_HOME": str(prefect_home), "PREFECT_WORKER_QUERY_SECONDS": "1"})
    try:
        wait_for(lambda client: client.read_work_pool("gpu"), prefect_home)
        yield prefect_home
    finally:
        end(process)
        with get_client(sync_client=True) as client:  # else the server of the session goes on scheduling
            for deployment in client.read_deployments():
                client.delete_deployment(deployment.id)


def wait_for(ask: Callable[[SyncPrefectClient], Answer], logs: Path, seconds: float = 60) -> Answer:
    """Ask the server until it has found something."""
    deadline = time.monotonic() + seconds
    with get_client(sync_client=True) as client:
        while time.monotonic() < deadline:
            with suppress(ObjectNotFound):
                if answer := ask(client):
                    return answer
            time.sleep(0.5)
    said = "\n".join((logs / name).read_text() for name in ("server.log", "worker.log"))
    raise AssertionError(f"nothing within {seconds} s; the server and the worker said:\n{said}")


def completed_runs(client: SyncPrefectClient, deployment: DeploymentResponse) -> list[FlowRun]:
    runs = client.read_flow_runs(deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[deployment.id])))
    assert not [run for run in runs if run.state and run.state.name in ("Failed", "Crashed")]
    return [run for run in runs if run.state and run.state.name == "Completed"]


def test_scheduled_runs_of_both_deployments_finish(registered_project: Path, worker: Path) -> None:
    deploy = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]
    done = subprocess.run(deploy, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr

    with get_client(sync_client=True) as client:
        nightly = client.read_deployment_by_name("unlearn/nightly")
        promote = client.read_deployment_by_name("promote/promote")
        for deployment in (nightly, promote):
            assert deployment.work_pool_name == "gpu"
            assert deployment.global_concurrency_limit and deployment.global_concurrency_limit.limit == 1
            assert deployment.concurrency_options
            assert deployment.concurrency_options.collision_strategy == "CANCEL_NEW"
        (night,), (five_minutes,) = ([s.schedule for s in d.schedules] for d in (nightly, promote))
        assert isinstance(night, CronSchedule) and (night.cron, night.timezone) == ("0 2 * * *", "UTC")
        assert isinstance(five_minutes, IntervalSchedule) and five_minutes.interval == timedelta(minutes=5)

        soon = IntervalSchedule(interval=timedelta(seconds=20), anchor_date=datetime.now(UTC))
        for deployment in (nightly, promote):
            client.create_deployment_schedules(deployment.id, [DeploymentScheduleCreate(schedule=soon)])

    for deployment in (nightly, promote):
        runs = wait_for(partial(completed_runs, deployment=deployment), worker)
        assert all(run.auto_scheduled for run in runs)


def test_prefect_yaml_names_no_machine() -> None:
    text = (REPOSITORY / "prefect.yaml").read_text()
    assert str(REPOSITORY) not in text and os.path.expanduser("~") not in text
