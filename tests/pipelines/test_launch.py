import subprocess
import sys

import pytest

from pipelines import launch
from pipelines.repro import KILLED
from wpn.errors import InputError


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("distributed_type: 'NO'\n", "own.yaml: distributed_type is 'NO', and a launch needs MULTI_GPU or FSDP; "),
        ("- MULTI_GPU\n", "own.yaml: distributed_type is None, "),
        ("distributed_type: [\n", "own.yaml is no YAML: "),
    ],
)
def test_a_file_that_describes_no_processes_is_refused(tmp_path, monkeypatch, text, said):
    monkeypatch.setattr(launch, "FILES", tmp_path)
    (tmp_path / "own.yaml").write_text(text)
    with pytest.raises(InputError, match="pipelines/devices/") as refused:
        launch.launch("own", "pipelines.stages", [])
    assert said in str(refused.value)
    assert not launch.launched()


@pytest.mark.parametrize(
    ("ending", "code"), [("os.kill(os.getpid(), signal.SIGKILL)", 128 + 9), ("sys.exit(3)", 3), ("sys.exit(0)", 0)]
)
def test_what_ended_a_process_is_what_the_launch_ends_with(tmp_path, ending, code):
    (tmp_path / "ends.py").write_text(f"import os, signal, sys\n{ending}\n")
    command = "import sys; from pipelines.launch import launch; sys.exit(launch('ddp-cpu', 'ends', []))"
    done = subprocess.run([sys.executable, "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    assert (done.returncode in KILLED) == ("kill" in ending), "only that stage is tried again"
