"""The same search for every method at the job of benchmarks.passages, on one organism of one seed.

python -m benchmarks.tune_passages --model gpt-neo --seed 130 --trials 8

The first trial is the papers' weights (`recipes.real`) at a learning rate for a small model, the others are drawn.
The others take as many steps as ICU's best trial. benchmarks.passages reads the best of each from
results/passages-tuning.json.
"""

import argparse
import math
from collections.abc import Mapping
from typing import Any

import torch
from pydantic import TypeAdapter

from benchmarks.passages import KNOWN, LOOP, METHODS, TUNED, Job, forget, measured, never_seen, organisms
from benchmarks.provenance import checkout, provenance, run
from wpn.config.loading import load_params
from wpn.config.methods import Method
from wpn.config.training import Unlearn
from wpn.errors import InputError
from wpn.files import write_json
from wpn.search import drawn

Row = dict[str, Any]

FIRST_RATE = 1e-4
MOST_NATS = 20.0  # of lost perplexity, which has no bound
FAILED = -100.0  # below every score
SPACES: dict[str, dict[str, tuple[float, ...]]] = {
    "icu": {
        "learning_rate": (1e-4, 2e-4, 5e-4, 1e-3, 2e-3),
        "ascent": (0.1, 0.3, 1.0),
        "retain": (0.5, 2.0, 5.0),
        "kl": (1.0, 4.0, 16.0),
    },
    "ga": {"learning_rate": (1e-6, 2e-6, 5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 2e-4)},
    "gradient_penalty": {
        "learning_rate": (1e-4, 5e-4, 1e-3, 2e-3),
        "penalty": (0.1, 1.0, 10.0, 100.0),
        "retain": (0.5, 2.0, 5.0),
        "kl": (0.0, 4.0, 16.0),
    },
}


def main() -> None:
    """Search, and write all trials."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=("gpt-neo", "opt"), default="gpt-neo")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--trials", type=int, default=8)
    chosen = parser.parse_args()
    described = provenance([chosen.seed])
    with checkout() as folder:
        params = load_params(folder / "params.yaml")
        torch.set_num_threads(params.recipes["organism"].compute.threads)
        loop = params.recipes["organism"].unlearn.model_copy(update=LOOP)
        for job in organisms(params, folder, chosen.seed, [chosen.model]):  # whose files are there until the next
            found = search(job, loop, params.recipes["real"].methods, chosen.seed, chosen.trials)
            write_json(TUNED, {**described, "model": chosen.model, **found})


def search(job: Job, loop: Unlearn, rows: Mapping[str, Any], seed: int, number: int) -> dict[str, Any]:
    """`best`: a trial of each method; `trials`: all."""
    before, never = measured(job, job.model, seed), never_seen(job, seed)
    best: dict[str, Row] = {}
    trials: list[Row] = []
    for name in METHODS:
        first = {**rows[name].model_dump(mode="json"), "learning_rate": FIRST_RATE}
        for trial, settings in enumerate(drawn(first, SPACES[name], f"{seed}-{name}", number)):
            row = {"method": name, "trial": trial, "settings": settings}
            try:
                numbers = forget(job, loop, TypeAdapter(Method).validate_python(settings), seed, before)
            except FloatingPointError as error:
                trials.append(told({**row, "score": FAILED, "failed": str(error)}))
                continue
            kept = {name: value for name, value in numbers.items() if math.isfinite(value)}  # what JSON can say
            trials.append(told({**row, "score": round(score(numbers, never), 4), "numbers": kept}))
        ended = [row for row in trials if row["method"] == name and "numbers" in row]
        if not ended:
            raise InputError(f"every trial of {name} diverged; give SPACES lower learning rates")
        best[name] = max(ended, key=lambda row: row["score"])
        loop = loop.model_copy(update={"steps": best[name]["numbers"]["steps"]})
    return {"best": best, "trials": trials}


def told(row: Row) -> Row:
    """The row, after a line about it."""
    print(f"{row['method']} {row['trial']}: score {row['score']:.3f}", flush=True)
    return row


def score(numbers: Row, never: Row) -> float:
    """What the search raises: minus what is still known beyond the never seen, and what the rest has lost.

    MA and EL_n above those of passages never seen, benchmark accuracy lost, and nats of perplexity on other text.
    """
    still = sum(max(0.0, numbers[name] - never[name]) for name in KNOWN)
    return (
        -still
        - max(0.0, numbers.get("benchmark_drop", 0.0))
        - min(max(0.0, math.log(numbers["perplexity_ratio"])), MOST_NATS)
    )


if __name__ == "__main__":
    run(main)
