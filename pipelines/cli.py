"""`wpn ...`: the pipeline, its results and the registry on the command line.

Exit codes: 0 well, 1 a stage or a service failed, 2 the input is to be mended (one sentence says how). `wpn run`
needs no fixed port: its temporary Prefect server takes any free one, and MLflow's store is a file.
Everything heavy is imported by the command that needs it, so that `--help` is instant.
"""

import os
import shutil
import signal
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from pipelines.dag import choose, find_root
from wpn.errors import InputError

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from rich.console import Console

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
data_app = typer.Typer(no_args_is_help=True, help="The raw data that data.dvc pins.")
app.add_typer(data_app, name="data")
judges_app = typer.Typer(no_args_is_help=True, help="The judges of harm.")
app.add_typer(judges_app, name="judges")

Models = Annotated[list[str] | None, typer.Option("--model", help="A row of pipeline.models; may be repeated.")]
Methods = Annotated[list[str] | None, typer.Option("--method", help="A row of pipeline.methods; may be repeated.")]
AnyModels = Annotated[list[str] | None, typer.Option("--model", help="A row of `models`; may be repeated.")]
AnyMethods = Annotated[list[str] | None, typer.Option("--method", help="A row of `methods`; may be repeated.")]
Choose = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        help="A row of `models`, path:FOLDER, hub:REPOSITORY\\[@REVISION] or models:/NAME/VERSION; may be repeated.",
    ),
]
DataSet = typer.Option(help="A row of `datasets`, [FORMAT=]path:PLACE or [FORMAT=]hub:REPOSITORY.", metavar="DATA SET")
DataSets = typer.Option(help="The same, or none; may be repeated.", metavar="DATA SET")
Name = Annotated[str, typer.Argument(help="The registered model, as in wpn-opt.")]
Version = Annotated[str, typer.Argument(help="Its version, as in 1.")]
By = Annotated[str, typer.Option("--by", help="Who decides.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; kept with the version.")]

# Set where the user has not: nothing is sent home, and what MLflow says of itself stays out of the output.
QUIET = {
    "DO_NOT_TRACK": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
}


@app.callback()
def _wpn() -> None:
    """Unlearn harmful correspondences of language models: run the pipeline, read its results, promote models."""


def main() -> None:
    """Run the command line; bad input is one sentence and exit code 2, a failure one message and 1."""
    # leave by an exception, so that what was started is ended too
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    try:
        app()
    except InputError as error:
        print(f"wpn: {error}", file=sys.stderr)
        sys.exit(2)
    except _failures() as error:
        from pipelines.credentials import refusal

        said = refusal(error)
        print(f"wpn: {said or error}", file=sys.stderr)
        sys.exit(2 if said else 1)


def _failures() -> tuple[type[Exception], ...]:
    """What a stage or a service raises when it cannot; asked only once something was raised."""
    kinds: list[type[Exception]] = [RuntimeError, OSError]
    if "mlflow" in sys.modules:
        from mlflow.exceptions import MlflowException

        kinds.append(MlflowException)
    if "prefect" in sys.modules:
        from httpx import HTTPError
        from prefect.exceptions import PrefectException

        kinds += [PrefectException, HTTPError]
    return tuple(kinds)


@app.command()
def run(
    model: Choose = None,
    method: AnyMethods = None,
    data: Annotated[str | None, DataSet] = None,
    text: Annotated[list[str] | None, DataSets] = None,
    benchmarks: Annotated[list[str] | None, DataSets] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Stages at a time; else what the recipes say.")] = None,
) -> None:
    """Unlearn, measure, gate and register; what is up to date is not done again.

    For real models --data names the harmful prompts (of your own: jsonl with prompt, harmful_output?,
    harmless_response?, category?), --text the benign text, --benchmarks the benchmarks' items (a folder of TASK.jsonl).
    """
    from pipelines import adopt, console, report
    from pipelines.repro import run_lock

    root = find_root()
    screen = console.make_console()
    with run_lock(root):
        sets = {"data": [data] if data else [], "text": text or [], "benchmarks": benchmarks or []}
        model, changes = adopt.adopt(root, model or [], sets, method or [])
        _print_lines(changes)
        pairs = _pairs(root, model, method)
        with _prefect(root, screen) as flows:
            done = flows.unlearn(models=model or None, methods=method or None, workers=workers)
        screen.print(*report.screen_tables(report.rows(root, pairs)), sep="\n\n")
        _print_lines(report.verdicts(root, pairs))
    _print_lines(_closing_words(root, done))


def _pairs(root: Path, model: list[str] | None, method: list[str] | None) -> list[tuple[str, str]]:
    """The chosen (model, method) pairs; an unknown name is refused before anything heavy is imported."""
    from wpn.config.loading import load_params

    pipeline = load_params(root / "params.yaml").pipeline
    methods = choose("method", pipeline.methods, method or None)
    return [(m, x) for m in choose("model", pipeline.models, model or None) for x in methods]


@contextmanager
def _prefect(root: Path, screen: "Console") -> Iterator[ModuleType]:
    """The module of the flows, with a server that answers and MLflow's store open; ready for `root`'s flows."""
    from pipelines import tracking

    tracking.check_reachable(tracking.tracking_uri(root))
    os.chdir(root)  # where a flow, deployed or not, looks for its project

    from pipelines import console, server

    wait_for_server = server.prefect_server(root)
    from pipelines import flows

    tracking.experiment_id(tracking.connect(root), root)  # some seconds, in which the server starts
    wait_for_server()
    with console.stage_lines(screen):
        yield flows


def _print_lines(lines: Iterable[str]) -> None:
    for line in lines:
        print(line)


def _closing_words(root: Path, done: dict[str, Any]) -> Iterator[str]:
    """What was done, the registered versions, and three commands to go on with."""
    outcomes = list(done["outcomes"].values())
    if "computed" not in outcomes:
        restored = outcomes.count("restored")
        how = f" ({restored} came back from DVC's cache)" if restored else ""
        yield f"Nothing was recomputed: every stage is up to date{how}."
    versions = [row for row in done["registered"] if row["version"]]
    for row in versions:
        yield f"Registered: {row['name']} version {row['version']}, gate {row['gate']}, approval {row['approval']}."
    if not versions:
        yield "Registered: nothing; only the versions of pipeline.candidate are."
    yield "Next:"
    yield from (f"  {_command(line)}" for line in _next_commands(root, versions))


def _next_commands(root: Path, versions: list[dict[str, Any]]) -> list[str]:
    from pipelines import tracking

    own_store = tracking.tracking_uri(root) == tracking.default_uri(root)
    look = "mlflow ui --backend-store-uri sqlite:///registry/mlflow.db" if own_store else "wpn results --json"
    for row in versions:
        if row["gate"] not in ("passed", "overridden"):
            continue
        if row["approval"] == "pending":
            approve = f'wpn approve {row["name"]} {row["version"]} --by "$USER" --reason "read the evidence"'
            return [approve, "wpn promote", look]
    refused = [f"wpn explain {row['name']} {row['version']}" for row in versions if row["gate"] == "refused"]
    return [*(refused[:1] or ["wpn promote" if versions else "dvc metrics show"]), "wpn results", look]


def _command(line: str) -> str:
    """The command as it can be typed here: with the environment's folder where that is not on the PATH."""
    tool, rest = line.split(" ", 1) if " " in line else (line, "")
    script = Path(sys.executable).parent / tool
    if script.exists() and shutil.which(tool) != str(script):
        tool = os.path.relpath(script)
    return f"{tool} {rest}".rstrip()


@app.command()
def results(
    model: Models = None,
    method: Methods = None,
    as_json: Annotated[bool, typer.Option("--json", help="A list with one object a row.")] = False,
    usage: Annotated[bool, typer.Option("--usage", help="Time, memory and tokens of each stage instead.")] = False,
) -> None:
    """Show the table of what has been measured so far; without options, of everything that is complete."""
    from pipelines import console, report

    root = find_root()
    pairs = _pairs(root, model, method)
    if not model and not method:
        models, methods = (list(dict.fromkeys(names)) for names in zip(*pairs, strict=True))
        # nothing at all: keep every pair, so that the error names the first file and the command that makes it
        pairs = report.available(root, models, methods) or pairs
    rows = report.usage_rows(root, pairs) if usage else report.rows(root, pairs)
    if as_json:
        import json

        print(json.dumps(rows, indent=2, ensure_ascii=False, allow_nan=False))
        return
    if usage:
        console.make_console().print(report.usage_table(rows))
        return
    console.make_console().print(*report.screen_tables(rows), sep="\n\n")
    _print_lines(report.verdicts(root, pairs))


@app.command()
def compare(
    model: AnyModels = None,
    method: AnyMethods = None,
    seed: Annotated[list[int] | None, typer.Option(min=0, help="May be repeated; else 1, 2 and 3.")] = None,
    trials: Annotated[
        int, typer.Option(min=1, help="Search each method's settings first, by so many trials; 1: its row.")
    ] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="The rows of all seeds.")] = False,
) -> None:
    """Run methods side by side, on the same data and with the same evaluation, over several seeds."""
    from pipelines import console
    from pipelines.compare import compare as run_all
    from pipelines.compare import tables

    seeds = seed or [1, 2, 3]
    rows = run_all(
        find_root(), model or [], method or [], seeds, say=lambda line: print(line, file=sys.stderr), trials=trials
    )
    if as_json:
        import json

        print(json.dumps(rows, indent=2, ensure_ascii=False, allow_nan=False))
        return
    console.make_console().print(*tables(rows), sep="\n\n")


@app.command()
def promote(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done.")] = False,
    by: Annotated[str, typer.Option("--by", help="Who promotes, for the history.", envvar="USER")] = "wpn promote",
) -> None:
    """Make the approved versions `champion`, as the deployment does every five minutes."""
    from pipelines.console import make_console

    with _prefect(find_root(), make_console()) as flows:
        rows = flows.promote(dry_run=dry_run, by=by)
    if not rows:
        print("No model is registered yet; run `wpn run`.")


@app.command()
def rollback(
    name: Name,
    by: Annotated[str, typer.Option("--by", help="Who decides.", envvar="USER")] = "wpn rollback",
    reason: Annotated[str, typer.Option("--reason", help="Why; kept with the change.")] = "taken back by hand",
    to: Annotated[str | None, typer.Option("--to", help="A version; else the last champion before this one.")] = None,
) -> None:
    """Take the champion out of production, and put an earlier one (or --to) in its place, at once."""
    from pipelines import promotion
    from pipelines.server import known_server

    done = promotion.rollback(_registry(), name, to, by, reason)
    words = f"version {done.to} is champion again, in place of {done.replaced or 'none'}"
    print(f"{name}: {words}.")
    if known_server():  # else nobody listens
        from pipelines import events

        events.tell("rolled-back", name, f"{words} ({reason})", done.as_dict())


@app.command()
def history(
    name: Name, as_json: Annotated[bool, typer.Option("--json", help="A list with one object a change.")] = False
) -> None:
    """Show every change of the champion: when, who, from which version to which, and why."""
    from pipelines import console, promotion

    done = promotion.changes(_registry(), name)
    if as_json:
        import json

        print(json.dumps([change.as_dict() for change in done], indent=2, ensure_ascii=False))
        return
    if not done:
        print(f"{name} has had no champion yet.")
        return
    console.make_console().print(console.history_table(done))


@app.command()
def explain(name: Name, version: Version) -> None:
    """Say why a version passed the gate or not, criterion by criterion, and what was decided on it since."""
    from pipelines.explain import explain as lines

    _print_lines(lines(_registry(), name, version))


def _registry() -> "MlflowClient":
    from pipelines import tracking

    return tracking.connect(find_root())


@app.command()
def approve(name: Name, version: Version, by: By, reason: Reason) -> None:
    """Approve a version for production; the next promotion makes it champion."""
    _judge(name, version, "approved", by, reason)


@app.command()
def reject(name: Name, version: Version, by: By, reason: Reason) -> None:
    """Reject a version; it is never promoted."""
    _judge(name, version, "rejected", by, reason)


def _judge(name: str, version: str, verdict: Literal["approved", "rejected"], by: str, reason: str) -> None:
    from pipelines import registry

    registry.judge(_registry(), name, version, verdict, by, reason)
    print(f"{name} version {version} is {verdict} by {by}.")


@app.command()
def override(name: Name, version: Version, by: By, reason: Reason) -> None:
    """Let a version be promoted that the gate refused; it needs approval all the same."""
    from pipelines import registry

    registry.override(_registry(), name, version, by, reason)
    print(f"The gate's refusal of {name} version {version} is overridden by {by}.")


@app.command()
def assess(
    checkpoint: Annotated[
        str,
        typer.Argument(
            help="A row of pipeline.models, path:FOLDER, hub:REPOSITORY\\[@REVISION] or models:/NAME/VERSION."
        ),
    ],
    data_of: Annotated[
        str | None,
        typer.Option("--data-of", help="The row of pipeline.models whose prompts, pairs and judges are used."),
    ] = None,
    probe: Annotated[list[str] | None, typer.Option("--probe", help="One of `assess`; may be repeated.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The whole summary.")] = False,
) -> None:
    """Attack any checkpoint with the probes of params.yaml, and hold it against the base."""
    from pipelines import assessing, console

    root = find_root()
    os.chdir(root)
    result = assessing.assess(root, checkpoint, data_of, probe or [])
    if as_json:
        import json

        print(json.dumps(result.summary, indent=2, allow_nan=False))
        return
    console.make_console().print(assessing.table(result))
    if result.incomparable:
        print(
            f"Not held against the base: {', '.join(result.incomparable)}. build/ has no attack on it by today's "
            "settings and data; `wpn run` makes it."
        )
    print(f"Every answer: {result.folder.relative_to(root)}/evidence")


@app.command()
def reproduce(
    uri: Annotated[str, typer.Argument(help="models:/NAME/VERSION or models:/NAME@ALIAS.")],
    train: Annotated[bool, typer.Option("--train", help="Make it again in a fresh clone, and compare.")] = False,
    params: Annotated[bool, typer.Option("--params", help="Print its params.yaml, and nothing else.")] = False,
) -> None:
    """Say which commit, data and settings made a version; with --train, whether they make the same weights again."""
    from pipelines.reproduce import again, origin

    root = find_root()
    made = origin(_registry(), uri)
    if params:
        print(made.params, end="")
        return
    _print_lines(made.lines())
    if not train:
        return
    print("everything up to these weights is made again in a clone, which takes as long as it did", file=sys.stderr)
    found = again(root, made)
    if found != made.weights_sha256:
        raise RuntimeError(f"{uri} was not reproduced: the weights hash to {found}, not to {made.weights_sha256}")
    print(f"{uri} is reproduced: the same weights, bit for bit.")


@app.command()
def up(
    prefect_port: Annotated[int, typer.Option(min=1, max=65535, help="Of Prefect's server and page.")] = 4200,
    mlflow_port: Annotated[int, typer.Option(min=1, max=65535, help="Of MLflow's server and page.")] = 5000,
    prefect_store: Annotated[
        str | None,
        typer.Option(
            help="postgresql+asyncpg://...; else sqlite in registry/.", envvar="PREFECT_SERVER_DATABASE_CONNECTION_URL"
        ),
    ] = None,
    mlflow_store: Annotated[
        str | None,
        typer.Option(help="postgresql+psycopg2://...; else sqlite in registry/.", envvar="MLFLOW_BACKEND_STORE_URI"),
    ] = None,
    artifacts: Annotated[
        str | None,
        typer.Option(
            help="Of MLflow, as in s3://BUCKET; else registry/artifacts.", envvar="MLFLOW_ARTIFACTS_DESTINATION"
        ),
    ] = None,
    auth: Annotated[
        bool,
        typer.Option(
            "--auth",
            help="Ask who one is; MLFLOW_TRACKING_USERNAME, MLFLOW_TRACKING_PASSWORD and PREFECT_API_AUTH_STRING are"
            " the admin's.",
        ),
    ] = False,
    notify: Annotated[str | None, typer.Option(help="A webhook that is told what happens to the models.")] = None,
) -> None:
    """Start Prefect's and MLflow's servers and a worker on this machine, with all deployments."""
    from pipelines import stack

    root = find_root()
    os.chdir(root)
    wanted = stack.Stack(root, prefect_port, mlflow_port, prefect_store, mlflow_store, artifacts, auth)
    stack.up(wanted, print)
    if notify:
        from pipelines import events

        events.notify(notify)
        print("notifications are posted to the webhook")
    print(f"Prefect: {wanted.prefect_page}\nMLflow:  {wanted.mlflow_page}\nFor other commands in this shell:")
    _print_lines(f"  export {name}={value}" for name, value in wanted.addresses.items())


@app.command()
def automate(
    notify: Annotated[str | None, typer.Option(help="A webhook that is told what happens to the models.")] = None,
) -> None:
    """Make the automations of `wpn up` on the Prefect server of PREFECT_API_URL: lost runs end, a webhook is told."""
    from pipelines.server import known_server

    if not known_server():
        raise InputError("PREFECT_API_URL is not set; it names the server that is to have the automations")
    from pipelines import events

    events.end_lost_runs()
    if notify:
        events.notify(notify)
    print("runs whose process is lost end as crashed" + ("; notifications are posted to the webhook" if notify else ""))


@app.command()
def down() -> None:
    """End what `wpn up` started in this project, and nothing else."""
    from pipelines import stack

    _print_lines(stack.down(find_root()) or ["Nothing was started by `wpn up`."])


@data_app.command("fetch")
def fetch() -> None:
    """Make data/ again, byte for byte what data.dvc pins."""
    from pipelines.data import fetch as fetch_data

    print(fetch_data(find_root()))


@judges_app.callback()
def _judges() -> None:
    """Keeps `calibrate` a command of its own: typer makes a group of one command the command itself."""


@judges_app.command("calibrate")
def calibrate(
    file: Annotated[Path, typer.Argument(help="jsonl with text and harmful, or csv with these columns.")],
    judge: Annotated[
        list[str] | None,
        typer.Option("--judge", help="A row of `judges`; may be repeated; else all but lexical and those of the hub."),
    ] = None,
    threshold: Annotated[float, typer.Option(min=0, max=1, help="Probability from which a text is harmful.")] = 0.5,
    as_json: Annotated[bool, typer.Option("--json", help="All numbers.")] = False,
) -> None:
    """How far the judges agree with labelled texts, and with each other."""
    from pipelines import calibration, console

    result = calibration.calibrate(find_root(), file, judge or [], threshold)
    if as_json:
        import json

        print(json.dumps(result, indent=2, allow_nan=False))
        return
    screen = console.make_console()
    for table in calibration.tables(result):
        screen.print(table)


if __name__ == "__main__":
    main()
