"""The address of a Prefect server that is somebody else's, or nobody's."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.processes import free_port
from pipelines.server import _ask
from tests.hub_server import HubServer
from wpn.errors import InputError


def test_a_port_that_something_else_uses_is_said_with_the_remedy(tmp_path: Path) -> None:
    with HubServer(tmp_path) as other, pytest.raises(InputError, match=r"is no Prefect API \(HTTP 404\); start it"):
        _ask(f"{other.url}/api")


def test_a_port_that_nobody_uses_is_said_with_the_remedy() -> None:
    with pytest.raises(InputError, match=r"no Prefect server answers at .* unset it to use a temporary server"):
        _ask(f"http://127.0.0.1:{free_port()}/api")


def test_the_server_of_prefects_profile_is_known_and_without_one_none(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    ask = [sys.executable, "-c", "from pipelines.server import known_server; print(known_server())"]
    for profile, known in (("", "None"), ('PREFECT_API_URL = "http://team:4200/api"\n', "http://team:4200/api")):
        (tmp_path / "profiles.toml").write_text(f'active = "own"\n\n[profiles.own]\n{profile}')
        done = subprocess.run(
            ask, env={**environment, "PREFECT_HOME": str(tmp_path)}, capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == known
