"""prefect.yaml as it stands; tests/pipelines/test_life.py runs its deployments."""

import os

from ruamel.yaml import YAML

from tests.pipelines.toy import REPOSITORY


def test_every_deployment_runs_one_at_a_time_in_the_pool_and_checks_its_parameters() -> None:
    declared = YAML(typ="safe").load(REPOSITORY / "prefect.yaml")["deployments"]
    assert [(each["name"], each["entrypoint"]) for each in declared] == [
        ("nightly", "pipelines.flows.unlearn"),
        ("promote", "pipelines.flows.promote"),
        ("weekly", "pipelines.flows.reassess"),
    ]
    for each in declared:
        assert each["concurrency_limit"] == {"limit": 1, "collision_strategy": "CANCEL_NEW"}
        assert each["work_pool"] == {"name": "gpu"} and each["enforce_parameter_schema"] is True


def test_prefect_yaml_names_no_machine() -> None:
    text = (REPOSITORY / "prefect.yaml").read_text()
    assert str(REPOSITORY) not in text and os.path.expanduser("~") not in text
