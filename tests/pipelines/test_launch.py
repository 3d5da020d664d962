import pytest

from pipelines import launch
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
