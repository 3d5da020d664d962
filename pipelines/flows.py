"""The Prefect flows: `unlearn` runs DVC's graph and registers, `promote` moves `champion`, `reassess` measures it.

Prefect holds no DAG and no data of its own: tasks come from `dag.py`, a stage is `dvc repro --single-item` in a
subprocess, and what passes between tasks is files. So caching is off, and a rerun of the flow does only what DVC
says is to be done.
"""

import shutil
from contextlib import closing, nullcontext, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate
from prefect.client.schemas.objects import State, TaskRun
from prefect.concurrency.sync import concurrency
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
from prefect.futures import PrefectFuture
from prefect.futures import wait as wait_for_all
from prefect.task_runners import ThreadPoolTaskRunner
from pydantic import Field, WithJsonSchema

from pipelines import dag, enrol, events, promotion, report, tracking
from pipelines import reassess as reassessment
from pipelines.repro import RETRY_AFTER, Outcome, StageFailed, StageInterrupted, StageRunner, run_lock
from wpn.config.loading import load_params
from wpn.errors import InputError


def _names(key: str) -> WithJsonSchema:
    """The form of a parameter as Prefect's page shows it: the names that params.yaml has when it is deployed.

    Prefect's server refuses other names before a run is made.
    """
    try:
        names: list[str] = getattr(load_params(dag.find_root() / "params.yaml").pipeline, key)
    except InputError:  # the flow itself says what is wrong, where it is run
        names = []
    items = {"type": "string", **({"enum": names} if names else {})}
    some = {"type": "array", "items": items, "minItems": 1, "uniqueItems": True}
    return WithJsonSchema({"anyOf": [some, {"type": "null"}]})


Models = Annotated[list[str] | None, _names("models")]
Methods = Annotated[list[str] | None, _names("methods")]
GPU = "gpu"  # the name of the concurrency limit, and of the work pool in prefect.yaml


def say(message: str, **marks: Any) -> None:
    """A line of ours in the run's log; the mark lets `wpn run` show it apart from Prefect's own lines."""
    get_run_logger().info("%s", message, extra={"wpn": marks})


def ensure_gpu_limit() -> None:
    """Make the limit, with one slot, where it is absent: `concurrency` holds nothing for a limit nobody made."""
    with get_client(sync_client=True) as client:
        try:
            client.read_global_concurrency_limit_by_name(GPU)
        except ObjectNotFound:
            with suppress(ObjectAlreadyExists):  # made by another run at this moment
                client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name=GPU, limit=1))


def uses_gpu(device: str) -> bool:
    """Whether stages that can use a GPU will; `auto` is answered without importing torch."""
    return device.startswith("cuda") or (device == "auto" and shutil.which("nvidia-smi") is not None)


def _is_transient(_task: Any, _run: TaskRun, state: State[Any]) -> bool:
    return isinstance(state.result(raise_on_failure=False), StageInterrupted)


@task(
    task_run_name="{stage}",
    cache_policy=NO_CACHE,
    retries=len(RETRY_AFTER),
    retry_delay_seconds=RETRY_AFTER,
    retry_condition_fn=_is_transient,
)
def run_stage(stage: str, runner: StageRunner, gpu: bool, number: int, total: int) -> Outcome:
    """One DVC stage, with its lines in this task's log."""
    # a hiccup of the server must not end an hour of training: the slot is for politeness, not for safety
    slot = concurrency(GPU, strict=True, raise_on_lease_renewal_failure=False) if gpu else nullcontext()
    with slot:
        say(f"[{number}/{total}] started", started=number, total=total)
        try:
            outcome = runner.run(stage, say)
        except StageInterrupted as error:
            say(f"{error}; trying again, at most {len(RETRY_AFTER)} times")
            raise
    say(f"[{number}/{total}] {outcome}", done=number, total=total)
    return outcome


def _may_pass(_task: Any, _run: TaskRun, state: State[Any]) -> bool:
    """MLflow may be busy; what the user has to mend stays as it is. Registering twice changes nothing."""
    return not isinstance(state.result(raise_on_failure=False), InputError)


@task(
    task_run_name="register {model} {method}",
    cache_policy=NO_CACHE,
    retries=1,
    retry_delay_seconds=3,
    retry_condition_fn=_may_pass,
)
def register(root: Path, model: str, method: str) -> dict[str, Any]:
    """Copy the files of one (model, method) into MLflow; the candidate method's become a version."""
    found = enrol.enrol(tracking.connect(root), root, load_params(root / "params.yaml"), model, method)
    if found["version"]:
        say(f"{found['name']} version {found['version']}: gate {found['gate']}, approval {found['approval']}")
    return found


@flow(name="unlearn", flow_run_name="unlearn", validate_parameters=True)
def unlearn(
    models: Models = None,
    methods: Methods = None,
    workers: Annotated[int, Field(ge=1)] | None = None,
) -> dict[str, Any]:
    """Unlearn, measure, gate and register the chosen models and methods (default: all of params.yaml).

    Args:
        models: rows of pipeline.models; None is all of them.
        methods: rows of pipeline.methods; None is all of them.
        workers: stages at a time (default: the fewest of the chosen models' recipes); where there is a GPU, the stages
            that use it also wait for a slot of the `gpu` limit.
    Returns:
        What was done: `outcomes` of the stages that were looked into, `unchanged` stages, `registered` rows.
    Raises:
        InputError: a bad configuration or name, MLflow out of reach, another run in this checkout.
        StageFailed: a stage ended badly; those that do not need it were still run.
    """
    root = dag.find_root()
    with run_lock(root):
        params = load_params(root / "params.yaml")
        pairs = [
            (model, method)
            for model in dag.choose("model", params.pipeline.models, models)
            for method in dag.choose("method", params.pipeline.methods, methods)
        ]
        tracking.check_reachable(tracking.tracking_uri(root))  # before an hour of work, not after it
        graph, first = _settled(root)
        selected = dag.select(graph, params.pipeline.models, params.pipeline.methods, models, methods)
        to_run = dag.stale(graph, selected)
        unchanged = sorted(selected - set(to_run) - set(first))
        if unchanged:
            say(f"unchanged: {', '.join(unchanged)}")
        gpu = graph.gpu if uses_gpu(params.runtime.device) else frozenset()
        # the model that needs most of the machine says how many stages may share it
        fitting = min(params.recipe(model).compute.workers for model, _ in pairs)
        outcomes = first | _run_stages(workers or fitting, root, graph, gpu, to_run)
        _publish(root, pairs)
        registered = _register_all(root, pairs)
    return {"outcomes": outcomes, "unchanged": unchanged, "registered": registered}


def _settled(root: Path) -> tuple[dag.Graph, dict[str, Outcome]]:
    """The graph after the stages that tell what else is stale, and what they did."""
    graph = dag.read(root)
    to_run = [stage for stage in dag.stale(graph, graph.upstream) if stage in graph.first]
    if not to_run:
        return graph, {}
    outcomes = _run_stages(1, root, graph, frozenset(), to_run)
    return dag.read(root), outcomes


def _run_stages(
    workers: int, root: Path, graph: dag.Graph, gpu: frozenset[str], to_run: list[str]
) -> dict[str, Outcome]:
    """Submit every stage after those it needs, and wait; a failed one stops its own downstream only."""
    if gpu & set(to_run):
        ensure_gpu_limit()
    runner = StageRunner(root)
    futures: dict[str, PrefectFuture[Outcome]] = {}
    with _pool(workers) as pool, closing(runner):  # closed first: on Ctrl-C nothing may go on behind our back
        for number, stage in enumerate(to_run, start=1):
            futures[stage] = pool.submit(
                run_stage,
                {
                    "stage": stage,
                    "runner": runner,
                    "gpu": stage in gpu,
                    "number": number,
                    "total": len(to_run),
                },
                wait_for=[futures[name] for name in sorted(graph.upstream[stage] & futures.keys())],
            )
        wait_for_all(list(futures.values()))
    _raise_first_failure(futures)
    return {stage: future.result() for stage, future in futures.items()}


def _register_all(root: Path, pairs: list[tuple[str, str]]) -> list[dict[str, Any]]:
    """One after the other: two at a time collide in MLflow when both are the first to name a data set."""
    with _pool(1) as pool:
        futures = [pool.submit(register, {"root": root, "model": m, "method": x}) for m, x in pairs]
        return [future.result() for future in futures]


def _pool(workers: int) -> ThreadPoolTaskRunner[Any]:
    return ThreadPoolTaskRunner(max_workers=workers)


def _raise_first_failure(futures: dict[str, PrefectFuture[Outcome]]) -> None:
    """One readable error for all: what the failed stages said, and which ones did not run because of them."""
    states = {stage: future.state for stage, future in futures.items()}
    errors = [s.result(raise_on_failure=False) for s in states.values() if s.is_failed() or s.is_crashed()]
    if not errors:
        return
    for error in errors:
        if not isinstance(error, StageFailed):  # bad input, or Prefect itself: clear enough alone
            raise error
    skipped = [stage for stage, state in states.items() if state.is_pending()]
    not_run = [f"not run, because they need it: {', '.join(skipped)}"] if skipped else []
    raise StageFailed("\n".join([*map(str, errors), *not_run]))


def _publish(root: Path, pairs: list[tuple[str, str]]) -> None:
    """The results where Prefect's UI shows them."""
    create_table_artifact(report.flat(report.rows(root, pairs)), key="results", description="one row a model and stage")
    create_markdown_artifact("\n".join(f"- {line}" for line in report.verdicts(root, pairs)), key="verdicts")


@task(task_run_name="promote", cache_policy=NO_CACHE)
def move_champions(root: Path, by: str, dry_run: bool) -> list[dict[str, Any]]:
    """Promote, refuse, withdraw; each is told once, by an event."""
    rows = promotion.promote(tracking.connect(root), by=by, dry_run=dry_run)
    for row in rows:
        version = f" version {row['version']}" if row["version"] else ""
        words = f"{row['action']}{version}" + (f" ({row['reason']})" if row["reason"] else "")
        say(f"{row['model']}: {words}")
        if row["new"]:
            events.tell(row["action"].replace(" ", "-"), row["model"], words, row)
    return rows


@flow(name="promote", flow_run_name="promote", validate_parameters=True)
def promote(dry_run: bool = False, by: str = "flow promote") -> list[dict[str, Any]]:
    """Make `champion` of every version that passed the gate and that a person approved.

    Args:
        dry_run: only say what would be done.
        by: who promotes, for the history.
    """
    rows = move_champions(dag.find_root(), by, dry_run)
    create_table_artifact(rows, key="promotions", description="what was done, model by model")
    return rows


@task(task_run_name="reassess {model}", cache_policy=NO_CACHE)
def measure_champion(root: Path, model: str, seed: int) -> dict[str, Any] | None:
    """One champion, measured again; found drift is told by an event."""
    row = reassessment.reassess(tracking.connect(root), root, model, seed)
    if row is None:
        say(f"{model}: there is no champion")
        return None
    words = f"version {row['version']}: drift {row['drift']}" + (
        f" ({'; '.join(row['reasons'])})" if row["reasons"] else ""
    )
    say(f"{row['model']}: {words}")
    if row["reasons"]:
        events.tell("drift", row["model"], words, row)
    return row


@flow(name="reassess", flow_run_name="reassess", validate_parameters=True)
def reassess(models: Models = None, seed: Annotated[int, Field(ge=0)] | None = None) -> list[dict[str, Any]]:
    """Measure the champions again, and tag what drifted.

    Args:
        models: rows of pipeline.models (default: all).
        seed: of the samples; the default is another one every day.
    """
    root = dag.find_root()
    fresh = int(datetime.now(UTC).strftime("%Y%m%d")) if seed is None else seed
    with run_lock(root):
        chosen = dag.choose("model", load_params(root / "params.yaml").pipeline.models, models)
        found = [measure_champion(root, model, fresh) for model in chosen]
    rows = [{**row, "reasons": "; ".join(row["reasons"])} for row in found if row]
    create_table_artifact(rows, key="reassessments", description="the champions, measured again")
    return rows
