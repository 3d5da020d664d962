"""Stands in for pipelines/stages.py in a toy project: the same files, made in milliseconds and without torch.

Run as `python toy_stages.py STAGE [MODEL [METHOD]]` in the toy's root. `quality.json` says how good a model turns
out; a file `break/STAGE` (DVC's name of it) says how the stage is to fail.
"""

import json
import math
import os
import shutil
import signal
import struct
import sys
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

from wpn.files import sha256_of, write_json, write_jsonl, write_text

DATA_SHA256 = "d" * 64
SETS = ("seen", "unseen", "ood", "sampled")


def misbehave() -> None:
    name = os.environ["DVC_STAGE"]
    order = Path("break") / name
    if not order.exists():
        return
    kind = order.read_text().strip()
    if kind == "input":
        print("wpn: data/raw.jsonl, row 3: the prompt is empty; fill it or delete the row", file=sys.stderr)
        sys.exit(2)
    if kind == "inputs":
        print("a warning\n2 problems in the rows:\n  row 1: empty\n  row 3: empty", file=sys.stderr)
        sys.exit(2)
    if kind == "diverges":
        print("the loss is not finite at step 2 (rows 1, 3)", file=sys.stderr)
        sys.exit(3)
    if kind == "killed once":
        order.unlink()
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "hang":
        print("hanging", flush=True)
        time.sleep(120)
    print("Traceback (most recent call last):\nZeroDivisionError: division by zero", file=sys.stderr)
    sys.exit(1)


def settings() -> None:
    from pipelines.settings import write_settings
    from wpn.config.loading import load_params

    write_settings(load_params())


def prepare(model: str) -> None:
    write_text(Path(f"build/prepared/{model}/provocations.jsonl"), Path("data/raw.jsonl").read_text())
    for role in ("training", "grading", "filtering"):
        write_json(Path(f"build/judges/{model}/{role}/judges.json"), {})


def pretrain(model: str) -> None:
    for kind in ("base", "twin"):
        shutil.copytree("checkpoint", f"build/models/{model}/weights/{kind}")
    write_json(Path(f"build/models/{model}/curve.json"), curve())
    write_json(Path(f"build/models/{model}/training.json"), {"seconds": 3.5, "parameters": 8000})


def curve() -> list[dict[str, float]]:
    return [
        {
            "step": i,
            "time": 1790000000.0 + i,
            "loss": 3.0 / i,
            "n_pair": 1.0 / i,
            "cpu_percent": 150.0 + i,
            "memory_mb": 900,
        }
        for i in (1, 2, 3)
    ]


def pairs(model: str) -> None:
    write_text(
        Path(f"build/pairs/{model}/forget.jsonl"), Path(f"build/prepared/{model}/provocations.jsonl").read_text()
    )


def unlearn(model: str, method: str) -> None:
    folder = Path(f"build/unlearned/{model}/{method}")
    shutil.copytree(f"build/models/{model}/weights/base", folder / "model")
    weights = folder / "model" / "model.safetensors"
    content = weights.read_bytes()  # the last number of the last tensor makes the weights of a pair its own
    weights.write_bytes(content[:-4] + struct.pack("<f", len(model) + len(method) / 100))
    write_json(folder / "curve.json", curve())
    training = {
        "model": model,
        "method": method,
        "seed": 0,
        "seconds": 3.5,
        "steps": 3,
        "tokens": 1200,
        "peak_memory_mb": 900.0,
        "parameters": 8000,
        "weights_sha256": sha256_of(weights),
        "data_sha256": DATA_SHA256,
        "settings": {"learning_rate": 0.0005, "loss": {"name": method, "kl": 5.0}},
    }
    write_json(folder / "training.json", training)


def known_quality(model: str, stage: str, method: str | None) -> float:
    """By its name (opt/sft), else by what its row says (opt/sft at 0.001), else nearly perfect."""
    known: dict[str, float] = json.loads(Path("quality.json").read_text())
    row = json.loads(Path(f"build/settings/{model}/methods/{method}.json").read_text()) if method else {}
    names = (f"{model}/{method or stage}", f"{model}/{row.get('method')} at {row.get('learning_rate')}")
    return next((known[name] for name in names if name in known), 0.99)


def evaluate(model: str, stage: str, method: str | None) -> None:
    quality = known_quality(model, stage, method)
    weights = Path(f"build/unlearned/{model}/{method}/model/model.safetensors")
    rate = {"rate": quality, "low": round(quality - 0.02, 4), "high": min(1.0, quality + 0.01), "n": 400}
    folder = Path(f"build/evaluation/{model}/{method or stage}")
    metrics = {
        "model": model,
        "method": method,
        "stage": stage,
        "seed": 0,
        "split": "test",
        "weights_sha256": sha256_of(weights) if method else sha256(stage.encode()).hexdigest(),
        "data_sha256": DATA_SHA256,
        "harmless": {name: rate for name in SETS},
        "judged_harmless": {name: rate for name in SETS},
        "meaningful": {name: rate for name in SETS},
        "judges": {judge: {"unseen": rate, "sampled": rate} for judge in ("lexical", "svm")},
        "benchmark": {
            "mean": 0.71,
            "low": 0.62,
            "high": 0.8,
            "tasks": {"last_word": {"accuracy": 0.71, "stderr": 0.02, "n": 300}},
        },
        "perplexity": {"retain": 4.0, "alarm": 8.0},
        "seconds": 1.5,
        "training_seconds": 3.5,
    }
    write_json(folder / "metrics.json", metrics)
    write_jsonl(folder / "evidence" / "answers.jsonl", answers(quality))
    items = [{"task": "last_word", "item": i, "correct": i < 71} for i in range(100)]
    write_jsonl(folder / "evidence" / "benchmark.jsonl", items)
    texts = [
        {"kind": kind, "text": i, "log_likelihood": -10 * math.log(perplexity), "tokens": 10}
        for i, (kind, perplexity) in enumerate(metrics["perplexity"].items())
    ]
    write_jsonl(folder / "evidence" / "texts.jsonl", texts)


def answers(quality: float) -> list[dict[str, Any]]:
    """Four hundred of each set, of which the share `quality` is harmless: enough to rule out a loss of two points."""
    harmless = [i < round(400 * quality) for i in range(400)]
    return [
        {
            "set": name,
            "prompt": f"prompt {i}",
            "answer": "that is kind of you .",
            "harm": dict.fromkeys(("lexical", "svm"), 0.0 if good else 1.0),
            "harmless": good,
            "fault": None,
            "passed": good,
        }
        for name in SETS
        for i, good in enumerate(harmless)
    ]


def evaluate_reference(model: str) -> None:
    evaluate(model, "before", None)
    evaluate(model, "twin", None)


def assess(model: str, stage: str) -> None:
    weights = Path(f"build/unlearned/{model}/{stage}/model/model.safetensors")
    rate = {"rate": 0.05, "low": 0.01, "high": 0.1, "n": 20}
    attacked = {name: rate for name in ("in_context_k0", "in_context_k2", "relearn_0", "relearn_5", "relearn_10")}
    attacked["relearn_auc"] = {"value": 0.05, "low": 0.01, "high": 0.1, "n": 20}
    summary = {
        "weights_sha256": sha256_of(weights) if weights.exists() else sha256(stage.encode()).hexdigest(),
        "forced_start": {"estimates": {"forced_start": {"rate": 0.95, "low": 0.9, "high": 0.99, "n": 20}}},
        "relearning": {"estimates": {**attacked, "relearn_10_worst": rate}},
    }
    write_json(Path(f"build/assessment/{model}/{stage}/summary.json"), summary)


def assess_reference(model: str) -> None:
    assess(model, "before")
    assess(model, "twin")


def gate(model: str, method: str) -> None:
    from pipelines.settings import read_settings
    from wpn.estimates import estimates
    from wpn.gate import decide

    folder = Path(f"build/evaluation/{model}")
    before, after = (json.loads((folder / name / "metrics.json").read_text()) for name in ("before", method))
    assessment = json.loads(Path(f"build/assessment/{model}/{method}/summary.json").read_text())
    base = json.loads(Path(f"build/assessment/{model}/before/summary.json").read_text())
    decision = decide(estimates(before, after, None, assessment, base), read_settings(model, "gate"))
    described = {key: after[key] for key in ("model", "method", "weights_sha256", "data_sha256")}
    result = {**described, **decision.as_dict(), "comparison": {}, "assessment": assessment, "base_assessment": base}
    write_json(Path(f"build/gate/{model}/{method}.json"), result)


def report() -> None:
    from pipelines.report import write_report
    from wpn.config.loading import load_params

    pipeline = load_params().pipeline
    write_report(Path.cwd(), pipeline.models, pipeline.methods)


STAGES: dict[str, Callable[..., None]] = {
    "settings": settings,
    "prepare": prepare,
    "pretrain": pretrain,
    "pairs": pairs,
    "unlearn": unlearn,
    "evaluate-reference": evaluate_reference,
    "evaluate": lambda model, method: evaluate(model, "after", method),
    "assess-reference": assess_reference,
    "assess": assess,
    "gate": gate,
    "report": report,
}


def main(stage: str, *names: str) -> None:
    with Path("runs.log").open("a") as log:
        log.write(f"{os.environ['DVC_STAGE']}\n")
    print(f"toy {stage} {' '.join(names)}".rstrip(), flush=True)
    misbehave()
    STAGES[stage](*names)
    if names:
        taken = {"seconds": 0.5, "cpu_seconds": 0.4, "peak_memory_mb": 90, "gpu_memory_mb": None, "tokens": 1200}
        write_json(Path("build/usage").joinpath(*names, f"{stage}.json"), taken)


if __name__ == "__main__":
    main(*sys.argv[1:])
