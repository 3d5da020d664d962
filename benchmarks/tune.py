"""The same search for every method, of the organisms: what `wpn compare --trials` does before it compares.

python -m benchmarks.tune --seed 13 --trials 8

Every method gets as many trials, steps and examples, and of a trial the mean score of the organisms counts; the first
trial is its row in params.yaml. What is reported elsewhere comes of other seeds and the test split. Writes
results/tuning.json: every trial, and the best of each method.
"""

import argparse
from functools import partial

from benchmarks.organisms import change_params
from benchmarks.provenance import ROOT, checkout, provenance, run
from pipelines.search import search, trials_of
from pipelines.tracking import git_state
from wpn.config.loading import load_params
from wpn.files import write_json
from wpn.search import best


def main() -> None:
    """Search, and write all trials."""
    original = load_params(ROOT / "params.yaml")
    known = original.recipes["organism"].search
    organisms = [name for name, row in original.models.items() if row.recipe == "organism"]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=organisms, default=organisms)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--methods", nargs="+", choices=known, default=list(known))
    chosen = parser.parse_args()
    described = provenance([chosen.seed])
    with checkout() as folder:
        change_params(folder / "params.yaml", chosen.seed)
        commit, _ = git_state(folder)
        params = load_params(folder / "params.yaml")
        tried = {method: trials_of(params, "organism", method, chosen.trials) for method in chosen.methods}
        trials = list(search(folder, commit, chosen.models, tried, partial(print, flush=True)))
    found = {**described, "models": chosen.models, "best": best(trials), "trials": trials}
    write_json(ROOT / "results" / "tuning.json", found)


if __name__ == "__main__":
    run(main)
