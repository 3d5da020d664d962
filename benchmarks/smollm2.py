"""The figures of SmolLM2-135M: `wpn run`, seed by seed, in a clean checkout, with its time and memory.

python -m benchmarks.smollm2 --seeds 201 202 203 --text wikitext=path:FOLDER --benchmarks path:FOLDER

The model, the prompts and the judges come from wheels; WikiText-2 and the nine benchmarks' items from folders.
Writes results/smollm2-135m.json, seed by seed, so that an interrupted run keeps what it has.
"""

import argparse
from pathlib import Path

from benchmarks.measure import measure
from benchmarks.organisms import change_params
from benchmarks.provenance import ROOT, checkout, provenance
from pipelines import report
from wpn.files import write_json

MODEL = "smollm2-135m"


def main() -> None:
    """Run every seed and write the rows of `wpn results --json`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", required=True)
    parser.add_argument("--text", required=True)
    parser.add_argument("--benchmarks", required=True)
    chosen = parser.parse_args()
    described = provenance(chosen.seeds)
    rows, runs = [], []
    with checkout() as folder:
        for seed in chosen.seeds:
            change_params(folder / "params.yaml", seed, ablation=False)
            options = ["--text", _absolute(chosen.text), "--benchmarks", _absolute(chosen.benchmarks)]
            runs.append({"seed": seed, **measure(folder, "pipelines.cli", "run", "--model", MODEL, *options)})
            rows += report.rows(folder, [(MODEL, "wpn"), (MODEL, "sft")])
            write_json(ROOT / "results" / f"{MODEL}.json", {**described, "runs": runs, "rows": rows})


def _absolute(source: str) -> str:
    """The same place seen from the checkout."""
    kind, _, place = source.rpartition("path:")
    return f"{kind}path:{Path(place).resolve()}"


if __name__ == "__main__":
    main()
