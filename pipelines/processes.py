"""Servers as child processes: started with their output in a file, waited for, and ended whole."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

PATIENCE = 120.0  # seconds; the first start makes the databases, which takes 10-18 s


def free_port() -> int:
    """Any port of this machine that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def is_taken(host: str, port: int) -> bool:
    """Whether somebody listens there."""
    with socket.socket() as asking:
        asking.settimeout(1)
        return asking.connect_ex((host, port)) == 0


def spawn(command: Sequence[str], log: Path, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """`python -m COMMAND` in a session of its own: Ctrl-C is for whoever started it, not for it."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-m", *command],
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def wait_until_answers(what: str, url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Until a GET of `url` succeeds.

    Raises:
        RuntimeError: the process ended, or did not answer in time; with the end of its log.
    """
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"the {what} ended with {process.returncode}; {log}:\n{tail(log)}")
        try:
            urllib.request.urlopen(url, timeout=2).close()
        except urllib.error.HTTPError as error:
            if error.code in (401, 403):  # it is there and wants credentials
                return
            time.sleep(0.05)
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
        else:
            return
    raise RuntimeError(f"the {what} did not answer within {PATIENCE:.0f} s; see {log}")


def tail(log: Path) -> str:
    """The last lines of a log, indented."""
    return "\n".join(f"  {line.rstrip()}" for line in deque(log.open(errors="replace"), 15))
