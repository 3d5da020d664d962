"""`wpn up` and `wpn down`: a Prefect server, an MLflow server and a worker on this machine, and only ours ended."""

import importlib.util
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from pipelines import events, processes, server, tracking
from wpn.errors import InputError
from wpn.files import read_json, write_json, write_text

POOL = "gpu"
HOST = "127.0.0.1"  # a team's servers are started one by one (docs/operations.md)
GRACE = 20.0  # seconds between asking a process to end and killing it
ADMIN = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "PREFECT_API_AUTH_STRING")


@dataclass(frozen=True)
class Stack:
    """What is to be started.

    Attributes:
        prefect_port, mlflow_port: of the servers.
        prefect_store, mlflow_store: databases; None is sqlite in registry/.
        artifacts: where MLflow keeps files; None is registry/artifacts.
        auth: whether both servers ask who one is; the environment's ADMIN is who may do everything.
    """

    root: Path
    prefect_port: int = 4200
    mlflow_port: int = 5000
    prefect_store: str | None = None
    mlflow_store: str | None = None
    artifacts: str | None = None
    auth: bool = False

    @property
    def prefect_page(self) -> str:
        return f"http://{HOST}:{self.prefect_port}"

    @property
    def mlflow_page(self) -> str:
        return f"http://{HOST}:{self.mlflow_port}"

    @property
    def addresses(self) -> dict[str, str]:
        """What a client of the stack has in its environment."""
        return {"PREFECT_API_URL": f"{self.prefect_page}/api", "MLFLOW_TRACKING_URI": self.mlflow_page}


def _state_file(root: Path) -> Path:
    return root / "registry" / "stack.json"


def up(stack: Stack, say: Callable[[str], None]) -> None:
    """Start what does not run yet, make pool, limit and deployments, and wait until everything is healthy.

    Raises:
        InputError: a port belongs to somebody else; `auth` lacks the admin's names or a package.
        RuntimeError: a service does not come up; what was started meanwhile is ended by `down`.
    """
    if stack.auth:
        _refuse_nobody()
    (stack.root / "registry").mkdir(exist_ok=True)
    servers = ("prefect server", "mlflow server")
    for name in servers:
        _refuse_taken_port(stack, name)
    started = {name: _start(stack, name, say) for name in servers}  # both make their databases at the same time
    for name in servers:
        _wait(stack, name, started[name], say)
    _prepare(stack)
    _wait(stack, "worker", _start(stack, "worker", say), say)
    for deployment in _deploy(stack):
        say(deployment)


def _start(stack: Stack, name: str, say: Callable[[str], None]) -> subprocess.Popen[bytes] | None:
    """None where it runs already."""
    if (pid := _running(stack.root, name)) is not None:
        say(f"{name} runs already (process {pid})")
        return None
    command, environment = _services(stack)[name]
    process = processes.spawn(command, _log(stack, name), environment)
    _remember(stack.root, name, process.pid)
    return process


def _log(stack: Stack, name: str) -> Path:
    return stack.root / "build" / "stack" / f"{name.replace(' ', '-')}.log"


def _refuse_taken_port(stack: Stack, name: str) -> None:
    port = {"prefect server": stack.prefect_port, "mlflow server": stack.mlflow_port}[name]
    if _running(stack.root, name) is None and processes.is_taken(HOST, port):
        option = name.replace(" server", "-port")
        raise InputError(f"port {port} belongs to another process; end it, or choose one with --{option}")


def _refuse_nobody() -> None:
    if absent := [name for name in ADMIN if not os.environ.get(name)]:
        raise InputError(f"{', '.join(absent)} not set; with --auth they name who may do everything")
    if importlib.util.find_spec("flask_wtf") is None:
        raise InputError("MLflow's users need a package more; run `pip install -c constraints.txt -e '.[auth]'`")


def _services(stack: Stack) -> dict[str, tuple[list[str], Mapping[str, str]]]:
    """Name -> command, environment; what may hold a password is in no command line."""
    registry = stack.root / "registry"
    prefect = {**server.server_environment(registry), "PREFECT_UI_API_URL": f"{stack.prefect_page}/api"}
    if stack.prefect_store:
        prefect["PREFECT_SERVER_DATABASE_CONNECTION_URL"] = stack.prefect_store
    mlflow = {
        "MLFLOW_BACKEND_STORE_URI": stack.mlflow_store or tracking.default_uri(stack.root),
        "MLFLOW_ARTIFACTS_DESTINATION": stack.artifacts or str(registry / "artifacts"),
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    application: list[str] = []
    if stack.auth:
        prefect["PREFECT_SERVER_API_AUTH_STRING"] = os.environ["PREFECT_API_AUTH_STRING"]
        mlflow |= _users(registry)
        application = ["--app-name", "basic-auth"]
    return {
        "prefect server": (
            ["prefect", "server", "start", "--host", HOST, "--port", str(stack.prefect_port)],
            prefect,
        ),
        "mlflow server": (
            ["mlflow", "server", "--host", HOST, "--port", str(stack.mlflow_port), "--workers", "1", *application],
            mlflow,
        ),
        "worker": (
            ["prefect", "worker", "start", "--pool", POOL, "--type", "process"],
            {**stack.addresses, "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(events.HEARTBEAT)},
        ),
    }


def _users(registry: Path) -> dict[str, str]:
    """MLflow's own database of users beside the other one; its first start makes the admin."""
    place = str(registry / "users.db").replace("%", "%%")  # as configparser reads it
    settings = {
        "default_permission": "READ",
        "database_uri": f"sqlite:///{place}",
        # a password takes half a second of hashing; with one server process its cache is never behind
        "auth_cache_ttl_seconds": "300",
    }
    lines = "".join(f"{key} = {value}\n" for key, value in settings.items())
    write_text(registry / "users.ini", f"[mlflow]\n{lines}")
    return {
        "MLFLOW_AUTH_CONFIG_PATH": str(registry / "users.ini"),
        "MLFLOW_AUTH_ADMIN_USERNAME": os.environ["MLFLOW_TRACKING_USERNAME"],
        "MLFLOW_AUTH_ADMIN_PASSWORD": os.environ["MLFLOW_TRACKING_PASSWORD"],
        "MLFLOW_FLASK_SERVER_SECRET_KEY": secrets.token_hex(),
    }


def _wait(stack: Stack, name: str, process: subprocess.Popen[bytes] | None, say: Callable[[str], None]) -> None:
    if process is None:
        return
    log = _log(stack, name)
    pages = {"prefect server": f"{stack.prefect_page}/api/health", "mlflow server": f"{stack.mlflow_page}/health"}
    if name in pages:
        processes.wait_until_answers(name, pages[name], process, log)
    else:
        _wait_for_worker(process, log)
    say(f"{name} is up (process {process.pid}, log {log.relative_to(stack.root)})")


def _wait_for_worker(process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + processes.PATIENCE
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"the worker ended with {process.returncode}; {log}:\n{processes.tail(log)}")
        if _pool_is_ready():
            return
        time.sleep(0.5)
    raise RuntimeError(f"the worker did not report within {processes.PATIENCE:.0f} s; see {log}")


def _pool_is_ready() -> bool:
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        status = client.read_work_pool(POOL).status
        return status is not None and status.name == "READY"


def _prepare(stack: Stack) -> None:
    """The work pool, the limit and the automations, where they are absent."""
    server.use_prefect_api(stack.addresses["PREFECT_API_URL"])
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.exceptions import ObjectAlreadyExists

    from pipelines.flows import ensure_gpu_limit

    with get_client(sync_client=True) as client, suppress(ObjectAlreadyExists):
        client.create_work_pool(WorkPoolCreate(name=POOL, type="process"))
    ensure_gpu_limit()
    events.end_lost_runs()


def _deploy(stack: Stack) -> Iterator[str]:
    """The deployments of prefect.yaml, with the addresses of this stack for their runs."""
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]
    environment = {**os.environ, **stack.addresses}
    done = subprocess.run(command, cwd=stack.root, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"deploying failed:\n{(done.stdout + done.stderr).strip()[-2000:]}")
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        flows = {flow.id: flow.name for flow in client.read_flows()}
        for deployment in client.read_deployments():
            schedules = ", ".join(_schedule(one.schedule) for one in deployment.schedules) or "no schedule"
            yield f"deployment {flows[deployment.flow_id]}/{deployment.name}: {schedules}"


def _schedule(schedule: Any) -> str:
    return str(getattr(schedule, "cron", None) or f"every {schedule.interval}")


def down(root: Path) -> list[str]:
    """End what `up` started here, the last first; returns a line each."""
    said = []
    for name in reversed(_kept(root)):
        pid = _running(root, name)
        said.append(f"{name} had ended already" if pid is None else _end(name, pid))
        _forget(root, name)
    _state_file(root).unlink(missing_ok=True)
    return said


def _end(name: str, pid: int) -> str:
    """The whole session that the process leads: workers and flow runs too."""
    members = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    for number, patience in ((signal.SIGTERM, GRACE), (signal.SIGKILL, 5.0)):
        for process in members:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)
        _, members = psutil.wait_procs(members, timeout=patience)
        if not members:
            break
    return f"{name} is down (process {pid})"


def _kept(root: Path) -> dict[str, Any]:
    """Name -> process number and moment of birth, of what `up` has started."""
    return dict(read_json(_state_file(root))) if _state_file(root).exists() else {}


def _running(root: Path, name: str) -> int | None:
    """The process, if it still is the one we started: a number is given again, a moment of birth is not."""
    kept = _kept(root).get(name)
    if kept is None:
        return None
    try:
        process = psutil.Process(kept["pid"])
        alive = process.create_time() == kept["created"] and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return None
    return int(kept["pid"]) if alive else None


def _remember(root: Path, name: str, pid: int) -> None:
    created = psutil.Process(pid).create_time()
    write_json(_state_file(root), {**_kept(root), name: {"pid": pid, "created": created}})


def _forget(root: Path, name: str) -> None:
    write_json(_state_file(root), {key: value for key, value in _kept(root).items() if key != name})
