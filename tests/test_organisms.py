"""What the benchmark of the organisms changes of params.yaml, and what it adds to the rows."""

import shutil

import pytest
from ruamel.yaml import YAML

from benchmarks.organisms import MATCHED, OPTIONS, VARIANTS, change_params, changes, with_cost
from benchmarks.provenance import ROOT
from wpn.config.loading import load_params
from wpn.files import read_json, write_json

ORIGINAL = load_params(ROOT / "params.yaml")


def changed(tmp_path, change):
    path = tmp_path / "params.yaml"
    shutil.copy(ROOT / "params.yaml", path)
    shutil.copytree(ROOT / "results", tmp_path / "results", dirs_exist_ok=True)
    change_params(path, 7, change)
    return load_params(path)


def test_a_plain_run_changes_the_seed_and_adds_a_method_that_does_not_run(tmp_path):
    (change,) = changes("organisms")
    params = changed(tmp_path, change)
    assert (params.seed, params.pipeline) == (7, ORIGINAL.pipeline)
    recipe, original = params.recipes["organism"], ORIGINAL.recipes["organism"]
    assert (recipe.pairs, recipe.evaluate, recipe.unlearn) == (original.pairs, original.evaluate, original.unlearn)
    assert {name: row for name, row in recipe.methods.items() if name != "sft-aware"} == original.methods


def test_all_methods_run_and_sft_also_with_what_wpn_foresees(tmp_path):
    (change,) = changes("methods-organisms")
    params = changed(tmp_path, change)
    methods = params.recipes["organism"].methods
    rows = ORIGINAL.recipes["organism"].methods
    assert params.pipeline.methods == [*rows, "sft-aware", "wpn-tuned", "sft-tuned"]
    assert all(methods[f"{name}-tuned"] != methods[name] for name in MATCHED), "else it would be measured twice"
    assert methods["sft-aware"].relearning_aware == methods["wpn"].relearning_aware is not None
    assert params.recipes["organism"].evaluate.split == "test"


@pytest.mark.parametrize("name", ORIGINAL.recipes["organism"].methods)
def test_the_rows_are_what_the_search_found_but_for_the_two_that_are_matched(tmp_path, name):
    (change,) = changes("methods-organisms")
    rows = changed(tmp_path, change).recipes["organism"].methods
    best = read_json(ROOT / "results" / "tuning.json")["best"][name]["settings"]
    found = {key: best[key] for key in ORIGINAL.recipes["organism"].search[name]}
    row = rows.get(f"{name}-tuned", rows[name])
    assert row == row.model_copy(update=found)
    assert (rows["wpn"].cross_entropy, rows["wpn"].kl) == (rows["sft"].cross_entropy, rows["sft"].kl)


def test_the_ablation_changes_one_thing_of_wpn_at_a_time(tmp_path):
    change, without = changes("ablation")
    params = changed(tmp_path, change)
    methods = params.recipes["organism"].methods
    for name, difference in VARIANTS.items():
        if not name.startswith("wpn-aware-"):
            assert methods[name] == methods["wpn"].model_copy(update=difference) != methods["wpn"]
    aware = methods["wpn"].relearning_aware
    foreseen = {
        "wpn-aware-12": {"steps": 12},
        "wpn-aware-late": {"begin": 0.3},
        "wpn-aware-slow": {"learning_rate": 5e-4},
        "wpn-aware-range": {"learning_rate": 5e-4, "highest_rate": 3e-3},
    }
    assert foreseen.keys() == {name for name in VARIANTS if name.startswith("wpn-aware-")}
    for name, difference in foreseen.items():
        other = {"relearning_aware": aware.model_copy(update=difference)}
        assert methods[name] == methods["wpn"].model_copy(update=other) != methods["wpn"]
    assert params.recipes["organism"].evaluate.split == "dev"
    plain = changed(tmp_path, without)
    assert plain.pipeline.methods == ["wpn", "sft", "sft-aware"] and plain.recipes["organism"].unlearn.forced_start == 0
    assert ORIGINAL.recipes["organism"].unlearn.forced_start > 0


@pytest.mark.parametrize("number", range(len(OPTIONS)))
def test_the_shares_of_what_is_trained_on(tmp_path, number):
    change = changes("options")[number]
    params = changed(tmp_path, change)
    recipe = params.recipes["organism"]
    assert (recipe.pairs.mistyped, recipe.unlearn.near_share) == OPTIONS[number] == tuple(change.shares.values())
    assert params.pipeline.methods == ["wpn"]


def test_memory_steps_and_tokens_stand_in_the_rows_of_methods(tmp_path):
    used = [
        {"model": "opt", "method": "wpn", "stage": "unlearn", "peak_memory_mb": 700, "tokens": 31},
        {"model": "opt", "method": "wpn", "stage": "evaluate", "peak_memory_mb": 900, "tokens": 45},
        {"model": "opt", "method": None, "stage": "pretrain", "peak_memory_mb": 800, "tokens": 77},
    ]
    write_json(tmp_path / "build" / "report" / "usage.json", used)
    rows = [{"model": "opt", "method": method} for method in (None, "wpn")]
    write_json(tmp_path / "build" / "unlearned" / "opt" / "wpn" / "training.json", {"steps": 120, "tokens": 9})
    found = [(row["peak_memory_mb"], row["steps"], row["tokens"]) for row in with_cost(tmp_path, rows)]
    # training.json counts the rows that the method read: 9 of the 31 positions that were computed for them
    assert found == [(None, None, None), (700, 120, 31)]


def test_the_plots_of_results_find_their_columns():
    graph = YAML().load(ROOT / "dvc.yaml")
    fields = [
        (file, column)
        for plots in graph["plots"]
        for plot in plots.values()
        for axis in ("x", "y")
        for file, column in plot[axis].items()
        if file.startswith("results/")
    ]
    assert fields
    for file, column in fields:
        lists = [rows for rows in read_json(ROOT / file).values() if isinstance(rows, list)]
        first = next(rows for rows in lists if all(isinstance(row, dict) for row in rows))  # what dvc plots takes
        assert all({column, "model", "method", "stage"} <= row.keys() for row in first)
