"""The graph as DVC sees it: the real dvc.yaml's shape, and what is to run after a change in the toy."""

import itertools
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from pipelines import dag
from tests.pipelines.stage_sources import stage_sources
from tests.pipelines.toy import REPOSITORY, run
from wpn.errors import InputError

MODELS, METHODS = ["opt", "gpt-neo"], ["wpn", "sft"]
# what is imported and decides no result: settings come by build/settings, and what is fetched is pinned by its hash
UNLISTED = {
    *(f"wpn/config/{file.name}" for file in (REPOSITORY / "wpn" / "config").glob("*.py")),
    *("wpn/measured.py", "wpn/tasks/__init__.py", "wpn/errors.py", "wpn/files.py"),
}
FILES = ("deps", "outs", "metrics", "plots")  # of a stage
UNLISTED_OF = {"unlearn": {f"wpn/sources/{name}.py" for name in ("__init__", "hub", "local", "wheel")}}


@pytest.fixture(scope="module")
def real_graph(tmp_path_factory: pytest.TempPathFactory) -> dag.Graph:
    """The project's own dvc.yaml in an otherwise empty repository: its sources exist, and nothing has run."""
    import yaml

    tmp_path = tmp_path_factory.mktemp("real")
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copy(REPOSITORY / name, tmp_path)
    stages = yaml.safe_load((tmp_path / "dvc.yaml").read_text())["stages"]
    for path in {dep for stage in stages.values() for dep in stage["deps"] if not dep.startswith("build")}:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    for command in ("git init -q", "dvc init -q"):
        run(tmp_path, command)
    return dag.read(tmp_path)


def test_the_real_graph_goes_from_prepare_to_report(real_graph: dag.Graph) -> None:
    upstream = real_graph.upstream
    assert upstream["settings"] == frozenset()
    assert upstream["prepare@opt"] == {"settings"}
    assert upstream["pretrain@opt"] == {"settings", "prepare@opt"}
    assert upstream["pairs@opt"] == {"settings", "prepare@opt", "pretrain@opt"}
    assert upstream["unlearn@gpt-neo-wpn"] == {"settings", "pretrain@gpt-neo", "pairs@gpt-neo"}
    assert {"pretrain@opt", "unlearn@opt-sft"} <= upstream["evaluate@opt-sft"]
    assert upstream["gate@opt-wpn"] == {
        "settings",
        "assess@opt-wpn",
        "assess-reference@opt",
        "evaluate-reference@opt",
        "evaluate@opt-wpn",
        # whose weights and data the evaluation must speak of
        *("prepare@opt", "pretrain@opt", "pairs@opt", "unlearn@opt-wpn"),
    }
    assert "assess-reference@opt" in upstream["report"]
    assert {f"gate@{model}-{method}" for model in MODELS for method in METHODS} <= upstream["report"]
    assert real_graph.changed == set(upstream), "nothing has run yet"


def real_stages() -> dict[str, Any]:
    stages: dict[str, Any] = YAML(typ="safe").load(REPOSITORY / "dvc.yaml")["stages"]
    return stages


@pytest.mark.parametrize("stage", real_stages())
def test_a_stage_lists_the_sources_that_compute_it(stage: str) -> None:
    listed = real_stages()[stage]["deps"]
    needed = stage_sources(stage) - UNLISTED - UNLISTED_OF.get(stage, set())
    assert {file for file in needed if not any(f"{file}/".startswith(f"{name}/") for name in listed)} == set()
    sources = {name for name in listed if name.startswith("wpn/") and name.endswith(".py")}
    assert sources - needed - UNLISTED == set(), "what it does not need runs it again for nothing"


def test_the_committed_lock_is_of_the_committed_graph() -> None:
    """It is what `dvc checkout` restores: after a change of dvc.yaml it is to be made anew (`make demo`)."""
    locked = YAML(typ="safe").load(REPOSITORY / "dvc.lock")["stages"]
    named = {name: [each["path"] for each in [*stage["deps"], *stage["outs"]]] for name, stage in locked.items()}
    assert {name: sorted(paths) for name, paths in named.items()} == dict(resolved_files())


def resolved_files() -> Iterator[tuple[str, list[str]]]:
    """Of each stage what it reads and writes, for the models and methods of params.yaml."""
    for name, stage in real_stages().items():
        files = [next(iter(each)) if isinstance(each, dict) else each for key in FILES for each in stage.get(key, [])]
        axes = stage.get("matrix", {})
        for chosen in itertools.product(*(MODELS if axis == "model" else METHODS for axis in axes)):
            text = "\n".join(files)
            for axis, value in zip(axes, chosen, strict=True):
                text = text.replace(f"${{item.{axis}}}", value)
            yield "@".join([name, *filter(None, ["-".join(chosen)])]), sorted(text.split())


def test_sources_are_followed_through_helpers_and_into_functions_but_not_for_types() -> None:
    unlearn = stage_sources("unlearn")
    assert {"wpn/train.py", "wpn/freeze.py", "wpn/methods/rmu.py", "wpn/models.py"} <= unlearn
    assert "wpn/judges/__init__.py" not in unlearn, "wpn/attribution.py names a judge's type alone"
    assert "wpn/judges/lexical.py" in stage_sources("pairs"), "imported in a function, by a helper of the stage"
    assert "wpn/estimates.py" in stage_sources("report"), "imported in pipelines/report.py"


def test_the_devices_of_a_launch_belong_to_unlearning() -> None:
    assert [stage for stage, listed in real_stages().items() if "pipelines/devices" in listed["deps"]] == ["unlearn"]


def test_the_real_graph_marks_what_needs_a_gpu(real_graph: dag.Graph) -> None:
    assert {name.partition("@")[0] for name in real_graph.gpu} == {
        "pretrain",
        "pairs",
        "unlearn",
        "evaluate",
        "evaluate-reference",
        "assess",
        "assess-reference",
    }
    assert real_graph.first == {"settings"}


def test_a_model_and_a_method_select_their_stages_and_what_these_need(real_graph: dag.Graph) -> None:
    selected = dag.select(real_graph, MODELS, METHODS, models=["gpt-neo"], methods=["wpn"])
    assert selected == {
        "settings",
        "prepare@gpt-neo",
        "pretrain@gpt-neo",
        "pairs@gpt-neo",
        "unlearn@gpt-neo-wpn",
        "evaluate-reference@gpt-neo",
        "evaluate@gpt-neo-wpn",
        "assess-reference@gpt-neo",
        "assess@gpt-neo-wpn",
        "gate@gpt-neo-wpn",
    }, "report needs the other models too, so it is left out"


def test_no_choice_selects_everything(real_graph: dag.Graph) -> None:
    assert dag.select(real_graph, MODELS, METHODS) == set(real_graph.upstream)


@pytest.mark.parametrize(
    ("models", "methods", "words"),
    [
        (["bert"], None, ["unknown model 'bert'", "opt, gpt-neo"]),
        (None, ["dpo"], ["unknown method 'dpo'", "wpn, sft"]),
    ],
)
def test_an_unknown_name_is_refused_with_the_known_ones(
    real_graph: dag.Graph, models: list[str] | None, methods: list[str] | None, words: list[str]
) -> None:
    with pytest.raises(InputError) as raised:
        dag.select(real_graph, MODELS, METHODS, models, methods)
    assert all(word in str(raised.value) for word in words)


def test_the_order_puts_a_stage_after_those_it_needs(real_graph: dag.Graph) -> None:
    order = dag.order(real_graph, real_graph.upstream)
    for stage, needed in real_graph.upstream.items():
        assert all(order.index(other) < order.index(stage) for other in needed)
    assert order == dag.order(real_graph, reversed(order)), "it does not depend on the order asked in"


def test_nothing_is_stale_when_everything_is_up_to_date(project: Path) -> None:
    graph = dag.read(project)
    assert graph.changed == frozenset()
    assert dag.stale(graph, graph.upstream) == []


def test_a_change_makes_its_stages_and_their_downstream_stale(project: Path) -> None:
    parameters = (project / "params.yaml").read_text()
    (project / "params.yaml").write_text(parameters.replace("      mode: enforce ", "      mode: dry_run ", 1))
    assert dag.read(project).changed == {"settings"}
    run(project, "dvc repro --single-item settings")
    graph = dag.read(project)
    stale = dag.stale(graph, graph.upstream)
    assert {name.partition("@")[0] for name in stale} == {"gate", "report"}
    assert stale[-1] == "report"


def test_a_missing_data_folder_is_said_with_the_command_that_makes_it(project: Path) -> None:
    shutil.rmtree(project / "data")
    with pytest.raises(InputError, match=r"data is missing.*`wpn data fetch`"):
        dag.read(project)


def test_a_cycle_is_bad_input(project: Path) -> None:
    graph = (project / "dvc.yaml").read_text()
    (project / "dvc.yaml").write_text(graph.replace("    - data\n", "    - data\n    - build/report\n", 1))
    with pytest.raises(InputError, match=r"dvc\.yaml"):
        dag.read(project)


def test_the_root_is_found_from_a_folder_inside(project: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    assert dag.find_root(project / "build") == project.resolve()
    with pytest.raises(InputError, match=r"no dvc\.yaml"):
        dag.find_root(tmp_path_factory.mktemp("elsewhere"))


def test_a_folder_that_is_no_dvc_repository_is_bad_input(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    with pytest.raises(InputError, match="DVC"):
        dag.read(tmp_path)
