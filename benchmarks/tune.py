"""The same search for every method, of the organisms: what `wpn compare --trials` does before it compares.

python -m benchmarks.tune --seed 13 --trials 8

Every method gets as many trials, steps and examples, and of a trial the mean score of the organisms counts; the first
trial is its row in params.yaml. What is reported elsewhere comes of other seeds and the test split. Writes
results/tuning.json, method by method: every trial, and the best of each method. Started again with the same words, it
goes on with the methods that are missing, if nothing that a result depends on has changed.
"""

import argparse
from functools import partial
from itertools import groupby
from operator import itemgetter

from benchmarks.organisms import change_params
from benchmarks.provenance import ROOT, checkout, code, continued, provenance, run
from pipelines.search import search, trials_of
from pipelines.tracking import git_state
from wpn.config.loading import load_params
from wpn.files import write_json
from wpn.search import best

FILE = ROOT / "results" / "tuning.json"


def main() -> None:
    """Search, and write all trials of a method when they are done."""
    original = load_params(ROOT / "params.yaml")
    known = original.recipes["organism"].search
    organisms = [name for name, row in original.models.items() if row.recipe == "organism"]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=organisms, default=organisms)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--methods", nargs="+", choices=known, default=list(known))
    chosen = parser.parse_args()
    described = {**provenance([chosen.seed]), "code": code(), "models": chosen.models, "trials": []}
    found = continued(FILE, command=described["command"]) or described
    trials = found["trials"]
    missing = [method for method in chosen.methods if method not in {row["method"] for row in trials}]
    if not missing:
        return
    with checkout() as folder:
        change_params(folder / "params.yaml", chosen.seed)
        commit, _ = git_state(folder)
        params = load_params(folder / "params.yaml")
        tried = {method: trials_of(params, "organism", method, chosen.trials) for method in missing}
        rows = search(folder, commit, chosen.models, tried, partial(print, flush=True))
        for _, of_method in groupby(rows, key=itemgetter("method")):
            trials += of_method
            write_json(FILE, {**found, "best": best(trials), "trials": trials})


if __name__ == "__main__":
    run(main)
