"""`wpn compare`: several methods on the same models, data, split and budget, over several seeds."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines import tracking
from pipelines.adopt import document_text, read_document
from pipelines.clone import clone, dvc
from pipelines.report import label
from wpn.config import load_params, parse_params
from wpn.errors import InputError
from wpn.files import read_json, write_json

if TYPE_CHECKING:
    from rich.table import Table

Row = dict[str, Any]

# column of the table -> key of a row, and what it is multiplied with
COLUMNS = {
    "unseen": ("harmless_unseen", 100),
    "sampled": ("harmless_sampled", 100),
    "drop": ("benchmark_drop", 100),
    "perpl.": ("perplexity_ratio", 1),
    "forced": ("forced_start", 100),
    "k = 2": ("in_context_k2", 100),
    "5 steps": ("relearn_5", 100),
    "10 steps": ("relearn_10", 100),
}


def compare(root: Path, models: Sequence[str], methods: Sequence[str], seeds: Sequence[int]) -> list[Row]:
    """Run `dvc repro` in a clone for every seed; what the shared cache has is not computed again.

    Returns:
        The rows of `wpn results --json`, of all seeds; also written to build/compare/rows.json.
    Raises:
        InputError: an unknown name, or changes that no commit holds.
        RuntimeError: a stage failed.
    """
    commit, dirty = tracking.git_state(root)
    if dirty:
        raise InputError("there are uncommitted changes, which the clones would not have; commit them")
    settings = {seed: _params(root, models, methods, seed) for seed in seeds}  # all are checked before one is run
    rows: list[Row] = []
    for params in settings.values():
        with clone(root, commit, params) as folder:
            dvc(folder, "repro", "--quiet")
            rows += read_json(folder / "build" / "report" / "results.json")
    write_json(root / "build" / "compare" / "rows.json", rows)
    return rows


def _params(root: Path, models: Sequence[str], methods: Sequence[str], seed: int) -> str:
    file = root / "params.yaml"
    known = load_params(file).pipeline
    yaml, document = read_document(file)
    document["seed"] = seed
    document["pipeline"]["models"] = list(models) or known.models
    document["pipeline"]["methods"] = chosen = list(methods) or known.methods
    if known.candidate not in chosen:
        document["pipeline"]["candidate"] = chosen[0]
    text = document_text(yaml, document)
    parse_params(text, file)
    return text


def table(rows: Sequence[Row]) -> "Table":
    """One line a model and method: the mean over the seeds, and the 95 % interval of the mean under it."""
    from rich import box
    from rich.table import Table

    seeds = len({row["seed"] for row in rows})
    caption = (
        f"means over {seeds} seeds, 95 % interval (Student); %, but for the perplexity ratio; harmful under k = 2 "
        "examples and after relearning"
    )
    shown = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=0, caption=caption)
    for name in ("model", "stage"):
        shown.add_column(name, no_wrap=True)
    for name in COLUMNS:
        shown.add_column(name, justify="right", no_wrap=True)
    lines: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        lines.setdefault((row["model"], label(row)), []).append(row)
    model = None
    for (name, stage), group in lines.items():
        if model not in (None, name):
            shown.add_section()
        cells = (_cell([row[key] for row in group], factor) for key, factor in COLUMNS.values())
        shown.add_row("" if name == model else name, stage, *cells)
        model = name
    return shown


def _cell(values: Sequence[float | None], factor: float) -> str:
    from wpn.statistics import mean_interval

    found = [factor * value for value in values if value is not None]
    if not found:
        return "-"
    mean, _, high = mean_interval(found)
    digits = 1 if factor > 1 else 3
    return f"{mean:.{digits}f}" + ("" if high is None else f"\n±{high - mean:.{digits}f}")
