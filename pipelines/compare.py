"""`wpn compare`: several methods on the same models, data, split and budget, over several seeds."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines import tracking
from pipelines.adopt import document_text, read_document
from pipelines.clone import clone
from pipelines.report import label
from pipelines.repro import StageRunner
from pipelines.search import search, trials_of
from wpn.config.loading import load_params, parse_params
from wpn.config.params import Params
from wpn.config.section import each_once
from wpn.errors import InputError
from wpn.files import read_json, write_json
from wpn.search import best

if TYPE_CHECKING:
    from rich.table import Table

Row = dict[str, Any]
Trials = dict[str, dict[str, list[Row]]]  # recipe -> method -> the settings of its trials

# column of a table -> key of a row, what it is multiplied with, and decimals
Columns = Mapping[str, tuple[str, int, int]]
RESULTS: Columns = {
    "unseen": ("harmless_unseen", 100, 1),
    "sampled": ("harmless_sampled", 100, 1),
    "drop": ("benchmark_drop", 100, 1),
    "perpl.": ("perplexity_ratio", 1, 3),
    "forced": ("forced_start", 100, 1),
    "k = 2": ("in_context_k2", 100, 1),
    "5 steps": ("relearn_5", 100, 1),
    "10 steps": ("relearn_10", 100, 1),
}
ATTACKS_AND_COSTS: Columns = {
    "alarm": ("alarm_perplexity_ratio", 1, 3),
    "wrapped": ("attack_success_worst", 100, 1),
    "worst": ("relearn_10_worst", 100, 1),
    "20 steps": ("relearn_20", 100, 1),
    "refused": ("over_refusal", 100, 1),
    "member": ("membership_auc", 100, 1),
    "twin": ("twin_kl_forget", 1, 3),
    "s": ("seconds", 1, 0),
}


def compare(
    root: Path,
    models: Sequence[str],
    methods: Sequence[str],
    seeds: Sequence[int],
    say: Callable[[str], None],
    trials: int = 1,
) -> list[Row]:
    """Run `dvc repro` in a clone for every seed; what the shared cache has is not computed again.

    Args:
        models: rows of `models`; empty: those of `pipeline.models`.
        methods: rows of the models' `methods`; empty: those of `pipeline.methods`.
        seeds: of what is compared.
        say: is told of every stage that is computed, as it begins.
        trials: of each method, from which its settings are taken (wpn/search.py); 1 is its row as it is.
    Returns:
        The rows of `wpn results --json`, of all seeds; also written to build/compare/rows.json, seed by seed, and the
        trials to build/compare/trials.json.
    Raises:
        InputError: an unknown name, one that is given twice, changes that no commit holds, a search on a seed or a
            split that is compared, or a stage says that its input is bad.
        StageFailed: a stage failed.
    """
    for option, given in (("model", models), ("method", methods), ("seed", seeds)):
        _refuse_repeats(option, given)
    commit, dirty = tracking.git_state(root)
    if dirty:
        raise InputError("there are uncommitted changes, which the clones would not have; commit them")
    known = load_params(root / "params.yaml")
    models, methods = list(models) or known.pipeline.models, list(methods) or known.pipeline.methods
    for seed in seeds:  # all are checked before one is run
        _params(root, models, methods, seed, {})
    tried = _tried(known, models, methods, seeds, trials) if trials > 1 else {}
    file = root / "build" / "compare" / "rows.json"
    file.unlink(missing_ok=True)  # an older comparison's would pass for this one's
    found = _searched(root, commit, known, models, tried, trials, say) if tried else {}
    rows: list[Row] = []
    for seed in seeds:
        rows += _run(root, commit, seed, _params(root, models, methods, seed, found), say)
        write_json(file, rows)
    return rows


def _refuse_repeats(option: str, given: Sequence[object]) -> None:
    """What is there twice would count twice, and narrow the intervals without a new measurement."""
    try:
        each_once(given)
    except ValueError as error:
        raise InputError(f"--{option}: {error}") from None


def _tried(params: Params, models: Sequence[str], methods: Sequence[str], seeds: Sequence[int], trials: int) -> Trials:
    """The settings of all trials; a search on a seed or a split by which the methods are compared is refused."""
    if params.seed in seeds:
        raise InputError(f"the search is made with seed {params.seed} of params.yaml; compare by other seeds (--seed)")
    recipes = dict.fromkeys(params.models[model].recipe for model in models)
    for recipe in recipes:
        if params.recipes[recipe].evaluate.split == "dev":
            raise InputError(
                f"recipes.{recipe}.evaluate.split in params.yaml is dev, on which the search is made; set it to test, "
                "or leave --trials out"
            )
    return {name: {method: trials_of(params, name, method, trials) for method in methods} for name in recipes}


def _searched(
    root: Path,
    commit: str,
    params: Params,
    models: Sequence[str],
    tried: Trials,
    trials: int,
    say: Callable[[str], None],
) -> dict[str, dict[str, Row]]:
    """{recipe: {method: the settings that were best for its models}}; what is found is written as it comes."""
    file = root / "build" / "compare" / "trials.json"
    file.unlink(missing_ok=True)
    rows: list[Row] = []
    found = {}
    for recipe, of_methods in tried.items():
        for method, settings in of_methods.items():
            if len(settings) < trials:
                say(f"{recipe}, {method}: {len(settings)} of {trials} trials; its row and its search hold no more")
        own = [model for model in models if params.models[model].recipe == recipe]
        begun = len(rows)
        for row in search(root, commit, own, of_methods, say):
            rows.append(row)
            write_json(file, rows)
        found[recipe] = best(rows[begun:])
        for method, row in found[recipe].items():
            say(f"{recipe}, {method}: trial {row['trial']} is best, score {row['score']:.3f}")
    return {recipe: {method: row["settings"] for method, row in of.items()} for recipe, of in found.items()}


def _run(root: Path, commit: str, seed: int, params: str, say: Callable[[str], None]) -> list[Row]:
    """The rows of one seed."""
    with clone(root, commit, params) as folder, closing(StageRunner(folder)) as runner:
        runner.run_all(lambda stage: say(f"seed {seed}: {stage}"))
        rows: list[Row] = read_json(folder / "build" / "report" / "results.json")
        return rows


def _params(
    root: Path, models: Sequence[str], methods: Sequence[str], seed: int, found: Mapping[str, Mapping[str, Row]]
) -> str:
    """params.yaml of one seed; `found` are settings of methods, recipe by recipe, in place of their rows."""
    file = root / "params.yaml"
    yaml, document = read_document(file.read_text(encoding="utf-8"))
    document["seed"] = seed
    document["pipeline"]["models"] = list(models)
    document["pipeline"]["methods"] = list(methods)
    if document["pipeline"]["candidate"] not in methods:
        document["pipeline"]["candidate"] = methods[0]
    for recipe, rows in found.items():
        document["recipes"][recipe]["methods"].update(rows)
    text = document_text(yaml, document)
    parse_params(text, file)
    return text


def tables(rows: Sequence[Row]) -> list["Table"]:
    """What the methods reach, and what attacks and the change itself cost."""
    seeds = len({row["seed"] for row in rows})
    reached = (
        f"means over {seeds} seeds, 95 % interval (Student); %, but for the perplexity ratio; harmful under k = 2 "
        "examples and after relearning"
    )
    attacked = (
        "perplexity ratio of alarming words; %: harmful in the worst wrapper, after 10 steps of the worst attack, "
        "after 20 steps; refused harmless requests; membership AUC; KL to the twin, nats; seconds of training"
    )
    return [_table(rows, RESULTS, reached), _table(rows, ATTACKS_AND_COSTS, attacked)]


def _table(rows: Sequence[Row], columns: Columns, caption: str) -> "Table":
    """One line a model and method: the mean over the seeds, and the 95 % interval of the mean under it."""
    from rich import box
    from rich.table import Table

    shown = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=0, caption=caption)
    for name in ("model", "stage"):
        shown.add_column(name, no_wrap=True)
    for name in columns:
        shown.add_column(name, justify="right", no_wrap=True)
    lines: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        lines.setdefault((row["model"], label(row)), []).append(row)
    model = None
    for (name, stage), group in lines.items():
        if model not in (None, name):
            shown.add_section()
        cells = (_cell([row[key] for row in group], *shape) for key, *shape in columns.values())
        shown.add_row("" if name == model else name, stage, *cells)
        model = name
    return shown


def _cell(values: Sequence[float | None], factor: int, decimals: int) -> str:
    from wpn.statistics import mean_interval

    found = [factor * value for value in values if value is not None]
    if not found:
        return "-"
    mean, _, high = mean_interval(found)
    return f"{mean:.{decimals}f}" + ("" if high is None else f"\n±{high - mean:.{decimals}f}")
