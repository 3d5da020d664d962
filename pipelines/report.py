"""The results as rows, a table and sentences, put together from the JSON that the stages left.

Nothing is computed here but what `wpn.estimates` says of two evaluations, so that each number exists once.
"""

import csv
import io
import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.attack_curves import FIELDS, attack_curves
from wpn.errors import InputError
from wpn.files import read_json, write_json, write_text

if TYPE_CHECKING:
    from rich.table import Table

Row = dict[str, Any]

HARMLESS = ("harmless_seen", "harmless_unseen", "harmless_ood")  # each with _low and _high
# The numbers of the table of attacks, and the titles of its columns.
ATTACKS = {
    "forced_start": "forced\nstart",
    "attack_success_worst": "wrap-\nped",
    "suffix_success": "suf-\nfix",
    "in_context_k2": "k = 2",
    "int8_change": "int8",
    "relearn_10": "re-\nlearn",
    "relearn_10_worst": "worst",
}


def _with_ends(name: str) -> tuple[str, str, str]:
    return name, f"{name}_low", f"{name}_high"


# The numbers of a row, in the order of its keys; all but `seconds` come from wpn.estimates.
NUMBERS = (
    *(key for name in HARMLESS for key in _with_ends(name)),
    "harmless_sampled",
    "judged_harmless_unseen",
    "meaningful_unseen",
    *_with_ends("benchmark_mean"),
    "benchmark_drop",
    *_with_ends("perplexity_ratio"),
    "meaningful_sampled",
    *("toxicity_fall", "toxicity_fall_low", "toxicity_fall_p", "benchmark_drop_high", "task_drop_max"),
    *ATTACKS,
    *_with_ends("alarm_perplexity_ratio"),
    "harmful_paraphrased",
    "harmful_worst_set",
    "attack_success_any",
    *("worst_case", "worst_case_greedy"),
    "toxicity_probability",
    "relearn_5",
    "relearn_20",
    "relearn_20_worst",
    *("relearn_10_of_4", "relearn_10_of_1"),
    "in_context_k8",
    *_with_ends("in_context_recovery_k2"),
    *_with_ends("in_context_recovery_k8"),
    "filtered_in_context_k2",
    "filter_missed",
    "filter_false_alarms",
    "filter_false_alarms_benign",
    "expected_max_toxicity",
    "suffix_gain",
    "int4_change",
    "membership_auc",
    "memorisation_accuracy",
    "extraction_likelihood",
    "twin_kl_forget",
    "twin_kl_retain",
    "forget_quality_p",
    "over_refusal",
    "over_refusal_other",
    "benign_changed",
    "benign_kl",
    "relearn_auc",
    "relearn_auc_worst",
)


@dataclass(frozen=True)
class Unlearned:
    """Everything the stages wrote about one model and method, all of the same weights."""

    model: str
    method: str
    training: dict[str, Any]
    before: dict[str, Any]
    after: dict[str, Any]
    decision: dict[str, Any]
    curve: list[dict[str, Any]]

    @property
    def weights_sha256(self) -> str:
        return str(self.training["weights_sha256"])


def load(root: Path, model: str, method: str) -> Unlearned:
    """Read the files of one (model, method).

    Raises:
        InputError: one is missing, or they are of different weights (a run that was stopped half-way).
    """
    folder = root / "build" / "unlearned" / model / method
    for path in (folder / "training.json", folder / "curve.json", _gate(root, model, method)):
        _require(path, root, model, method)
    result = Unlearned(
        model=model,
        method=method,
        training=read_json(folder / "training.json"),
        before=_metrics(root, model, "before"),
        after=_metrics(root, model, method, method),
        decision=read_json(_gate(root, model, method)),
        curve=read_json(folder / "curve.json"),
    )
    speaking = (result.training, result.after, result.decision, result.decision["assessment"])
    weights = {part["weights_sha256"] for part in speaking}
    if len(weights) != 1:
        raise InputError(
            f"the files of {model} / {method} under build/ speak of different weights;"
            f" run `wpn run --model {model} --method {method}`"
        )
    return result


def _gate(root: Path, model: str, method: str) -> Path:
    return root / "build" / "gate" / model / f"{method}.json"


def _metrics(root: Path, model: str, stage: str, method: str | None = None) -> dict[str, Any]:
    path = root / "build" / "evaluation" / model / stage / "metrics.json"
    _require(path, root, model, method)
    metrics: dict[str, Any] = read_json(path)
    return metrics


def _assessment(root: Path, model: str, stage: str) -> dict[str, Any]:
    path = root / "build" / "assessment" / model / stage / "summary.json"
    _require(path, root, model, None)
    summary: dict[str, Any] = read_json(path)
    return summary


def _require(path: Path, root: Path, model: str, method: str | None) -> None:
    if not path.is_file():
        command = f"wpn run --model {model}" + (f" --method {method}" if method else "")
        raise InputError(f"{path.relative_to(root)} does not exist yet; run `{command}`")


def available(root: Path, models: Iterable[str], methods: Iterable[str]) -> list[tuple[str, str]]:
    """The (model, method) pairs that have a gate decision, which is the last file to be written."""
    return [(m, x) for m in models for x in methods if _gate(root, m, x).is_file()]


def rows(root: Path, pairs: Iterable[tuple[str, str]]) -> list[Row]:
    """One row a model for before and twin, and one a method between them, for `wpn results --json`.

    Raises:
        InputError: a file is missing; the message says which command makes it.
    """
    table: list[Row] = []
    methods: dict[str, list[str]] = {}
    for model, method in pairs:
        methods.setdefault(model, []).append(method)
    for model in methods:
        before = _metrics(root, model, "before")
        attacked = _assessment(root, model, "before")
        table.append(_row(before, before, None, attacked, attacked))
        for method in methods[model]:
            unlearned = load(root, model, method)
            table.append(_row(before, unlearned.after, unlearned.decision, unlearned.decision["assessment"], attacked))
        if twin := _metrics(root, model, "twin"):  # empty for a real model, which has none
            table.append(_row(before, twin, None, _assessment(root, model, "twin"), attacked))
    return table


def usage_rows(root: Path, pairs: Iterable[tuple[str, str]]) -> list[Row]:
    """What each stage of these models and methods took (pipelines/usage.py), the longest first."""
    folder = root / "build" / "usage"
    wanted = dict.fromkeys(owner for model, method in pairs for owner in ((model, None), (model, method)))
    found = [
        {"model": model, "method": method, "stage": file.stem, **read_json(file)}
        for model, method in wanted
        for file in sorted(folder.joinpath(model, method or "").glob("*.json"))
    ]
    return sorted(found, key=lambda row: row["seconds"], reverse=True)


def usage_table(table_rows: list[Row]) -> "Table":
    """The same for a terminal."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=0)
    for name in ("model", "method", "stage"):
        table.add_column(name, no_wrap=True)
    for name in ("seconds", "CPU s", "memory\nMB", "GPU\nMB", "tokens\n1000"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in table_rows:
        gpu = "-" if row["gpu_memory_mb"] is None else f"{row['gpu_memory_mb']}"
        table.add_row(
            row["model"], row["method"] or "", row["stage"], f"{row['seconds']:.1f}", f"{row['cpu_seconds']:.1f}",
            f"{row['peak_memory_mb']}", gpu, f"{row['tokens'] / 1000:.0f}",
        )  # fmt: skip
    return table


def _row(
    before: dict[str, Any],
    metrics: dict[str, Any],
    decision: dict[str, Any] | None,
    assessment: dict[str, Any],
    base_assessment: dict[str, Any],
) -> Row:
    from wpn.estimates import estimates, flatten

    numbers = flatten(estimates(before, metrics, decision and decision["comparison"], assessment, base_assessment))
    return {
        "model": metrics["model"],
        "method": metrics["method"],
        "stage": metrics["stage"],
        "seed": metrics["seed"],
        **{name: _finite(numbers.get(name)) for name in NUMBERS},
        # of the samples, by each judge
        "toxicity": {judge: 1 - rates["sampled"]["rate"] for judge, rates in metrics["judges"].items()},
        "tasks": {name: task["accuracy"] for name, task in metrics.get("benchmark", {}).get("tasks", {}).items()},
        "seconds": _finite(metrics.get("training_seconds")),
        "gate": None if decision is None else ("passed" if decision["passed"] else "refused"),
        "reasons": [] if decision is None else list(decision["reasons"]),
    }


def _finite(number: float | None) -> float | None:
    return number if number is not None and math.isfinite(number) else None


def verdict(decision: dict[str, Any]) -> str:
    """The gate's decision in a sentence, as it stands in build/: what is against the champion is still pending."""
    who = f"{decision['model']} / {decision['method']}"
    if decision["mode"] != "enforce":
        who += " (tried only: gate.mode is dry_run)"
    if decision["passed"]:
        later = f"; judged at registration: {len(decision['pending'])} against the champion"
        held = f"every one of its {len(decision['criteria'])} bounds holds{later if decision['pending'] else ''}"
        return f"{who} passed the gate: {held}."
    return f"{who} was refused by the gate: {'; '.join(decision['reasons'])}."


def verdicts(root: Path, pairs: Iterable[tuple[str, str]]) -> list[str]:
    """One sentence a (model, method)."""
    return [verdict(read_json(_gate(root, model, method))) for model, method in pairs]


def label(row: Row) -> str:
    """What a row is called beside its model: before, the method's name, or twin."""
    return str(row["method"] or row["stage"])


def screen_table(table_rows: list[Row]) -> "Table":
    """The rows for a terminal of 80 columns: rates in percent, with their 95 % interval underneath."""
    from rich import box
    from rich.table import Table

    caption = "harmless and meaningful, % (95 % interval); o.o.d.: out of distribution; bench.: mean accuracy, %"
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=0, caption=caption)
    for name in ("model", "stage"):
        table.add_column(name, no_wrap=True)
    for name in ("seen", "unseen", "o.o.d.", "sampled", "bench.\n(drop)", "perpl.\nratio", "sec."):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("gate", no_wrap=True)
    model = None
    for row in table_rows:
        if model is not None and row["model"] != model:
            table.add_section()
        table.add_row("" if row["model"] == model else row["model"], *_cells(row))
        model = row["model"]
    return table


def _cells(row: Row) -> list[str]:
    return [
        label(row),
        *(f"{percent(row[n])}\n{percent(row[f'{n}_low'])}-{percent(row[f'{n}_high'])}" for n in HARMLESS),
        percent(row["harmless_sampled"]),
        f"{percent(row['benchmark_mean'])}\n({percent(row['benchmark_drop'])})",
        "-" if row["perplexity_ratio"] is None else f"{row['perplexity_ratio']:.3f}",
        "-" if row["seconds"] is None else f"{row['seconds']:.0f}",
        row["gate"] or "",
    ]


def screen_tables(table_rows: list[Row]) -> list["Table"]:
    """What a run shows: the results, and the attacks where there were any."""
    attacked = attack_table(table_rows)
    return [screen_table(table_rows), *([attacked] if attacked else [])]


def attack_table(table_rows: list[Row]) -> "Table | None":
    """What attacks bring back, for a terminal of 80 columns; None where no model was attacked."""
    if all(row[name] is None for row in table_rows for name in ATTACKS):
        return None
    from rich import box
    from rich.table import Table

    caption = (
        "under attack, %: harmless after the worst forced start; else harmful: in the worst wrapper, with a suffix,"
        " after 2 examples, more by rounding to int8, after 10 steps (worst attack); alarm: perplexity ratio"
    )
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=0, caption=caption)
    for name in ("model", "stage"):
        table.add_column(name, no_wrap=True)
    for name in (*ATTACKS.values(), "alarm"):
        table.add_column(name, justify="right", no_wrap=True)
    model = None
    for row in table_rows:
        if model is not None and row["model"] != model:
            table.add_section()
        alarm = row["alarm_perplexity_ratio"]
        shown = (percent(row[name]) for name in ATTACKS)
        table.add_row(
            "" if row["model"] == model else row["model"], label(row), *shown, "-" if alarm is None else f"{alarm:.3f}"
        )
        model = row["model"]
    return table


def percent(rate: float | None) -> str:
    """A fraction as tables show it, in percent with one decimal; a dash where there is none."""
    return "-" if rate is None else "100" if rate == 1 else f"{100 * rate:.1f}"


def write_report(root: Path, models: Iterable[str], methods: Iterable[str]) -> None:
    """The stage `report`: results.json and usage.json, and for `dvc plots` results.csv and attacks.csv."""
    pairs = list(itertools.product(models, methods))
    table = rows(root, pairs)
    named = [(row["model"], label(row)) for row in table]
    points = [point for name in named for point in attack_curves(*name, _assessment(root, *name))]
    folder = root / "build" / "report"
    write_json(folder / "results.json", table)
    write_json(folder / "usage.json", usage_rows(root, pairs))
    flattened = flat(table)
    write_text(folder / "results.csv", _csv(flattened, list(flattened[0])))
    write_text(folder / "attacks.csv", _csv(points, FIELDS))


def flat(table: list[Row]) -> list[Row]:
    """The rows with one number or text a cell, as tables elsewhere want them."""
    return [
        {
            **row,
            "label": label(row),
            "reasons": "; ".join(row["reasons"]),
            **{key: ", ".join(f"{k} {v:.3f}" for k, v in row[key].items()) for key in ("toxicity", "tasks")},
        }
        for row in table
    ]


def _csv(table: list[Row], fields: Sequence[str]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=fields, lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    return text.getvalue()
