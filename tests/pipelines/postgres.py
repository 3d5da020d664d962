"""A PostgreSQL server of the test's own on loopback, where its programs are installed."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipelines.processes import free_port

PROGRAMS = ("initdb", "pg_ctl", "createdb")


@contextmanager
def server() -> Iterator[str]:
    """The address of a server with the empty databases `prefect` and `mlflow`, without scheme: USER@HOST:PORT.

    PostgreSQL refuses to run as root, so that root hands it to the user `postgres`.
    """
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing:
        pytest.skip(f"PostgreSQL is not installed here ({', '.join(missing)} not found)")
    pytest.importorskip("psycopg2", reason="the driver psycopg2 is not installed")
    as_user: list[str] = []
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None or subprocess.run(["id", "postgres"], capture_output=True).returncode:
            pytest.skip("PostgreSQL does not run as root, and there is no user postgres (or no setpriv)")
        as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
    with tempfile.TemporaryDirectory() as name:
        folder, port = Path(name), str(free_port())
        if as_user:
            shutil.chown(folder, "postgres")

        def call(*command: str) -> None:
            done = subprocess.run([*as_user, *command], cwd=folder, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stdout + done.stderr

        call("initdb", "-D", "data", "-U", "wpn", "-A", "trust", "--no-sync")
        options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c fsync=off"
        call("pg_ctl", "-D", "data", "-w", "-l", "log", "-o", options, "start")
        try:
            for database in ("prefect", "mlflow"):
                call("createdb", "-h", "127.0.0.1", "-p", port, "-U", "wpn", database)
            yield f"wpn@127.0.0.1:{port}"
        finally:
            call("pg_ctl", "-D", "data", "-m", "immediate", "stop")
