"""When a search of settings goes on."""

import pytest

from benchmarks import tune
from wpn.files import write_json


@pytest.mark.parametrize(("key", "value"), [("code", "another"), ("command", "tune --seed 14")])
def test_a_search_goes_on_only_with_the_same_code_and_command(tmp_path, monkeypatch, key, value):
    monkeypatch.setattr(tune, "FILE", tmp_path / "tuning.json")
    described = {"commit": "now", "code": "today's", "command": "tune --seed 13"}
    assert tune.begun(described) == described
    measured = {**described, "commit": "then", "trials": [{"method": "ga", "trial": 0}]}
    write_json(tune.FILE, measured)
    assert tune.begun(described) == measured
    assert tune.begun({**described, key: value}) == {**described, key: value}
