"""`wpn judges calibrate`: the judges of params.yaml on texts that people have labelled."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.sources import fetch
from wpn.config.loading import load_params
from wpn.config.sources import JudgeRow
from wpn.errors import InputError

if TYPE_CHECKING:
    from rich.table import Table


def calibrate(root: Path, file: Path, names: list[str], threshold: float) -> dict[str, Any]:
    """Score the texts of a file with the judges and compare with the labels.

    Args:
        names: rows of `judges`; without any, those that need no model of a hub.
    Returns:
        What wpn.judges.calibrate.calibrate returns.
    Raises:
        InputError: an unknown judge, or a file that is not as it must be.
    """
    from wpn.judges.calibrate import calibrate as compare
    from wpn.judges.calibrate import read_labelled

    rows = load_params(root / "params.yaml").judges
    for name in names:
        if name not in rows:
            raise InputError(f"unknown judge {name!r}; params.yaml lists {', '.join(rows)}")
    texts, labels = read_labelled(file)
    # the lexical judge knows the organisms' grammar only
    chosen = names or [name for name, row in rows.items() if row.kind != "lexical" and row.hub is None]
    with tempfile.TemporaryDirectory() as folder:
        judges = {name: _ready(rows[name], Path(folder) / name) for name in chosen}
        return compare(judges, texts, labels, threshold)


def _ready(row: JudgeRow, folder: Path) -> Any:
    from wpn.judges import load_judge
    from wpn.models import choose_device

    fetch(row, folder)
    return load_judge(row, folder, choose_device("auto"))


def tables(result: dict[str, Any]) -> "list[Table]":
    """The numbers for a terminal: one row a judge, one row a pair of judges."""
    from rich import box
    from rich.table import Table

    title = f"{result['texts']} texts, {result['harmful']} harmful; threshold {result['threshold']:g}; 95 % intervals"
    judges = Table("judge", "AUC", "false positives, %", "false negatives, %", box=box.SIMPLE_HEAD, title=title)
    for name, found in result["judges"].items():
        auc, wrong = found["auc"], (found["false_positive"], found["false_negative"])
        judges.add_row(
            name,
            f"{auc['value']:.3f} ({auc['low']:.3f}-{auc['high']:.3f})",
            *(f"{100 * r['rate']:.1f} ({100 * r['low']:.1f}-{100 * r['high']:.1f})" for r in wrong),
        )
    pairs = Table("judges", "same verdict, %", "Cohen's kappa", box=box.SIMPLE_HEAD)
    for pair in result["agreement"]:
        kappa = "-" if pair["kappa"] is None else f"{pair['kappa']:.2f}"
        pairs.add_row(" / ".join(pair["judges"]), f"{100 * pair['equal']:.1f}", kappa)
    return [judges, pairs] if result["agreement"] else [judges]
