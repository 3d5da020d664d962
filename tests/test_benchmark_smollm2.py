"""What the benchmark of SmolLM2 changes of params.yaml to measure all that there is."""

import shutil

from benchmarks.provenance import ROOT
from benchmarks.smollm2 import enlarge
from wpn.config.loading import load_params


def test_a_whole_run_changes_only_the_size_of_what_is_measured(tmp_path):
    path = tmp_path / "params.yaml"
    shutil.copy(ROOT / "params.yaml", path)
    enlarge(path)
    original, params = load_params(ROOT / "params.yaml"), load_params(path)
    before, after = original.recipes["real"].evaluate, params.recipes["real"].evaluate
    assert after.benchmark_items is None and after.prompts > 100_000
    sizes = {"benchmark_items": before.benchmark_items, "prompts": before.prompts}
    assert after.model_copy(update=sizes) == before
    assert params.recipes["organism"] == original.recipes["organism"]
