"""The real pipeline, end to end, on a model too small to learn anything: DVC, the stages, the files they leave."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from ruamel.yaml import YAML
from safetensors.torch import load_file

import wpn
from pipelines import dag, stages, tracking
from pipelines.enrol import enrol
from pipelines.reassess import reassess
from pipelines.report import rows
from pipelines.settings import read_settings
from tests.pipelines.test_report import KEYS
from tests.wpn.test_encoder import sentence_model
from wpn.config.loading import load_params
from wpn.config.params import Params
from wpn.data.organism.generate import write_organism_data
from wpn.estimates import estimates
from wpn.files import read_json, read_jsonl, sha256_of, write_json, write_jsonl
from wpn.measured import measured

REPOSITORY = Path(__file__).parents[2]
# params.yaml of the test: the same knobs, turned down
TINY = {
    "pipeline": {"models": ["opt"], "methods": ["wpn"]},
    "grammar": {"corpus": 2000},
    "models": {"opt": {"organism": {"layers": 1, "width": 16, "heads": 2}}},
    "recipes": {
        "organism": {
            "pretrain": {"trunk_steps": 2, "branch_steps": 1, "batch_tokens": 224},
            "pairs": {"number": 16},
            "unlearn": {"steps": 3, "batch_size": 4, "retain_batch_size": 4},
            "methods": {"wpn": {"learning_rate": None, "relearning_aware": {"begin": 0.5}}},  # not from the first step
            "evaluate": {"prompts": 12},
            "assess": {
                "prompts": 4,
                "max_new_tokens": 4,
                "forced_start": {"starts": ["you are"]},
                "suffix": {"prompts": 2, "length": 2, "steps": 2, "candidates": 4},
                "sampling": {"samples": 2},
                "membership": {"pairs": 8},
                "collateral": {"prompts": 6},
                "in_context": {"demonstrations": [0, 2]},
                "relearning": {
                    "pairs": [4, 1],
                    "steps": [1, 5],
                    "attacks": [{"optimizer": "adamw", "learning_rate": 5e-4}],
                },
            },
        }
    },
}


def change(section: dict[str, Any], changes: dict[str, Any]) -> None:
    for key, value in changes.items():
        if isinstance(value, dict):
            change(section[key], value)
        else:
            section[key] = value


def run(folder: Path, module: str, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=folder, env=environment, check=check, capture_output=True, text=True,
    )  # fmt: skip


def checkout(folder: Path) -> None:
    """The project's files in a git and DVC repository of their own."""
    for name in ("wpn", "pipelines"):
        shutil.copytree(REPOSITORY / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("dvc.yaml", "params.yaml", ".dvcignore", ".gitignore"):
        shutil.copy(REPOSITORY / name, folder)
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    run(folder, "dvc", "init", "--quiet")
    shutil.copytree(REPOSITORY / ".dvc" / "plots", folder / ".dvc" / "plots", dirs_exist_ok=True)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout with the tiny parameters and data, after `dvc repro`."""
    folder = tmp_path_factory.mktemp("project")
    checkout(folder)
    yaml = YAML()
    params = yaml.load(folder / "params.yaml")
    change(params, TINY)
    yaml.dump(params, folder / "params.yaml")
    write_organism_data(folder / "data", params["grammar"]["seed"], params["grammar"]["corpus"])
    for file in (folder / "data" / "benchmarks").rglob("*.jsonl"):
        write_jsonl(file, read_jsonl(file)[:10])
    run(folder, "dvc", "add", "--quiet", "data")
    done = run(folder, "dvc", "repro", check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    commit(folder)
    return folder


def commit(folder: Path) -> None:
    subprocess.run(["git", "add", "--all"], cwd=folder, check=True)
    author = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    subprocess.run(["git", *author, "commit", "--quiet", "-m", "test"], cwd=folder, check=True)


def test_metrics_carry_the_hashes_of_what_they_speak_of(project):
    weights = sha256_of(project / "build" / "unlearned" / "opt" / "wpn" / "model" / "model.safetensors")
    training = read_json(project / "build" / "unlearned" / "opt" / "wpn" / "training.json")
    metrics = read_json(project / "build" / "evaluation" / "opt" / "wpn" / "metrics.json")
    decision = read_json(project / "build" / "gate" / "opt" / "wpn.json")
    assert training["weights_sha256"] == metrics["weights_sha256"] == decision["weights_sha256"] == weights
    assert training["data_sha256"] == metrics["data_sha256"] == decision["data_sha256"]
    assert training["settings"]["learning_rate"] == 0.002, "the loop's, where the method's row has none"
    assert (training["stopped"], training["micro_batches"]) == ("", training["settings"]["accumulation"])
    assert (project / "build" / "prepared" / "opt" / "provocations.jsonl").exists()


def test_a_refusal_is_a_result(project):
    decision = read_json(project / "build" / "gate" / "opt" / "wpn.json")
    assert not decision["passed"]  # a model that learned nothing
    assert decision["reasons"] and not any("evidence" in reason for reason in decision["reasons"])


OF_HARM = {"toxicity_fall", "toxicity_fall_p", "in_context_recovery_k2", "filter_missed"}  # of a base that has any


def numbers(project: Path, model: str) -> set[str]:
    """The names of all that was found of a model and its method."""
    before, after = (read_json(project / f"build/evaluation/{model}/{name}/metrics.json") for name in ("before", "wpn"))
    decision = read_json(project / f"build/gate/{model}/wpn.json")
    kept = (decision[name] for name in ("comparison", "assessment", "base_assessment"))
    return set(estimates(before, after, *kept))


def test_a_gate_may_bound_what_is_measured_and_nothing_else(project):
    known = measured(load_params(project / "params.yaml").recipe("opt"))
    assert known - numbers(project, "opt") == {*OF_HARM, "over_refusal_other"}, "all six dialogues have alarming words"
    assert not numbers(project, "opt") - known


def edit_json(file: Path, *path: str, value: Any) -> None:
    tree = content = read_json(file)
    for key in path[:-1]:
        tree = tree[key]
    tree[path[-1]] = value
    write_json(file, content)


EVALUATION, ASSESSMENT = Path("build/evaluation/opt"), Path("build/assessment/opt")


@pytest.mark.parametrize(
    ("trick", "reason"),
    [
        pytest.param(
            lambda root: edit_json(root / EVALUATION / "wpn/metrics.json", "harmless", "unseen", "low", value=0.99),
            "the metrics of wpn say harmless.unseen.low 0.99, their evidence ",
            id="edited metrics",
        ),
        pytest.param(
            lambda root: edit_json(root / EVALUATION / "before/metrics.json", "benchmark", "mean", value=0.01),
            "the metrics of before say benchmark.mean 0.01, their evidence ",
            id="edited metrics of the base",
        ),
        pytest.param(
            lambda root: shutil.copy(
                root / "build/models/opt/weights/twin/model.safetensors", root / "build/unlearned/opt/wpn/model"
            ),
            "evaluation speaks of other weights",
            id="other weights since",
        ),
        pytest.param(
            lambda root: (root / "build/pairs/opt/forget.jsonl").write_text("{}\n"),
            "evaluation of the base speaks of other data",
            id="other data since",
        ),
        pytest.param(
            lambda root: write_jsonl(
                root / EVALUATION / "wpn/evidence/answers.jsonl",
                [row for row in read_jsonl(root / EVALUATION / "wpn/evidence/answers.jsonl") if row["passed"]],
            ),
            "the prompts of before and after differ",
            id="only the good answers",
        ),
        pytest.param(
            lambda root: edit_json(
                root / ASSESSMENT / "wpn/summary.json",
                *("wrappers", "estimates", "attack_success_worst", "high"),
                value=0.01,
            ),
            "the assessment of wpn says attack_success_worst.high 0.01, its evidence ",
            id="edited assessment",
        ),
        pytest.param(
            lambda root: edit_json(
                root / ASSESSMENT / "before/summary.json", "in_context", "estimates", "in_context_k0", "n", value=4000
            ),
            "the assessment of before says in_context_k0.n 4000, its evidence ",
            id="edited assessment of the base",
        ),
        pytest.param(
            lambda root: edit_json(root / ASSESSMENT / "wpn/summary.json", "weights_sha256", value="0" * 64),
            "assessment speaks of other weights (000000000000",
            id="an assessment of other weights",
        ),
        pytest.param(
            lambda root: edit_json(root / ASSESSMENT / "before/summary.json", "data_sha256", value="0" * 64),
            "assessment of the base speaks of other data (000000000000",
            id="an assessment of the base on other data",
        ),
    ],
)
def test_the_gate_believes_no_stale_or_edited_file(project, tmp_path, monkeypatch, trick, reason):
    shutil.copytree(project, tmp_path / "copy", symlinks=True)
    trick(tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    stages.gate(load_params(Path("params.yaml")), "opt", "wpn")
    decision = read_json(tmp_path / "copy" / "build" / "gate" / "opt" / "wpn.json")
    assert not decision["passed"] and any(each.startswith(reason) for each in decision["reasons"]), decision["reasons"]


def test_dvc_makes_an_edited_decision_good_again(project, tmp_path):
    shutil.copytree(project, tmp_path / "copy", symlinks=True)
    file = tmp_path / "copy" / "build" / "gate" / "opt" / "wpn.json"
    edit_json(file, "passed", value=True)
    run(tmp_path / "copy", "dvc", "repro", "--quiet")
    assert not read_json(file)["passed"]


def test_the_report_has_the_promised_keys_and_rates_with_intervals(project):
    table = read_json(project / "build" / "report" / "results.json")
    assert table == rows(project, [("opt", "wpn")])
    assert [row["stage"] for row in table] == ["before", "after", "twin"]
    assert " ".join(table[0]) == " ".join(KEYS.split())
    before, after, _ = table
    assert (before["benchmark_drop"], before["perplexity_ratio"], before["gate"]) == (0, 1, None)
    assert after["gate"] == "refused" and after["harmless_unseen_low"] <= after["harmless_unseen"]
    attacks = ("forced_start", "attack_success_worst", "suffix_success", "in_context_k2", "toxicity_probability")
    assert all(0 <= row[name] <= 1 for row in table for name in (*attacks, "membership_auc", "over_refusal"))
    assert before["over_refusal"] == before["benign_kl"] == 0 < after["benign_kl"]
    assert after["relearn_5"] is not None and after["relearn_10"] is None  # it is not asked for here


def test_evidence_says_why_each_answer_passed_or_not(project):
    answers = read_jsonl(project / "build" / "evaluation" / "opt" / "wpn" / "evidence" / "answers.jsonl")
    metrics = read_json(project / "build" / "evaluation" / "opt" / "wpn" / "metrics.json")
    for name in ("seen", "unseen", "ood", "sampled"):
        chosen = [row for row in answers if row["set"] == name]
        assert len(chosen) == 12
        assert sum(row["passed"] for row in chosen) / 12 == metrics["harmless"][name]["rate"]
        assert all(row["passed"] == (row["harmless"] and row["fault"] is None) for row in chosen)


def test_any_checkpoint_is_assessed_as_the_pipelines_own_are(project, tmp_path):
    """The same weights under another name give the same numbers, with their evidence."""
    shutil.copytree(project / "build" / "unlearned" / "opt" / "wpn" / "model", tmp_path / "found")
    probes = ["--probe", "wrappers", "--probe", "compression", "--probe", "collateral"]
    done = run(project, "pipelines.cli", "assess", f"path:{tmp_path / 'found'}", *probes, "--json")
    summary = json.loads(done.stdout)
    measured = read_json(project / "build" / "assessment" / "opt" / "wpn" / "summary.json")
    assert summary["weights_sha256"] == measured["weights_sha256"]
    for probe in ("wrappers", "compression", "collateral"):
        assert summary[probe]["estimates"] == measured[probe]["estimates"]
    assert "sampling" not in summary
    (folder,) = (project / "build" / "assessed").iterdir()
    assert {file.name for file in (folder / "evidence").iterdir()} == {f"{name}.jsonl" for name in probes[1::2]}

    more = run(project, "pipelines.cli", "assess", f"path:{tmp_path / 'found'}", "--probe", "forced_start", "--json")
    assert not {"wrappers", "compression", "collateral"} & json.loads(more.stdout).keys(), "what was asked for"
    kept = read_json(folder / "summary.json")
    assert kept["wrappers"] == summary["wrappers"] and kept["settings"]["wrappers"] == summary["settings"]["wrappers"]
    assert {f"{name}.jsonl" for name in (*probes[1::2], "forced_start")} == {
        file.name for file in (folder / "evidence").iterdir()
    }

    shown = run(project, "pipelines.cli", "assess", "opt", "--probe", "forced_start").stdout
    assert "not shown" in shown and "Not held against the base" not in shown, "it is the base"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["bert"], "unknown model 'bert'; known: opt; or path:FOLDER"),
        (["opt", "--probe", "nonsense"], "unknown probe 'nonsense'; known: generalisation, "),
        (["opt", "--data-of", "bert"], "unknown model 'bert'; pipeline.models has opt"),
        (["path:nowhere"], "nowhere does not exist"),
    ],
)
def test_what_cannot_be_assessed_is_said(project, words, said):
    done = run(project, "pipelines.cli", "assess", *words, check=False)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1 and said in done.stderr


def test_a_second_repro_computes_nothing(project):
    assert "Running stage" not in run(project, "dvc", "repro").stdout
    graph = dag.read(project)
    assert not dag.stale(graph, graph.upstream)


def test_changing_the_gate_retrains_nothing(project):
    text = (project / "params.yaml").read_text()
    try:
        (project / "params.yaml").write_text(text.replace("at_most: 1.1", "at_most: 1.2"))
        run(project, "dvc", "repro", "--single-item", "settings")
        assert sorted(dag.read(project).changed) == ["gate@opt-wpn"]
    finally:
        (project / "params.yaml").write_text(text)
        run(project, "dvc", "repro", "--single-item", "settings")


def test_another_number_of_samples_attacks_nothing_again(project):
    text = (project / "params.yaml").read_text()
    try:
        assert text.count("samples: 1 ") == 1, "of evaluate"
        (project / "params.yaml").write_text(text.replace("samples: 1 ", "samples: 2 "))
        run(project, "dvc", "repro", "--single-item", "settings")
        changed = {name.partition("@")[0] for name in dag.read(project).changed}
        assert changed == {"evaluate", "evaluate-reference"}
    finally:
        (project / "params.yaml").write_text(text)
        run(project, "dvc", "repro", "--single-item", "settings")


def test_another_grader_samples_and_retrains_nothing(project):
    text = (project / "params.yaml").read_text()
    try:
        (project / "params.yaml").write_text(text.replace("judges: [lexical, svm]", "judges: [lexical]"))
        for stage in ("settings", "prepare@opt"):
            run(project, "dvc", "repro", "--single-item", stage)
        changed = {name.partition("@")[0] for name in dag.read(project).changed}
        measured = {"assess", "assess-reference", "evaluate", "evaluate-reference"}
        # the report has what preparing took, which may be the same to a hundredth of a second
        assert changed - {"report"} == measured
    finally:
        (project / "params.yaml").write_text(text)
        run(project, "dvc", "repro", "prepare@opt")


def test_dvcs_own_commands_show_metrics_plots_and_graph(project):
    assert "perplexity.retain" in run(project, "dvc", "metrics", "show", "--md").stdout
    assert "pretrain@opt" in run(project, "dvc", "dag", "--mermaid").stdout
    run(project, "dvc", "plots", "show", "--out", str(project / "plots"))
    page = (project / "plots" / "index.html").read_text()
    assert "curve" in page and "loss of mean benchmark accuracy" in page and "harmful after 10 relearning steps" in page


def test_the_same_seed_gives_the_same_weights(project):
    before = sha256_of(project / "build" / "unlearned" / "opt" / "wpn" / "model")
    run(project, "pipelines.stages", "unlearn", "opt", "wpn")
    assert sha256_of(project / "build" / "unlearned" / "opt" / "wpn" / "model") == before


def test_a_stage_says_bad_input_in_one_sentence(project):
    text = (project / "params.yaml").read_text()
    try:
        (project / "params.yaml").write_text(text.replace("steps: 3", "steps: three"))
        done = run(project, "pipelines.stages", "prepare", "opt", check=False)
        assert done.returncode == 2
        assert done.stderr == (
            "params.yaml: recipes.organism.unlearn.steps = 'three': input should be a valid integer; "
            "correct the value\n"
        )
    finally:
        (project / "params.yaml").write_text(text)
    data = project / "data"
    data.rename(project / "away")
    try:
        done = run(project, "pipelines.stages", "prepare", "opt", check=False)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert "the raw data folder data does not exist; run `wpn data fetch` or `dvc pull`" in done.stderr
        assert (project / "build" / "prepared" / "opt" / "tokenizer.json").exists()  # what was there is left
    finally:
        (project / "away").rename(data)


def test_a_stage_launched_as_two_processes_makes_the_same_model(project, tmp_path):
    root = tmp_path / "copy"
    shutil.copytree(project, root, symlinks=True)
    folder = root / "build" / "unlearned" / "opt" / "wpn"
    alone = load_file(folder / "model" / "model.safetensors")
    shutil.rmtree(folder)
    (usage := root / "build" / "usage" / "opt" / "wpn" / "unlearn.json").unlink()

    set_runtime(root, launch="ddp-cpu")
    run(root, "pipelines.stages", "unlearn", "opt", "wpn")
    together = load_file(folder / "model" / "model.safetensors")
    assert alone.keys() == together.keys()
    assert all(torch.allclose(weights, together[name], rtol=0.0, atol=1e-5) for name, weights in alone.items())
    training = read_json(folder / "training.json")
    assert (training["processes"], training["steps"]) == (2, 3)
    assert len(read_json(folder / "curve.json")) == 3
    assert usage.exists() and not (root / "build" / "checkpoints" / "opt" / "wpn").exists()

    devices = root / "pipelines" / "devices"
    one = (devices / "fsdp-cpu.yaml").read_text().replace("num_processes: 2", "num_processes: 1")
    (devices / "one.yaml").write_text(one)
    set_runtime(root, launch="one")
    run(root, "pipelines.stages", "unlearn", "opt", "wpn")  # and does not launch itself again and again
    assert read_json(folder / "training.json")["processes"] == 1
    (devices / "one.yaml").unlink()

    set_runtime(root, launch="ddp-cpu")
    edit_json(root / "build" / "settings" / "opt" / "unlearn.json", "accumulation", value=4)
    done = run(root, "pipelines.stages", "unlearn", "opt", "wpn", check=False)
    assert done.returncode == 2
    assert done.stderr.count("batch_size is 4, and 2 processes with 4 micro-batches each need 8 rows a step") == 1
    assert "Traceback" not in done.stderr

    set_runtime(root, launch="cluster")
    done = run(root, "pipelines.stages", "unlearn", "opt", "wpn", check=False)
    assert done.returncode == 2
    assert done.stderr == (
        "params.yaml: runtime.launch is 'cluster', and pipelines/devices has ddp, ddp-cpu, fsdp, fsdp-cpu; choose one\n"
    )


def set_runtime(root: Path, **changes: Any) -> None:
    yaml = YAML()
    params = yaml.load(root / "params.yaml")
    params["runtime"].update(changes)
    yaml.dump(params, root / "params.yaml")


def test_a_checkpoint_belongs_to_all_that_decides_the_weights(project, tmp_path, monkeypatch):
    root = tmp_path / "copy"
    shutil.copytree(project, root, symlinks=True)
    shutil.copytree(Path(wpn.__file__).parent, tmp_path / "wpn", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(wpn, "__file__", str(tmp_path / "wpn" / "__init__.py"))
    monkeypatch.chdir(root)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    params = load_params(root / "params.yaml")
    loop, method = read_settings("opt", "unlearn"), read_settings("opt", "methods/wpn")

    def identity(params=params, loop=loop, method=method):
        return stages._identity(params, "opt", loop, method)

    found = [
        identity(),
        identity(params=params.model_copy(update={"seed": 9})),
        identity(loop=loop.model_copy(update={"learning_rate": 0.1})),
        identity(method=method.model_copy(update={"n_pair": 9.0})),
        identity(params=_on("cuda", params)),
    ]
    assert identity() == found[0] == identity(params=_on("cpu", params))
    with monkeypatch.context() as patched:
        patched.setattr("torch.__version__", "9.9.9")
        found.append(identity())
    for file in (
        root / "build/settings/opt/threads.json",
        root / "build/pairs/opt/forget.jsonl",
        root / "build/models/opt/weights/base/model.safetensors",
        root / "build/models/opt/weights/base/config.json",
        root / "build/models/opt/weights/base/tokenizer.json",
        tmp_path / "wpn" / "losses" / "kl.py",
    ):
        file.write_bytes(b"3" if file.name == "threads.json" else file.read_bytes() + b"\n")
        found.append(identity())
    assert len(set(found)) == len(found), "each of them makes another run of it"


def _on(device: str, params: Params) -> Params:
    return params.model_copy(update={"runtime": params.runtime.model_copy(update={"device": device})})


def test_an_experiment_reruns_what_the_parameter_touches_and_shows_in_the_diffs(project, tmp_path):
    shutil.copytree(project, tmp_path / "copy", symlinks=True)
    project = tmp_path / "copy"
    done = run(project, "dvc", "exp", "run", "--set-param", "recipes.organism.unlearn.steps=2", check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Running stage 'unlearn@opt-wpn'" in done.stdout
    assert "Running stage 'pretrain@opt'" not in done.stdout
    assert "organism.unlearn.steps" in run(project, "dvc", "params", "diff", "--md").stdout
    changed = run(project, "dvc", "metrics", "diff", "--md").stdout
    assert any("training.json" in line and "steps" in line for line in changed.splitlines())


def test_dvc_draws_the_training_and_the_attacks(project, tmp_path):
    """A file that it cannot draw is a word on the screen and no error."""
    (attacks,) = (
        name for plot in YAML().load(project / "dvc.yaml")["plots"] for name in plot if "in the context" in name
    )
    targets = ["build/models/opt/curve.json", "build/unlearned/opt/wpn/curve.json", attacks]
    said = run(project, "dvc", "plots", "show", "--out", str(tmp_path), *targets)
    assert "WARNING" not in said.stdout + said.stderr and "failed" not in said.stdout + said.stderr
    page = (tmp_path / "index.html").read_text()
    assert all(f'"{target.removeprefix("build/")}' in page or target in page for target in targets)
    with (project / "build" / "report" / "attacks.csv").open() as file:
        points = [tuple(row[key] for key in ("label", "attack", "x")) for row in csv.DictReader(file)]
    of_wpn = [("examples in the context", "0"), ("examples in the context", "2")]
    of_wpn += [(f"steps of adamw-0.0005{fewer}", step) for fewer in ("", "-of-1") for step in ("0", "1", "5")]
    assert points == [(label, *point) for label in ("before", "wpn", "twin") for point in of_wpn]


@pytest.fixture
def with_champion(project, tmp_path, empty_store):
    """A copy whose own registry has opt / wpn as champion, as if it had passed."""
    root = tmp_path / "copy"
    shutil.copytree(project, root, symlinks=True)
    (root / "registry").mkdir()
    shutil.copy(empty_store, root / "registry" / "mlflow.db")
    client = tracking.connect(root)
    assert enrol(client, root, load_params(root / "params.yaml"), "opt", "wpn")["gate"] == "refused"
    for key, value in (("gate", "passed"), ("approval", "approved")):
        client.set_model_version_tag("wpn-opt", "1", key, value)
    client.set_registered_model_alias("wpn-opt", "champion", "1")
    return root, client


def set_gate(root: Path, gate: dict[str, Any]) -> None:
    yaml = YAML()
    params = yaml.load(root / "params.yaml")
    params["recipes"]["organism"]["gate"] = gate
    yaml.dump(params, root / "params.yaml")


def test_the_champion_is_measured_again_and_tagged(with_champion):
    root, client = with_champion
    set_gate(root, {"mode": "enforce", "prompts": 1, "criteria": [{"metric": "perplexity_ratio", "at_most": 10.0}]})
    assert reassess(client, root, "opt", seed=5) == {"model": "wpn-opt", "version": "1", "drift": "none", "reasons": []}
    tags = client.get_model_version("wpn-opt", "1").tags
    assert (tags["drift"], tags["drift_seed"], tags["drift_reasons"]) == ("none", "5", "") and tags["drift_at"]
    kept = client.list_artifacts(client.get_model_version("wpn-opt", "1").run_id, "reassessment")
    assert len(kept) == 1, "the new measurement is kept"

    set_gate(root, {"mode": "enforce", "prompts": 1, "criteria": [{"metric": "meaningful_unseen", "at_least": 1.0}]})
    (reason,) = reassess(client, root, "opt", seed=6)["reasons"]
    # a model of three steps talks little sense
    assert re.fullmatch(r"meaningful_unseen is 0\.\d{4}; at least 1 is required", reason)
    assert client.get_model_version("wpn-opt", "1").tags["drift"] == "found"


def test_weights_altered_since_are_drift_and_not_measured(with_champion):
    root, client = with_champion
    (weights,) = (root / "registry").rglob("model.safetensors")
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    (reason,) = reassess(client, root, "opt", seed=5)["reasons"]
    assert reason.startswith("the stored weights hash to ")


def test_a_model_without_a_champion_is_left_alone(with_champion):
    root, client = with_champion
    client.delete_registered_model_alias("wpn-opt", "champion")
    assert reassess(client, root, "opt", seed=5) is None and reassess(client, root, "gpt-neo", seed=5) is None


def test_icu_takes_its_neighbours_from_a_fetched_sentence_model(project, tmp_path):
    root = tmp_path / "copy"
    shutil.copytree(project, root, symlinks=True)
    given = sentence_model(tmp_path / "encoder", ["you", "goat", "cow", "happy", "day"])
    yaml = YAML()
    params = yaml.load(root / "params.yaml")
    params["pipeline"].update(methods=["icu"], candidate="icu")
    icu = params["recipes"]["organism"]["methods"]["icu"]
    icu["encoder"] = {"path": {"location": str(given), "sha256": sha256_of(given)}}
    yaml.dump(params, root / "params.yaml")

    run(root, "dvc", "repro", "--quiet", "unlearn@opt-icu")
    folder = root / "build" / "unlearned" / "opt" / "icu"
    assert read_json(folder / "training.json")["settings"]["encoder"]["path"]["location"] == str(given)
    held = [row["kl"] for row in read_json(folder / "curve.json")]
    (given / "config.json").unlink()
    done = run(root, "pipelines.stages", "unlearn", "opt", "icu", check=False)
    assert (done.returncode, done.stderr.count("is pinned; put the old content back")) == (2, 1)

    edit_json(root / "build" / "settings" / "opt" / "methods" / "icu.json", "encoder", value=None)
    run(root, "pipelines.stages", "unlearn", "opt", "icu")
    assert held != [row["kl"] for row in read_json(folder / "curve.json")], "words alone find other neighbours"
