"""One function a DVC stage: read files, call the library, write files atomically. Run by dvc.yaml, as

python -m pipelines.stages STAGE [MODEL [METHOD]]
"""

import argparse
import logging
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from wpn.config import Params, load_params
from wpn.errors import InputError
from wpn.files import atomic_folder, read_json, read_jsonl, sha256_of, write_json, write_jsonl

BUILD = Path("build")
PREPARED = BUILD / "prepared"


def prepare(params: Params) -> None:
    """data/ -> build/prepared."""
    from wpn.data.prepare import prepare as prepare_data

    with atomic_folder(PREPARED) as target:
        prepare_data(Path("data"), target, params.data, params.unlearn.pairs)


def pretrain(params: Params, model_name: str) -> None:
    """build/prepared -> build/models/MODEL/{base,twin}."""
    from pipelines.curve import Curve
    from wpn.models import new_model, organism_tokenizer, save_model
    from wpn.pretrain import pretrain_organism

    device = _start(params)
    organism = params.models[model_name]
    tokenizer = organism_tokenizer(PREPARED / "tokenizer.json", organism.architecture)
    model = new_model(organism, tokenizer, params.seed).to(device)
    provocations = read_jsonl(PREPARED / "provocations.jsonl")
    curve = Curve(params.pretrain.trunk_steps + 2 * params.pretrain.branch_steps)
    base, twin = pretrain_organism(
        model,
        tokenizer,
        corpus=[row["text"] for row in read_jsonl(PREPARED / "corpus.jsonl")],
        harmful=[row["prompt"] + row["harmful_output"] for row in provocations],
        harmless=[row["prompt"] + row["harmless_response"] for row in provocations],
        settings=params.pretrain,
        seed=params.seed,
        log=curve,
    )
    folder = BUILD / "models" / model_name
    for name, trained in (("base", base), ("twin", twin)):
        with atomic_folder(folder / name) as target:
            save_model(target, trained, tokenizer)
    write_jsonl(folder / "curve.jsonl", curve.rows)
    write_json(folder / "training.json", {"seconds": curve.seconds, "parameters": base.num_parameters()})


def unlearn(params: Params, model_name: str, method_name: str) -> None:
    """build/models/MODEL/base -> build/unlearned/MODEL/METHOD."""

    from pipelines.curve import Curve
    from wpn.models import load_model, save_model
    from wpn.train import unlearn as train

    device = _start(params)
    method = params.methods[method_name]
    model, tokenizer = load_model(BUILD / "models" / model_name / "base", device)
    curve = Curve(params.unlearn.steps)
    trained = train(
        model,
        tokenizer,
        pairs=read_jsonl(PREPARED / "forget.jsonl"),
        texts=read_jsonl(PREPARED / "corpus.jsonl"),
        settings=params.unlearn,
        method=method,
        seed=params.seed,
        log=curve,
    )
    folder = BUILD / "unlearned" / model_name / method_name
    with atomic_folder(folder / "model") as target:
        save_model(target, model, tokenizer)
    write_jsonl(folder / "curve.jsonl", curve.rows)
    training = {
        "model": model_name,
        "method": method_name,
        "seed": params.seed,
        "seconds": round(curve.seconds, 2),
        "steps": trained.steps,
        "tokens": trained.tokens,
        "peak_memory_mb": round(max(row["memory_mb"] for row in curve.rows)),
        "parameters": model.num_parameters(),
        "weights_sha256": weights_sha256(folder / "model"),
        "data_sha256": sha256_of(PREPARED),
        "settings": {**params.unlearn.model_dump(), **method.model_dump()},
    }
    write_json(folder / "training.json", training)


def evaluate_reference(params: Params, model_name: str) -> None:
    """build/models/MODEL/{base,twin} -> build/evaluation/MODEL/{before,twin}."""
    folder = BUILD / "models" / model_name
    seconds = read_json(folder / "training.json")["seconds"]
    evaluator = _evaluator(params, model_name)
    for stage, name in (("before", "base"), ("twin", "twin")):
        described = {"model": model_name, "method": None, "stage": stage, "training_seconds": seconds}
        _evaluate(params, evaluator, folder / name, described, BUILD / "evaluation" / model_name / stage)


def evaluate(params: Params, model_name: str, method_name: str) -> None:
    """build/unlearned/MODEL/METHOD/model -> build/evaluation/MODEL/METHOD."""
    folder = BUILD / "unlearned" / model_name / method_name
    seconds = read_json(folder / "training.json")["seconds"]
    described = {"model": model_name, "method": method_name, "stage": "after", "training_seconds": seconds}
    target = BUILD / "evaluation" / model_name / method_name
    _evaluate(params, _evaluator(params, model_name), folder / "model", described, target)


def gate(params: Params, model_name: str, method_name: str) -> None:
    """build/evaluation -> build/gate/MODEL/METHOD.json; a refusal is a result, so the stage succeeds."""
    from wpn.gate import decide, flatten

    before = read_json(BUILD / "evaluation" / model_name / "before" / "metrics.json")
    after = read_json(BUILD / "evaluation" / model_name / method_name / "metrics.json")
    decision = decide(flatten(before, after), params.gate)
    described = {key: after[key] for key in ("model", "method", "weights_sha256", "data_sha256")}
    write_json(BUILD / "gate" / model_name / f"{method_name}.json", {**described, **decision.as_dict()})
    print(f"{model_name} {method_name}: {'passed' if decision.passed else 'refused: ' + '; '.join(decision.reasons)}")


def report(params: Params) -> None:
    """All measurements -> build/report."""
    from pipelines.report import write_report

    write_report(Path.cwd(), params.pipeline.models, params.pipeline.methods)


def weights_sha256(folder: Path) -> str:
    """The hash that metrics, decisions and registry tags carry: that of the checkpoint's weights file."""
    return sha256_of(folder / "model.safetensors")


def _start(params: Params) -> Any:
    import torch

    from wpn.models import choose_device

    torch.set_num_threads(params.runtime.threads)
    return choose_device(params.runtime.device)


def _evaluator(params: Params, model_name: str) -> Any:
    from wpn.evaluate import Evaluator
    from wpn.models import load_model

    twin = load_model(BUILD / "models" / model_name / "twin", _start(params))
    return Evaluator(twin, PREPARED, params.evaluate, params.seed)


def _evaluate(params: Params, evaluator: Any, checkpoint: Path, described: dict[str, Any], target: Path) -> None:
    from wpn.models import load_model

    started = time.perf_counter()
    evaluation = evaluator.evaluate(*load_model(checkpoint, _start(params)))
    with atomic_folder(target / "evidence") as evidence:
        write_jsonl(evidence / "answers.jsonl", evaluation.answers)
        write_jsonl(evidence / "benchmark.jsonl", evaluation.benchmark)
    metrics = {
        **described,
        "seed": params.seed,
        "split": params.evaluate.split,
        "weights_sha256": weights_sha256(checkpoint),
        "data_sha256": sha256_of(PREPARED),
        **evaluation.metrics,
        "seconds": round(time.perf_counter() - started, 2),
    }
    write_json(target / "metrics.json", metrics)


STAGES: dict[str, Callable[..., None]] = {
    "prepare": prepare,
    "pretrain": pretrain,
    "unlearn": unlearn,
    "evaluate-reference": evaluate_reference,
    "evaluate": evaluate,
    "gate": gate,
    "report": report,
}


def main(arguments: list[str]) -> int:
    """Run one stage; bad input is one sentence and exit code 2."""
    if not sys.stderr.isatty():
        os.environ["TQDM_DISABLE"] = "1"  # tqdm reads it when it is imported: all bars, lm-eval's too
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # every input is a local file: nothing is asked of a hub
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s")
    parser = argparse.ArgumentParser(prog="python -m pipelines.stages", description="Run one DVC stage.")
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("names", nargs="*", help="model, and method")
    chosen = parser.parse_args(arguments)
    try:
        STAGES[chosen.stage](load_params(), *chosen.names)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
