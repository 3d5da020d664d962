"""The address of a Prefect server that is somebody else's, or nobody's."""

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
