"""A Prefect server for a run in the foreground: the one that PREFECT_API_URL names, else a temporary one.

Prefect can start a temporary server itself, but imports its server into the run's process for that, which costs
two seconds and 100 MB, keeps its database in the home folder, and says nothing when the server fails.
"""

import atexit
import os
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from pipelines.processes import free_port, spawn, wait_until_answers
from wpn.errors import InputError


def prefect_server(root: Path) -> Callable[[], None]:
    """Return a function that waits until the server answers: other things can be made ready in the meantime.

    The temporary server takes any free port of this machine, keeps its database and log in build/prefect, and
    ends with this process: not earlier, because Prefect sends the last lines of a run when Python exits.
    """
    if url := known_server():
        _ask(url)
        return lambda: None
    port = free_port()
    log = root / "build" / "prefect" / "server.log"
    process = _start(log, port)
    atexit.register(_end, process)  # before Prefect registers its own, which therefore run earlier
    use_prefect_api(f"http://127.0.0.1:{port}/api")
    return lambda: _wait(process, port, log)


def known_server() -> str | None:
    """The server that PREFECT_API_URL names, in the environment or in Prefect's profile."""
    from prefect.settings import get_current_settings

    return get_current_settings().api.url


def server_environment(folder: Path) -> dict[str, str]:
    """Of a Prefect server that keeps everything in a folder of the project, and sends nothing home."""
    return {
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{folder / 'prefect.db'}",
        "PREFECT_MEMO_STORE_PATH": str(folder / "memo_store.toml"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    }


def _start(log: Path, port: int) -> subprocess.Popen[bytes]:
    command = ["prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    lean = ["--no-ui", "--no-scheduler", "--no-late-runs"]
    return spawn([*command, *lean], log, server_environment(log.parent))


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def use_prefect_api(url: str) -> None:
    """Point this process at `url`, Prefect's background threads included, which see the global settings only."""
    from prefect.context import refresh_global_settings_context

    os.environ["PREFECT_API_URL"] = url
    refresh_global_settings_context()


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    wait_until_answers("temporary Prefect server", f"http://127.0.0.1:{port}/api/health", process, log)
    _free_slots()


def _free_slots() -> None:
    """Give back what a killed run held: leases of slots live in the memory of the server that is gone."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import GlobalConcurrencyLimitUpdate

    with get_client(sync_client=True) as client:
        for limit in client.read_global_concurrency_limits():
            if limit.active_slots:
                client.update_global_concurrency_limit(limit.name, GlobalConcurrencyLimitUpdate(active_slots=0))


def _ask(url: str) -> None:
    remedy = "start it, correct PREFECT_API_URL, or unset it to use a temporary server"
    try:
        urllib.request.urlopen(f"{url.rstrip('/')}/health", timeout=5).close()
    except urllib.error.HTTPError as error:
        if error.code not in (401, 403):  # it is there and wants credentials, which Prefect's client sends
            raise InputError(f"{url} is no Prefect API (HTTP {error.code}); {remedy}") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise InputError(f"no Prefect server answers at {url} ({reason}); {remedy}") from None
