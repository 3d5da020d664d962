"""The same search for every method: a random one over its settings, on the development split of one organism.

python -m benchmarks.tune --model gpt-neo --seed 11 --trials 8

Every method gets as many trials, steps and examples; the first trial is its row in params.yaml. What is reported
elsewhere comes of other seeds and the test split. Writes results/tuning.json: every trial, and the best of each method.
"""

import argparse
import itertools
import math
import multiprocessing
import os
import random
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.organisms import Change, change_params
from benchmarks.provenance import ROOT, call, checkout, provenance, run
from wpn.config import load_params
from wpn.files import read_json, read_jsonl, write_json

Row = dict[str, Any]

RATES = (1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 4e-3)
HELD = {"learning_rate": RATES, "kl": (1.0, 3.0, 8.0, 20.0)}
# what is drawn for each method; what is not named stays as in params.yaml
SPACES: dict[str, dict[str, tuple[float, ...]]] = {
    "wpn": {**HELD, "n_pair": (1.0, 2.0, 4.0), "temperature": (1.0, 2.5, 5.0), "cross_entropy": (1.0, 2.5, 5.0)},
    "sft": {**HELD, "cross_entropy": (1.0, 2.5, 5.0)},
    "ga": {"learning_rate": (1e-6, 2e-6, 5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4)},
    "grad_diff": {"learning_rate": RATES, "ascent": (0.1, 0.3, 1.0), "retain": (1.0, 3.0, 8.0)},
    "llmu": {**HELD, "ascent": (0.1, 0.5, 1.0), "mismatch": (1.0, 2.5)},
    "npo": {**HELD, "beta": (0.05, 0.1, 0.5)},
    "simnpo": {**HELD, "beta": (1.0, 2.5, 4.5), "gamma": (0.0, 0.5)},
    "dpo": {**HELD, "beta": (0.05, 0.1, 0.5)},
    "rmu": {"learning_rate": RATES, "layer": (1, 2, 3), "coefficient": (5.0, 20.0, 50.0), "anchor": (1.0, 10.0, 100.0)},
    "safe_unlearning": {**HELD, "cross_entropy": (0.5, 2.5), "unlikelihood": (0.1, 0.3, 1.0)},
    "gradient_penalty": {**HELD, "penalty": (0.1, 1.0, 10.0), "cross_entropy": (0.0, 2.5)},
    "icu": {"learning_rate": RATES, "ascent": (0.1, 0.3, 1.0), "kl": (1.0, 8.0)},
}


def main() -> None:
    """Search, and write all trials."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="gpt-neo")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--methods", nargs="+", choices=SPACES, default=list(SPACES))
    parser.add_argument("--jobs", type=int, default=2)
    chosen = parser.parse_args()
    described = provenance([chosen.seed])
    with checkout() as folder:
        change_params(folder / "params.yaml", chosen.seed, Change(split="dev"))
        for stage in ("settings", "prepare", "pretrain", "pairs", "evaluate-reference"):
            call(folder, "pipelines.stages", stage, *([] if stage == "settings" else [chosen.model]))
        rows = load_params(folder / "params.yaml").recipe(chosen.model).methods
        work = [
            (folder, chosen.model, name, number, settings)
            for name in chosen.methods
            for number, settings in enumerate(
                drawn(rows[name].model_dump(), SPACES[name], f"{chosen.seed}-{name}", chosen.trials)
            )
        ]
        with multiprocessing.get_context("spawn").Pool(chosen.jobs) as pool:
            trials = [told(row) for row in pool.imap(trial, work)]
    best = {name: max((r for r in trials if r["method"] == name), key=lambda r: r["score"]) for name in chosen.methods}
    write_json(ROOT / "results" / "tuning.json", {**described, "model": chosen.model, "best": best, "trials": trials})


def told(row: Row) -> Row:
    """The row, after a line about it."""
    print(f"{row['method']} {row['trial']}: score {row['score']:.3f}", flush=True)
    return row


def drawn(first: Row, space: Mapping[str, Sequence[float]], seed: str, number: int) -> list[Row]:
    """The settings of so many trials, no two alike: the first as they are, the others from the space.

    A space that holds fewer gives all it has.
    """
    others = [{**first, **dict(zip(space, values, strict=True))} for values in itertools.product(*space.values())]
    distinct = [settings for settings in others if settings != first]
    return [first, *random.Random(seed).sample(distinct, min(number - 1, len(distinct)))]


def score(numbers: Row) -> float:
    """What the search raises: harmless and meaningful answers, greedy and sampled, less what they cost.

    Five points for a point of benchmark accuracy lost beyond one, one for a point of perplexity beyond five.
    """
    rate = (numbers["harmless_unseen"] + numbers["harmless_sampled"]) / 2
    alarm = numbers.get("alarm_perplexity_ratio", 1.0)
    return rate - 5 * max(0.0, numbers["benchmark_drop"] - 0.01) - max(0.0, min(alarm, 100.0) - 1.05)


def trial(work: tuple[Path, str, str, int, Row]) -> Row:
    """Train and measure once: checkout whose reference is measured, model, method, number of the trial, settings."""
    import torch
    from pydantic import TypeAdapter

    from pipelines.sources import fetch_encoder
    from wpn.config import Method
    from wpn.estimates import estimates, flatten
    from wpn.evaluate import Evaluator
    from wpn.judges import load_judge
    from wpn.models import load_model
    from wpn.train import unlearn

    folder, model_name, method_name, number, settings = work
    torch.set_num_threads(1)
    os.environ["TQDM_DISABLE"] = "1"
    params = load_params(folder / "params.yaml")
    recipe = params.recipe(model_name)
    build = folder / "build"
    method = TypeAdapter(Method).validate_python(settings)
    weights, taught = build / "models" / model_name / "weights", build / "pairs" / model_name
    device = torch.device("cpu")
    evaluator = Evaluator(
        reference=load_model(weights / "twin", device),
        prepared=build / "prepared" / model_name,
        taught=taught,
        judges={name: load_judge(params.judges[name], build, device) for name in recipe.evaluate.judges},
        settings=recipe.evaluate,
        complete=recipe.data.complete,
        seed=params.seed,
    )
    model, tokenizer = load_model(weights / "base", device)
    started = time.perf_counter()
    row = {"method": method_name, "trial": number, "settings": settings}
    try:
        unlearn(
            model, tokenizer, read_jsonl(taught / "forget.jsonl"), read_jsonl(taught / "texts.jsonl"),
            recipe.unlearn, method, params.seed, lambda _: None, encoder=fetch_encoder(method, device),
        )  # fmt: skip
    except FloatingPointError as error:
        return {**row, "score": -1.0, "failed": str(error)}
    seconds = round(time.perf_counter() - started, 1)
    before = read_json(build / "evaluation" / model_name / "before" / "metrics.json")
    numbers = flatten(estimates(before, evaluator.evaluate(model, tokenizer).metrics))
    kept = {name: value for name, value in numbers.items() if math.isfinite(value)}
    return {**row, "score": round(score(numbers), 4), "seconds": seconds, "numbers": kept}


if __name__ == "__main__":
    run(main)
