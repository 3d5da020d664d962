"""The result table and the ablation: `wpn run`, seed by seed, in a clean checkout, with its time and memory.

python -m benchmarks.organisms --seeds 101 102 103              # test split -> results/organisms.json
python -m benchmarks.organisms --seeds 101 102 103 --methods    # every method -> results/methods-organisms.json
python -m benchmarks.organisms --seeds 101 102 103 --options    # dev split -> results/options.json: shares of data
python -m benchmarks.organisms --seeds 101 102 103 --ablation   # dev split -> results/ablation.json

The first also writes results/assessment-organisms.json: every number of every probe, with its interval. All are written
seed by seed. Started again, a run goes on with the seeds that are missing, if nothing that a result depends on has
changed.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from benchmarks.measure import measure
from benchmarks.provenance import ROOT, begun, checkout, run
from pipelines.stages import attack_rows
from wpn.compare import compare_recovery
from wpn.config.loading import load_params
from wpn.config.methods import Method
from wpn.estimates import estimates, flatten, sizes
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
    "wpn-no-retain": {"retain": 0.0},
    "wpn-unaware": {"relearning_aware": None},
    "wpn-aware-12": {"relearning_aware.steps": 12},
    "wpn-aware-late": {"relearning_aware.begin": 0.3},
    "wpn-aware-slow": {"relearning_aware.learning_rate": 5e-4},
    "wpn-aware-range": {"relearning_aware.learning_rate": 5e-4, "relearning_aware.highest_rate": 3e-3},
    "wpn-slow": {"learning_rate": 2e-3},
}
MATCHED = ("wpn", "sft")  # share their settings, so that one shows the other's N-pair term; NAME-tuned do not
PLAIN, ASSESSED = "organisms", "assessment-organisms"  # a plain run writes both
# where a share stands in the recipe: of mistyped prompts, of texts like the prompts, of contexts that begin harmfully
SHARES = {"mistyped": ("pairs", "mistyped"), "near": ("unlearn", "near_share"), "forced": ("unlearn", "forced_start")}
OPTIONS = ((0.0, 0.0), (0.15, 0.0), (0.0, 0.25), (0.15, 0.25))  # mistyped and near


@dataclass(frozen=True)
class Change:
    """What a run changes of params.yaml.

    Attributes:
        methods: none are those of params.yaml.
        shares: by the names of SHARES; its rows say them beside model, method and seed.
    """

    split: str = "test"
    methods: tuple[str, ...] = ()
    shares: Mapping[str, float] = field(default_factory=dict)


def changes(name: str) -> list[Change]:
    """The runs of one seed for results/NAME.json."""
    if name == "ablation":
        # that some contexts hold a harmful start is of the loop, not of a method
        without = Change("dev", (*MATCHED, "sft-aware"), {"forced": 0.0})
        return [Change("dev", ("wpn", *VARIANTS, "sft", "sft-aware")), without]
    if name == "methods-organisms":
        rows = load_params(ROOT / "params.yaml").recipes["organism"].methods
        best = read_json(ROOT / "results" / "tuning.json")["best"]
        found = {name: TypeAdapter(Method).validate_python(best[name]["settings"]) for name in MATCHED}
        tuned = [f"{name}-tuned" for name in MATCHED if found[name] != rows[name]]
        return [Change(methods=(*rows, "sft-aware", *tuned))]
    if name == "options":
        return [Change("dev", ("wpn",), {"mistyped": mistyped, "near": near}) for mistyped, near in OPTIONS]
    return [Change()]


def main() -> None:
    """Run every seed and write the rows of `wpn results --json`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", required=True)
    kinds = parser.add_mutually_exclusive_group()
    for flag, name in (("--methods", "methods-organisms"), ("--options", "options"), ("--ablation", "ablation")):
        kinds.add_argument(flag, dest="name", action="store_const", const=name, default=PLAIN)
    chosen = parser.parse_args()
    runs, results = changes(chosen.name), ROOT / "results"
    files = {name: results / f"{name}.json" for name in (chosen.name, ASSESSED)}
    found, assessed = (begun(file, chosen.seeds) for file in files.values())
    missing = [seed for seed in chosen.seeds if seed not in found["seeds"]]
    with checkout() as folder:
        for seed in missing:
            for change in runs:
                change_params(folder / "params.yaml", seed, change)
                found["runs"].append({"seed": seed, **change.shares, **measure(folder, "pipelines.cli", "run")})
                rows = read_json(folder / "build" / "report" / "results.json")
                fresh = [row for row in with_cost(folder, rows) if row["method"] or change is runs[0]]
                found["rows"] += [{**row, **change.shares} for row in fresh]
            found["seeds"].append(seed)
            write_json(files[chosen.name], found)
            if chosen.name == PLAIN:
                assessed["rows"] += assessments(folder, rows)
                assessed["seeds"].append(seed)
                write_json(files[ASSESSED], assessed)
        if chosen.name == PLAIN and missing:
            found["second_run"] = measure(folder, "pipelines.cli", "run")
            write_json(files[PLAIN], found)


def with_cost(folder: Path, rows: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """The rows of a run, those of methods with `peak_memory_mb`, `steps` and `tokens` of the stage that unlearned.

    `steps` are training.json's; the others are of the whole stage (pipelines/usage.py), and `tokens` are every position
    that the model and its copies computed, padding too.
    """
    used = read_json(folder / "build" / "report" / "usage.json")
    stages = {(row["model"], row["method"]): row for row in used if row["stage"] == "unlearn"}
    for row in rows:
        taken = stages.get((row["model"], row["method"]), {})
        file = folder / "build" / "unlearned" / row["model"] / str(row["method"]) / "training.json"
        steps = read_json(file)["steps"] if row["method"] else None
        yield {**row, "peak_memory_mb": taken.get("peak_memory_mb"), "steps": steps, "tokens": taken.get("tokens")}


def assessments(folder: Path, rows: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Every number of every probe, and the seconds of all, of what a run's rows speak of."""
    for row in rows:
        place = folder / "build" / "assessment" / row["model"]
        folders = place / "before", place / (row["method"] or row["stage"])
        base, own = (read_json(folder / "summary.json") for folder in folders)
        recovery = {"in_context_recovery": compare_recovery(*map(attack_rows, folders))}
        named = {key: row[key] for key in ("model", "method", "stage", "seed")}
        found = estimates({}, {}, recovery, own, base)
        yield {**named, **flatten(found), **sizes(found), "seconds": own["seconds"]}


def change_params(path: Path, seed: int, change: Change = Change()) -> None:
    """Set the seed, and what the run changes; the methods that params.yaml does not have are added to it."""
    from ruamel.yaml import YAML

    yaml = YAML()
    params = yaml.load(path)
    params["seed"] = seed
    recipe = params["recipes"]["organism"]
    recipe["evaluate"]["split"] = change.split
    for name, share in change.shares.items():
        section, key = SHARES[name]
        recipe[section][key] = share
    for name in change.methods:
        if name in VARIANTS:
            recipe["methods"][name] = varied(recipe["methods"]["wpn"], VARIANTS[name])
        if name.endswith("-tuned"):
            best = read_json(path.parent / "results" / "tuning.json")["best"]  # of the commit that is measured
            recipe["methods"][name] = best[name.removesuffix("-tuned")]["settings"]
    aware = recipe["methods"]["wpn"]["relearning_aware"]
    recipe["methods"]["sft-aware"] = {**recipe["methods"]["sft"], "relearning_aware": aware}
    if change.methods:
        params["pipeline"]["methods"] = list(change.methods)
    yaml.dump(params, path)


def varied(row: Mapping[str, Any], variant: Mapping[str, Any]) -> dict[str, Any]:
    """A method's row with other values, of its own keys or of those of a section in it (SECTION.KEY)."""
    changed = dict(row)
    for name, value in variant.items():
        section, _, key = name.rpartition(".")
        changed |= {section: {**changed[section], key: value}} if section else {key: value}
    return changed


if __name__ == "__main__":
    run(main)
