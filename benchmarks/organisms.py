"""The result table and the ablation: `wpn run`, seed by seed, in a clean checkout, with its time and memory.

python -m benchmarks.organisms --seeds 101 102 103              # test split -> results/organisms.json
python -m benchmarks.organisms --seeds 101 102 103 --ablation   # dev split  -> results/ablation.json

The first also writes results/assessment-organisms.json: every number of every probe, with its interval.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.measure import measure
from benchmarks.provenance import ROOT, checkout, provenance
from wpn.estimates import estimates, flatten
from wpn.files import read_json, write_json

# what is changed of the method `wpn`, one thing at a time; and `sft` with what `wpn` has beside its loss
VARIANTS: dict[str, dict[str, Any]] = {
    "wpn-uniform": {"position_weights": "uniform"},
    "wpn-reversed": {"position_weights": "reversed"},
    "wpn-reference": {"reference": True},
    "wpn-hidden": {"reading": "hidden", "temperature": 0.1, "n_pair": 1.0},
    "wpn-own-negative": {"in_batch_negatives": 0},
    "wpn-no-cross-entropy": {"cross_entropy": 0.0},
    "wpn-no-kl": {"kl": 0.0},
    "wpn-unaware": {"relearning_aware": None},
}


def main() -> None:
    """Run every seed and write the rows of `wpn results --json`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", required=True)
    parser.add_argument("--ablation", action="store_true")
    chosen = parser.parse_args()
    name = "ablation" if chosen.ablation else "organisms"
    found: dict[str, Any] = {**provenance(chosen.seeds), "seeds": [], "runs": [], "rows": []}
    assessed: dict[str, Any] = {**provenance(chosen.seeds), "seeds": [], "rows": []}
    with checkout() as folder:
        for seed in chosen.seeds:
            if chosen.ablation:
                change_params(folder / "params.yaml", seed, "dev", ["wpn", *VARIANTS, "sft", "sft-aware"])
            else:
                change_params(folder / "params.yaml", seed)
            found["runs"].append({"seed": seed, **measure(folder, "pipelines.cli", "run")})
            rows = read_json(folder / "build" / "report" / "results.json")
            found["rows"] += rows
            found["seeds"].append(seed)
            write_json(ROOT / "results" / f"{name}.json", found)
            if not chosen.ablation:
                assessed["rows"] += assessments(folder, rows)
                assessed["seeds"].append(seed)
                write_json(ROOT / "results" / "assessment-organisms.json", assessed)
        found["second_run"] = measure(folder, "pipelines.cli", "run")
    write_json(ROOT / "results" / f"{name}.json", found)


def assessments(folder: Path, rows: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Every number of every probe, and the seconds of all, of what a run's rows speak of."""
    for row in rows:
        place = folder / "build" / "assessment" / row["model"]
        base, own = (read_json(place / stage / "summary.json") for stage in ("before", row["method"] or row["stage"]))
        named = {key: row[key] for key in ("model", "method", "stage", "seed")}
        yield {**named, **flatten(estimates({}, {}, None, own, base)), "seconds": own["seconds"]}


def change_params(path: Path, seed: int, split: str = "test", methods: Sequence[str] = ()) -> None:
    """Set the seed, the split of the organisms' evaluation, and the methods (none: as they are)."""
    from ruamel.yaml import YAML

    yaml = YAML()
    params = yaml.load(path)
    params["seed"] = seed
    recipe = params["recipes"]["organism"]
    recipe["evaluate"]["split"] = split
    for name in methods:
        if name in VARIANTS:
            recipe["methods"][name] = {**recipe["methods"]["wpn"], **VARIANTS[name]}
    aware = recipe["methods"]["wpn"]["relearning_aware"]
    recipe["methods"]["sft-aware"] = {**recipe["methods"]["sft"], "relearning_aware": aware}
    if methods:
        params["pipeline"]["methods"] = list(methods)
    yaml.dump(params, path)


if __name__ == "__main__":
    main()
