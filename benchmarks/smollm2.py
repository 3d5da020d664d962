"""The figures of SmolLM2-135M: `wpn run`, seed by seed, in a clean checkout, with its time and memory.

python -m benchmarks.smollm2 --seeds 201 202 203 --text wikitext=path:FOLDER --benchmarks path:FOLDER
python -m benchmarks.smollm2 --whole --seeds ...    # all test prompts, every item: for a GPU

The model, the prompts and the judges come from wheels; WikiText-2 and the nine benchmarks' items from folders.
Writes results/smollm2-135m.json (or smollm2-135m-whole.json), seed by seed: the rows of `wpn results --json`, and as
`assessments` every number of every probe with its interval, and the seconds of all. Started again, it runs the seeds
that are not in the file yet, if nothing that a result depends on has changed since.
"""

import argparse
from pathlib import Path

from benchmarks.measure import measure
from benchmarks.organisms import assessments, change_params
from benchmarks.provenance import ROOT, begun, checkout, run
from pipelines import report
from wpn.files import write_json

MODEL = "smollm2-135m"
EVERY = 1_000_000  # more prompts than any data set has


def main() -> None:
    """Run every seed and write the rows of `wpn results --json`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", required=True)
    parser.add_argument("--text", required=True)
    parser.add_argument("--benchmarks", required=True)
    parser.add_argument("--whole", action="store_true")
    chosen = parser.parse_args()
    results = ROOT / "results" / (f"{MODEL}-whole.json" if chosen.whole else f"{MODEL}.json")
    found = begun(results, chosen.seeds)
    with checkout() as folder:
        for seed in sorted(set(chosen.seeds) - set(found["seeds"])):
            change_params(folder / "params.yaml", seed)
            if chosen.whole:
                enlarge(folder / "params.yaml")
            options = ["--text", _absolute(chosen.text), "--benchmarks", _absolute(chosen.benchmarks)]
            found["runs"].append({"seed": seed, **measure(folder, "pipelines.cli", "run", "--model", MODEL, *options)})
            rows = report.rows(folder, [(MODEL, "wpn"), (MODEL, "sft")])
            found["rows"] += rows
            found.setdefault("assessments", []).extend(assessments(folder, rows))
            found["seeds"].append(seed)
            write_json(results, found)


def enlarge(path: Path) -> None:
    """Let params.yaml measure real models on all that there is, not on the quick sizes."""
    from ruamel.yaml import YAML

    yaml = YAML()
    params = yaml.load(path)
    params["recipes"]["real"]["evaluate"] |= {"prompts": EVERY, "benchmark_items": None}
    yaml.dump(params, path)


def _absolute(source: str) -> str:
    """The same place seen from the checkout."""
    kind, _, place = source.rpartition("path:")
    return f"{kind}path:{Path(place).resolve()}"


if __name__ == "__main__":
    run(main)
