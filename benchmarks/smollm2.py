"""The figures of SmolLM2-135M: `wpn run`, seed by seed, in a clean checkout, with its time and memory.

python -m benchmarks.smollm2 --seeds 201 202 203 --text wikitext=path:FOLDER --benchmarks path:FOLDER

The model, the prompts and the judges come from wheels; WikiText-2 and the nine benchmarks' items from folders.
Writes results/smollm2-135m.json, seed by seed. Started again, it runs the seeds that are not in the file yet, if
nothing that a result depends on has changed since.
"""

import argparse
from pathlib import Path
from typing import Any

from benchmarks.measure import measure
from benchmarks.organisms import change_params
from benchmarks.provenance import ROOT, checkout, code, provenance
from pipelines import report
from wpn.files import read_json, write_json

MODEL = "smollm2-135m"
RESULTS = ROOT / "results" / f"{MODEL}.json"


def main() -> None:
    """Run every seed and write the rows of `wpn results --json`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", required=True)
    parser.add_argument("--text", required=True)
    parser.add_argument("--benchmarks", required=True)
    chosen = parser.parse_args()
    found = _kept() or {**provenance(chosen.seeds), "code": code(), "seeds": [], "runs": [], "rows": []}
    with checkout() as folder:
        for seed in sorted(set(chosen.seeds) - set(found["seeds"])):
            change_params(folder / "params.yaml", seed)
            options = ["--text", _absolute(chosen.text), "--benchmarks", _absolute(chosen.benchmarks)]
            found["runs"].append({"seed": seed, **measure(folder, "pipelines.cli", "run", "--model", MODEL, *options)})
            found["rows"] += report.rows(folder, [(MODEL, "wpn"), (MODEL, "sft")])
            found["seeds"].append(seed)
            write_json(RESULTS, found)


def _kept() -> dict[str, Any] | None:
    """What the file has, if it was measured with the code of today."""
    found: dict[str, Any] = read_json(RESULTS) if RESULTS.exists() else {}
    return found if found.get("code") == code() else None


def _absolute(source: str) -> str:
    """The same place seen from the checkout."""
    kind, _, place = source.rpartition("path:")
    return f"{kind}path:{Path(place).resolve()}"


if __name__ == "__main__":
    main()
