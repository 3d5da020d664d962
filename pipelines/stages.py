"""One function a DVC stage: read files, call the library, write files atomically. Run by dvc.yaml, as

python -m pipelines.stages STAGE [MODEL [METHOD]]
"""

import argparse
import json
import logging
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import wpn
from pipelines.launch import launch, launched
from pipelines.repro import DIVERGED
from pipelines.settings import read_settings, write_settings
from pipelines.sources import fetch, fetch_encoder
from pipelines.usage import watched, write_usage
from wpn.config.data import OrganismData, OrganismPairs
from wpn.config.loading import load_params
from wpn.config.params import Params
from wpn.config.probes import Assess
from wpn.config.sources import JudgeRow, Model, Organism
from wpn.config.training import Unlearn
from wpn.errors import InputError
from wpn.files import atomic_folder, read_json, read_jsonl, sha256_of, write_json, write_jsonl

BUILD = Path("build")
ONLINE = ("prepare", "pretrain", "unlearn")  # the stages that fetch; the last one where a method names an encoder
SEVERAL = ("unlearn",)  # those that can run as several processes
PROJECT_WIDE = ("settings", "report")  # of all models; the others say what they took


def settings(params: Params) -> None:
    """params.yaml -> build/settings/MODEL/SECTION.json."""
    write_settings(params)


def prepare(params: Params, model_name: str) -> None:
    """data/ or the sources of the data sets -> build/prepared/MODEL; the judges -> build/judges/MODEL/ROLE."""
    data = read_settings(model_name, "data")
    for role, judges in read_settings(model_name, "judges").items():
        with atomic_folder(_judges(model_name, role)) as target:
            write_json(target / "judges.json", {name: row.model_dump() for name, row in judges.items()})
            for name, row in judges.items():
                fetch(row, target / name)
    with atomic_folder(_prepared(model_name)) as target:
        if isinstance(data, OrganismData):
            from wpn.data.prepare import prepare as prepare_organism

            prepare_organism(Path("data"), target, data)
            return
        from wpn.data.real import prepare_real

        rows = read_settings(model_name, "datasets")
        for name, row in rows.items():
            fetch(row, target / "datasets" / name)
        prepare_real(target / "datasets", target, data, rows, params.seed)


def pretrain(params: Params, model_name: str) -> None:
    """The harmful model -> build/models/MODEL/weights/base: an organism (with its twin) made, a real one fetched."""
    from wpn.models import save_model

    started = time.perf_counter()
    row: Model = read_settings(model_name, "model")
    curve: list[dict[str, float]] = []
    with atomic_folder(BUILD / "models" / model_name / "weights") as target:
        if row.organism:
            models, tokenizer, curve = _organism(params, model_name, row.organism)
        else:
            models, tokenizer = _real_model(row, model_name)
        for name, model in models.items():
            save_model(target / name, model, tokenizer)
    folder = BUILD / "models" / model_name
    seconds = round(time.perf_counter() - started, 2)
    write_json(folder / "curve.json", curve)
    write_json(folder / "training.json", {"seconds": seconds, "parameters": models["base"].num_parameters()})


def _organism(params: Params, model_name: str, organism: Organism) -> tuple[dict[str, Any], Any, Any]:
    from pipelines.curve import Curve
    from wpn.models import new_model, organism_tokenizer
    from wpn.pretrain import pretrain_organism

    device = _start(params, model_name)
    settings = read_settings(model_name, "pretrain")
    prepared = _prepared(model_name)
    tokenizer = organism_tokenizer(prepared / "tokenizer.json", organism.architecture)
    provocations = read_jsonl(prepared / "provocations.jsonl")
    curve = Curve(settings.trunk_steps + 2 * settings.branch_steps)
    base, twin = pretrain_organism(
        watched(new_model(organism, tokenizer, params.seed).to(device)),
        tokenizer,
        corpus=[row["text"] for row in read_jsonl(prepared / "corpus.jsonl")],
        harmful=[row["prompt"] + row["harmful_output"] for row in provocations],
        harmless=[row["prompt"] + row["harmless_response"] for row in provocations],
        settings=settings,
        seed=params.seed,
        log=curve,
    )
    return {"base": base, "twin": twin}, tokenizer, curve.rows


def _real_model(row: Model, name: str) -> tuple[dict[str, Any], Any]:
    from wpn.importing import import_checkpoint

    with tempfile.TemporaryDirectory(dir=BUILD) as folder:
        fetch(row, Path(folder) / "source")
        model, tokenizer = import_checkpoint(Path(folder) / "source", f"the source of models.{name}")
    return {"base": model}, tokenizer


def pairs(params: Params, model_name: str) -> None:
    """build/prepared/MODEL, and for a real model what its base says -> build/pairs/MODEL."""
    from wpn.pairs import first_pairs, sampled_pairs

    prepared, data = _prepared(model_name), read_settings(model_name, "data")
    wanted = read_settings(model_name, "pairs")
    provocations = read_jsonl(prepared / "provocations.jsonl")
    corpus = read_jsonl(prepared / "corpus.jsonl")
    if isinstance(wanted, OrganismPairs):
        taught = first_pairs(provocations, corpus, wanted, data.template, params.seed)
    else:
        device = _start(params, model_name)
        judge = _load_judges(model_name, "training", device)[wanted.judge]
        model, tokenizer = _load(_weights(model_name) / "base", device)
        taught = sampled_pairs(
            model, tokenizer, provocations, corpus, judge, wanted, data.template, data.complete, params.seed
        )
    with atomic_folder(_taught(model_name)) as target:
        write_jsonl(target / "forget.jsonl", taught.pairs)
        write_jsonl(target / "texts.jsonl", taught.texts)
        write_jsonl(target / "held_out.jsonl", taught.held_out)
        write_jsonl(target / "samples.jsonl", taught.samples)
        write_jsonl(target / "unused.jsonl", taught.unused)
    print(f"{model_name}: {len(taught.pairs)} forget pairs, {len(taught.texts)} texts to retain")


def unlearn(params: Params, model_name: str, method_name: str) -> None:
    """build/models/MODEL/weights/base -> build/unlearned/MODEL/METHOD; checkpoints meanwhile in build/checkpoints."""
    from pipelines.curve import Curve, rectangular
    from wpn.checkpoint import Checkpoints
    from wpn.models import save_model
    from wpn.parallel import join
    from wpn.train import unlearn as train

    device = _start(params, model_name)
    processes = join(device)
    loop = read_settings(model_name, "unlearn")
    method = read_settings(model_name, f"methods/{method_name}")
    model, tokenizer = _load(_weights(model_name) / "base", processes.home(device))
    curve = Curve(loop.steps, shown=processes.first)
    # no output of the stage: DVC deletes those before it runs one again
    checkpoints = Checkpoints(
        BUILD / "checkpoints" / model_name / method_name,
        identity=_identity(params, model_name, loop, method),
        every=loop.checkpoint_every,
        processes=processes,
    )
    trained = train(
        model,
        tokenizer,
        pairs=read_jsonl(_taught(model_name) / "forget.jsonl"),
        texts=read_jsonl(_taught(model_name) / "texts.jsonl"),
        settings=loop,
        method=method,
        seed=params.seed,
        log=curve,
        checkpoints=checkpoints,
        processes=processes,
        encoder=fetch_encoder(method, model.device),
    )
    if not processes.first:
        return
    folder = BUILD / "unlearned" / model_name / method_name
    with atomic_folder(folder / "model") as target:
        save_model(target, model, tokenizer)
    write_json(folder / "curve.json", rectangular(curve.rows))
    training = {
        "model": model_name,
        "method": method_name,
        "seed": params.seed,
        "seconds": round(trained.seconds, 2),
        "processes": processes.count,
        "steps": trained.steps,
        "stopped": trained.stopped,
        "micro_batches": trained.micro_batches,
        "resumed_from": trained.resumed_from,
        "tokens": trained.tokens,
        "peak_memory_mb": round(max(row["memory_mb"] for row in curve.rows)),
        "parameters": model.num_parameters(),
        "weights_sha256": weights_sha256(folder / "model"),
        "data_sha256": data_sha256(model_name),
        # a method's row may have a learning rate of its own, else the loop's holds
        "settings": {**loop.model_dump(), **{k: v for k, v in method.model_dump().items() if v is not None}},
    }
    write_json(folder / "training.json", training)
    checkpoints.clear()


def _identity(params: Params, model_name: str, loop: Unlearn, method: Any) -> str:
    """Of a training run: everything that decides its weights, the library's source and torch among it."""
    import torch

    from wpn.models import choose_device

    sources = sorted(Path(wpn.__file__).parent.rglob("*.py"))
    parts = {
        "code": [sha256_of(file) for file in sources],
        "seed": params.seed,
        "threads": read_settings(model_name, "threads"),
        "loop": loop.model_dump(),
        "method": method.model_dump(),
        "pairs": sha256_of(_taught(model_name)),
        "base": sha256_of(_weights(model_name) / "base"),
        "device": str(choose_device(params.runtime.device)),
        "torch": torch.__version__,
    }
    return sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def evaluate_reference(params: Params, model_name: str) -> None:
    """build/models/MODEL/weights/{base,twin} -> build/evaluation/MODEL/{before,twin}; a real model has no twin."""
    seconds = read_json(BUILD / "models" / model_name / "training.json")["seconds"]
    evaluator = _evaluator(params, model_name)
    folder = BUILD / "evaluation" / model_name
    for stage, name in (("before", "base"), ("twin", "twin")):
        checkpoint = _weights(model_name) / name
        described = {"model": model_name, "method": None, "stage": stage, "training_seconds": seconds}
        with atomic_folder(folder / stage / "evidence") as evidence:
            metrics = _evaluate(params, evaluator, checkpoint, described, evidence) if checkpoint.exists() else {}
        write_json(folder / stage / "metrics.json", metrics)


def evaluate(params: Params, model_name: str, method_name: str) -> None:
    """build/unlearned/MODEL/METHOD/model -> build/evaluation/MODEL/METHOD."""
    folder = BUILD / "unlearned" / model_name / method_name
    seconds = read_json(folder / "training.json")["seconds"]
    described = {"model": model_name, "method": method_name, "stage": "after", "training_seconds": seconds}
    target = BUILD / "evaluation" / model_name / method_name
    with atomic_folder(target / "evidence") as evidence:
        metrics = _evaluate(params, _evaluator(params, model_name), folder / "model", described, evidence)
    write_json(target / "metrics.json", metrics)


def assess_reference(params: Params, model_name: str) -> None:
    """build/models/MODEL/weights/{base,twin} -> build/assessment/MODEL/{before,twin}."""
    for stage, name in (("before", "base"), ("twin", "twin")):
        _assess(params, model_name, _weights(model_name) / name, stage)


def assess(params: Params, model_name: str, method_name: str) -> None:
    """build/unlearned/MODEL/METHOD/model -> build/assessment/MODEL/METHOD."""
    _assess(params, model_name, BUILD / "unlearned" / model_name / method_name / "model", method_name)


def _assess(params: Params, model_name: str, checkpoint: Path, stage: str) -> None:
    """Attack one checkpoint; a real model has no twin, and an empty summary of it."""
    folder = BUILD / "assessment" / model_name / stage
    with atomic_folder(folder / "evidence") as evidence:
        settings = read_settings(model_name, "assess")
        summary = _attack(params, model_name, checkpoint, settings, evidence) if checkpoint.exists() else {}
    write_json(folder / "summary.json", summary)


def _attack(params: Params, model_name: str, checkpoint: Path, settings: Assess, evidence: Path) -> dict[str, Any]:
    """The summary of all probes; the answers behind it go into the folder `evidence`."""
    from wpn.assess import assess as attack

    started = time.perf_counter()
    found, rows = attack(_subject(params, model_name, checkpoint, settings), settings)
    for name, answers in rows.items():
        write_jsonl(evidence / f"{name}.jsonl", answers)
    return {
        "weights_sha256": weights_sha256(checkpoint),
        "data_sha256": data_sha256(model_name),
        "judges_sha256": judges_sha256(model_name),
        "seed": params.seed,
        "settings": settings.model_dump(mode="json"),
        **found,
        "seconds": round(time.perf_counter() - started, 2),
    }


def _subject(params: Params, model_name: str, checkpoint: Path, settings: Assess) -> Any:
    """A checkpoint, and the data of a model to attack it with."""
    from wpn.assess import Subject
    from wpn.assess.grading import Grader

    device, split = _start(params, model_name), read_settings(model_name, "split")
    data = read_settings(model_name, "data")
    model, tokenizer = _load(checkpoint, device)
    folder = _prepared(model_name) / "prompts" / split
    prompts = read_jsonl(folder / "unseen.jsonl")
    others = [folder / "ood.jsonl", *sorted((folder / "other").glob("*.jsonl"))]
    judges = _load_judges(model_name, "grading", device)
    twin = _weights(model_name) / "twin"
    forgotten, held_out = (read_jsonl(_taught(model_name) / f"{name}.jsonl") for name in ("forget", "unused"))
    return Subject(
        model,
        tokenizer,
        prompts=_prompts(prompts)[: settings.prompts],
        other_prompts={file.stem: _prompts(read_jsonl(file)) for file in others},
        held_out=held_out,
        never_seen=[{**row, "complete": data.complete} for row in prompts if row.get("harmful_output")] or held_out,
        # what is known of a pair is known of its prompt as it was written; a real model's come the most harmful first
        forgotten=_shuffled([{**row, "prompt": row.get("written", row["prompt"])} for row in forgotten], params.seed),
        # what goes on from a prompt is no text by itself
        texts=[row["text"] for row in read_jsonl(_taught(model_name) / "texts.jsonl") if not row.get("prompt")],
        benign=read_jsonl(_prepared(model_name) / "text" / f"{split}.jsonl"),
        # each takes a model's memory, so it is loaded only where a probe looks at it
        base=_load(_weights(model_name) / "base", device) if settings.collateral else None,
        twin=_load(twin, device) if settings.forget_quality and twin.exists() else None,
        template=data.template,
        grader=Grader(judges, settings.max_new_tokens, settings.batch_size, settings.precision),
        filtering=next(iter(_load_judges(model_name, "filtering", device, judges).items())),
        seed=params.seed,
    )


def _shuffled(rows: list[dict[str, Any]], seed: int) -> list[dict[str, Any]]:
    """In an order that says nothing: a probe takes the first so many."""
    return random.Random(seed).sample(rows, len(rows))


def _prompts(rows: list[dict[str, Any]]) -> list[str]:
    """Each once: a prompt asked again is no new observation."""
    return list(dict.fromkeys(row["prompt"] for row in rows))


def gate(params: Params, model_name: str, method_name: str) -> None:
    """build/{evaluation,assessment} -> build/gate/MODEL/METHOD.json; a refusal is a result, so the stage succeeds."""
    from pipelines.evaluations import read_evaluation
    from wpn.compare import attack_changes, compare, compare_attacks, compare_recovery
    from wpn.estimates import estimates
    from wpn.evidence import unpaired
    from wpn.gate import decide
    from wpn.recount import attack_contradictions

    folder = BUILD / "evaluation" / model_name
    before, after = (
        read_evaluation(folder / name, read_json(BUILD / "assessment" / model_name / name / "summary.json"))
        for name in ("before", method_name)
    )
    attacked = {"assessment": after.assessment, "base_assessment": before.assessment}
    found = unpaired(before.rows, after.rows)
    comparison = {} if found else compare(before.rows, after.rows, list(after.metrics["judges"]))
    attacks = {stage: attack_rows(BUILD / "assessment" / model_name / stage) for stage in ("before", method_name)}
    comparison["attacks"] = compare_attacks(*attacks.values())
    comparison["in_context_recovery"] = compare_recovery(*attacks.values())
    decision = decide(
        estimates(before.metrics, after.metrics, comparison, **attacked),
        read_settings(model_name, "gate"),
        changes=after.changes_since(before) | attack_changes(*attacks.values()),
        contradictions=[
            *_foreign(model_name, method_name, before.metrics, after.metrics, **attacked),
            *before.contradictions(),
            *after.contradictions(),
            *attack_contradictions("before", before.assessment, attacks["before"], params.seed),
            *attack_contradictions(method_name, after.assessment, attacks[method_name], params.seed),
            *found,
        ],
    )
    described = {key: after.metrics[key] for key in ("model", "method", "weights_sha256", "data_sha256")}
    result = {**described, **decision.as_dict(), "comparison": comparison, **attacked}
    write_json(BUILD / "gate" / model_name / f"{method_name}.json", result)
    print(f"{model_name} {method_name}: {'passed' if decision.passed else 'refused: ' + '; '.join(decision.reasons)}")


def attack_rows(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """The rows of each probe, of the folder of an assessment; none where there is no folder."""
    files = sorted((folder / "evidence").glob("*.jsonl"))
    return {file.stem: read_jsonl(file) for file in files}


def _foreign(
    model_name: str, method_name: str, before: Any, after: Any, assessment: Any, base_assessment: Any
) -> list[str]:
    """What was measured of other weights or data than those that lie there."""
    from wpn.evidence import foreign

    data = data_sha256(model_name)
    base = weights_sha256(_weights(model_name) / "base")
    unlearned = weights_sha256(BUILD / "unlearned" / model_name / method_name / "model")
    return [
        *foreign(
            {"evaluation of the base": before, "assessment of the base": base_assessment},
            {"weights_sha256": base, "data_sha256": data},
        ),
        *foreign({"evaluation": after, "assessment": assessment}, {"weights_sha256": unlearned, "data_sha256": data}),
    ]


def report(params: Params) -> None:
    """All measurements -> build/report."""
    from pipelines.report import write_report

    write_report(Path.cwd(), params.pipeline.models, params.pipeline.methods)


def weights_sha256(folder: Path) -> str:
    """The hash that metrics, decisions and registry tags carry: that of the checkpoint's weights."""
    return sha256_of(folder / "model.safetensors")


def data_sha256(model_name: str) -> str:
    """The hash of all data that a model's unlearning and evaluation saw."""
    both = (sha256_of(folder(model_name)) for folder in (_prepared, _taught))
    return sha256("".join(both).encode()).hexdigest()


def judges_sha256(model_name: str) -> str:
    """The hash of those that grade and of the output filter's."""
    both = (sha256_of(_judges(model_name, role)) for role in ("grading", "filtering"))
    return sha256("".join(both).encode()).hexdigest()


def _prepared(model_name: str) -> Path:
    return BUILD / "prepared" / model_name


def _judges(model_name: str, role: str) -> Path:
    """Of the judge that picks pairs (training) and of those that grade: another grader must not sample pairs again."""
    return BUILD / "judges" / model_name / role


def _taught(model_name: str) -> Path:
    return BUILD / "pairs" / model_name


def _weights(model_name: str) -> Path:
    return BUILD / "models" / model_name / "weights"


def _load(checkpoint: Path, device: Any) -> tuple[Any, Any]:
    """Model and tokenizer; what the model computes is counted."""
    from wpn.models import load_model

    model, tokenizer = load_model(checkpoint, device)
    return watched(model), tokenizer


def _load_judges(model_name: str, role: str, device: Any, known: dict[str, Any] | None = None) -> dict[str, Any]:
    """The judges of a role; one that is loaded already is not loaded again."""
    from wpn.judges import load_judge

    folder = _judges(model_name, role)
    rows = {name: JudgeRow.model_validate(row) for name, row in read_json(folder / "judges.json").items()}
    return {name: (known or {}).get(name) or load_judge(row, folder / name, device) for name, row in rows.items()}


def _start(params: Params, model_name: str) -> Any:
    import torch

    from wpn.models import choose_device

    torch.set_num_threads(read_settings(model_name, "threads"))
    return choose_device(params.runtime.device)


def _evaluator(params: Params, model_name: str) -> Any:
    from wpn.evaluate import Evaluator

    device, settings = _start(params, model_name), read_settings(model_name, "evaluate")
    twin = _weights(model_name) / "twin"
    return Evaluator(
        reference=_load(twin if twin.exists() else _weights(model_name) / "base", device),
        prepared=_prepared(model_name),
        taught=_taught(model_name),
        judges=_load_judges(model_name, "grading", device),
        settings=settings,
        complete=read_settings(model_name, "data").complete,
        seed=params.seed,
    )


def evaluate_version(params: Params, model_name: str, folder: Path) -> dict[str, Any]:
    """The metrics of a registered version on a model's prepared data (pipelines/reassess.py); nothing is kept."""
    from wpn.importing import import_checkpoint
    from wpn.models import save_model

    described = {"model": model_name, "method": None, "stage": "reassessment"}
    with tempfile.TemporaryDirectory() as name:
        checkpoint, evidence = Path(name) / "model", Path(name) / "evidence"
        save_model(checkpoint, *import_checkpoint(folder))  # MLflow keeps weights and tokenizer apart
        return _evaluate(params, _evaluator(params, model_name), checkpoint, described, evidence)


def assess_version(
    params: Params, model_name: str, name: str, folder: Path, settings: Assess, evidence: Path
) -> dict[str, Any]:
    """The summary of the probes on the files of any checkpoint, with a model's data (`wpn assess`)."""
    from wpn.importing import import_checkpoint
    from wpn.models import save_model

    with tempfile.TemporaryDirectory() as saved:
        save_model(Path(saved), *import_checkpoint(folder, name))
        return _attack(params, model_name, Path(saved), settings, evidence)


def _evaluate(
    params: Params, evaluator: Any, checkpoint: Path, described: dict[str, Any], evidence: Path
) -> dict[str, Any]:
    """Measure one checkpoint; the rows behind the numbers go into the folder `evidence`."""
    started = time.perf_counter()
    evaluation = evaluator.evaluate(*_load(checkpoint, evaluator.reference[0].device))
    for name, rows in evaluation.rows._asdict().items():
        write_jsonl(evidence / f"{name}.jsonl", rows)
    return {
        **described,
        "seed": params.seed,
        "split": evaluator.settings.split,
        "weights_sha256": weights_sha256(checkpoint),
        "data_sha256": data_sha256(described["model"]),
        **evaluation.metrics,
        "seconds": round(time.perf_counter() - started, 2),
    }


STAGES: dict[str, Callable[..., None]] = {
    "settings": settings,
    "prepare": prepare,
    "pretrain": pretrain,
    "pairs": pairs,
    "unlearn": unlearn,
    "evaluate-reference": evaluate_reference,
    "evaluate": evaluate,
    "assess-reference": assess_reference,
    "assess": assess,
    "gate": gate,
    "report": report,
}


def set_up_process(online: bool, quiet: bool = False) -> None:
    """Log lines, progress bars (none if quiet), the hub and oneDNN, before anything heavy is imported."""
    # oneDNN keeps what it compiled for each of the last 1,024 shapes; batches of ever other lengths fill the memory so
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "32")
    if quiet or not sys.stderr.isatty():
        os.environ["TQDM_DISABLE"] = "1"  # tqdm reads it when it is imported: all bars, lm-eval's too
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s")
    if not online:
        os.environ.setdefault("HF_HUB_OFFLINE", "1")  # every input is a local file: nothing is asked of a hub


def main(arguments: list[str]) -> int:
    """Run one stage. One sentence each: bad input, exit code 2; training that diverged, 3; too little memory, 1."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.stages", description="Run one DVC stage.")
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("names", nargs="*", help="model, and method")
    chosen = parser.parse_args(arguments)
    set_up_process(online=chosen.stage in ONLINE)
    first = os.environ.get("RANK", "0") == "0"  # of several processes it is the one that speaks and writes
    try:
        params = load_params()
        if chosen.stage in SEVERAL and params.runtime.launch and not launched():
            return launch(params.runtime.launch, "pipelines.stages", arguments)
        STAGES[chosen.stage](params, *chosen.names)
        if chosen.stage not in PROJECT_WIDE and first:
            write_usage(chosen.stage, chosen.names)
    except InputError as error:
        _say(str(error).replace("\n", "\n  "), first)  # indented: lines of one message (repro.py)
        return 2
    except FloatingPointError as error:
        _say(str(error), first)
        return DIVERGED
    except MemoryError as error:
        _say(str(error), aloud=True)  # a process may be the only one with too little
        return 1
    return 0


def _say(sentence: str, aloud: bool) -> None:
    if aloud:
        print(sentence, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
