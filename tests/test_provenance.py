"""What stands beside the published numbers, and when a measurement goes on."""

import signal

import psutil
import pytest

from benchmarks import measure, provenance
from wpn.files import write_json

POPEN = psutil.Popen


def test_a_folder_of_this_machine_is_shown_by_its_own_name():
    arguments = ["--text", "wikitext=path:/home/me/wikitext2", "--benchmarks", "path:../items", "/a/b"]
    assert provenance.command("benchmarks.smollm2", arguments) == (
        "python -m benchmarks.smollm2 --text wikitext=path:FOLDER/wikitext2 --benchmarks path:../items FOLDER/b"
    )


def test_a_measurement_goes_on_with_its_own_rows_while_the_code_is_the_same(tmp_path, monkeypatch):
    file = tmp_path / "results.json"
    monkeypatch.setattr(provenance, "provenance", lambda seeds: {"seeds": seeds, "commit": "now"})
    monkeypatch.setattr(provenance, "code", lambda: "today's")
    new = {"seeds": [], "commit": "now", "code": "today's", "runs": [], "rows": []}
    assert provenance.begun(file, [1, 2]) == new
    measured = {**new, "commit": "then", "seeds": [1], "rows": [{"seed": 1}]}
    write_json(file, measured)
    assert provenance.begun(file, [1, 2]) == measured
    asked = {"command": "tune --seed 13"}
    assert provenance.continued(file, **asked) == {}, "begun by other words"
    write_json(file, measured | asked)
    assert provenance.continued(file, **asked) == measured | asked
    monkeypatch.setattr(provenance, "code", lambda: "another")
    assert provenance.continued(file, **asked) == {}
    assert provenance.begun(file, [1, 2]) == {**new, "code": "another"}


def test_an_interrupted_measurement_ends_what_it_started(tmp_path, monkeypatch):
    started = []

    def interrupted(process):
        raise KeyboardInterrupt

    monkeypatch.setattr(
        measure.psutil, "Popen", lambda *args, **more: started.append(POPEN(*args, **more)) or started[0]
    )
    monkeypatch.setattr(measure, "_memory", interrupted)
    with pytest.raises(KeyboardInterrupt):
        measure.measure(tmp_path, "http.server", "0")
    assert started[0].returncode == -signal.SIGTERM
