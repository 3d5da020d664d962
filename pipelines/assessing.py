"""`wpn assess`: the probes on any checkpoint, also one that this project did not make, with a model's data."""

import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pipelines.adopt import given_checkpoint, model_source
from pipelines.sources import fetch
from wpn.compare import compare_attacks
from wpn.config import Assess, Params, Source, load_params
from wpn.errors import InputError
from wpn.estimates import Estimate, estimates
from wpn.files import atomic_folder, read_json, write_json
from wpn.statistics import CONFIDENCE, holm

if TYPE_CHECKING:
    from rich.table import Table

HIGHER_IS_BETTER = ("forced_start",)
NEITHER = (  # or a matter of what one compares with
    *(
        "over_refusal",
        "benign_blank",
        "benign_changed",
        "benign_kl",
        "benign_perplexity_ratio",
    ),  # changes of the base, which has none from itself
    *("int8_change", "int4_change"),  # of what the model itself does
    *("answer_words", "distinct_2", "membership_", "suffix_gain", "filter_"),
    *("memorisation_accuracy_unseen", "extraction_likelihood_unseen"),
)
Verdict = Literal["better", "worse", "like the base", ""]


@dataclass(frozen=True)
class Assessment:
    """What the probes found, beside the base and the twin of the same data.

    Attributes:
        summary: of each probe.
        base, twin: theirs, where the pipeline has attacked them; else empty.
        p: of the rates and means of prompts that both base and model were asked, that they are the same
            (compare_attacks).
        folder: where the summary and the answers are.
    """

    summary: dict[str, Any]
    base: dict[str, Any]
    twin: dict[str, Any]
    p: dict[str, float]
    folder: Path


def assess(root: Path, checkpoint: str, data_of: str | None, probes: Sequence[str]) -> Assessment:
    """Attack a checkpoint.

    Args:
        root: the project, and the current folder.
        checkpoint: a row of pipeline.models (its base), path:FOLDER, hub:REPOSITORY[@REVISION] or models:/NAME/VERSION.
        data_of: the row of pipeline.models whose prompts, pairs and judges are used; None is the one that `checkpoint`
            names, or the only one.
        probes: sections of `assess`; none is all that are set.
    Raises:
        InputError: there is no such checkpoint, model or probe, or the model's data are not in build/.
    """
    from pipelines import stages

    stages.set_up_process(online=checkpoint.startswith("hub:"), quiet=True)
    params = load_params(root / "params.yaml")
    if checkpoint not in params.pipeline.models:
        given_checkpoint(checkpoint, params.pipeline.models)  # said before anything is asked of the other options
    model = data_of or _model_of(params, checkpoint)
    settings = _chosen(params, model, probes)
    _refuse_missing(root, model)
    target = root / "build" / "assessed" / re.sub(r"[^A-Za-z0-9._-]+", "-", checkpoint)
    with tempfile.TemporaryDirectory(dir=root / "build") as name, atomic_folder(target) as folder:
        files = _files(root, params, checkpoint, Path(name) / "checkpoint")
        (folder / "evidence").mkdir()
        summary = stages.assess_version(params, model, files, settings, folder / "evidence")
        write_json(folder / "summary.json", {"checkpoint": checkpoint, "data_of": model, **summary})
    known = [root / "build" / "assessment" / model / stage for stage in ("before", "twin")]
    base, twin = (read_json(file) if (file := each / "summary.json").exists() else {} for each in known)
    tested = compare_attacks(stages.attack_rows(known[0]), stages.attack_rows(target))
    p = {name: row["p"] for name, row in tested.items()}
    return Assessment(summary, base, twin, p, target)


def _model_of(params: Params, checkpoint: str) -> str:
    models = params.pipeline.models
    registered = re.match(r"models:/wpn-([^/@]+)", checkpoint)
    named = registered[1] if registered else checkpoint
    if named in models:
        return named
    if len(models) == 1:
        return models[0]
    raise InputError(f"say with --data-of whose prompts, pairs and judges attack {checkpoint}: {', '.join(models)}")


def _chosen(params: Params, model: str, probes: Sequence[str]) -> Assess:
    from wpn.assess import PROBES

    if model not in params.pipeline.models:
        raise InputError(f"unknown model {model!r}; pipeline.models has {', '.join(params.pipeline.models)}")
    settings = params.recipe(model).assess
    for name in probes:
        if name not in PROBES:
            raise InputError(f"unknown probe {name!r}; known: {', '.join(PROBES)}")
        if getattr(settings, name) is None:
            raise InputError(f"the probe {name} is null in params.yaml for {model}; give it its settings there")
    left_out = [name for name in PROBES if probes and name not in probes]
    return settings.model_copy(update=dict.fromkeys(left_out))


def _refuse_missing(root: Path, model: str) -> None:
    judges = [f"judges/{model}/{role}" for role in ("grading", "filtering")]
    for name in (f"settings/{model}", f"prepared/{model}", *judges, f"pairs/{model}", f"models/{model}/weights/base"):
        if not (root / "build" / name).exists():
            raise InputError(f"build/{name} is missing; run `wpn run --model {model}` first, or `dvc checkout`")


def _files(root: Path, params: Params, checkpoint: str, target: Path) -> Path:
    if checkpoint in params.pipeline.models:
        return root / "build" / "models" / checkpoint / "weights" / "base"
    fetch(Source.model_validate(model_source(checkpoint, root)), target)
    return target


def verdict(name: str, found: Estimate, base: Estimate | None, p: float | None = None) -> Verdict:
    """Better or worse by the paired test, and where there is none, where the intervals do not meet.

    Args:
        p: that the rate is the base's, corrected for the number of such tests.
    Returns:
        Nothing where there is no base, neither a test nor intervals, or no better and worse.
    """
    if base is None or name.startswith(NEITHER):
        return ""
    if p is None:
        ends = [end for each in (found, base) for end in (each.low, each.high) if end is not None]
        if len(ends) < 4:
            return ""
        low, high, base_low, base_high = ends
        differs = low > base_high or high < base_low
    else:
        differs = p < 1 - CONFIDENCE
    if not differs:
        return "like the base"
    return "better" if (found.value > base.value) == (name in HIGHER_IS_BETTER) else "worse"


def table(result: Assessment) -> "Table":
    """Every number with its interval, beside those of the base and the twin, and a verdict."""
    from rich import box
    from rich.table import Table

    shown = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1))
    for name in ("probe", "number"):
        shown.add_column(name, no_wrap=True)
    for name in ("value", "95 %", "base", "twin", "p"):
        shown.add_column(name, justify="right", no_wrap=True)
    shown.add_column("verdict", no_wrap=True)
    base, twin = (_numbers(each, result.base) for each in (result.base, result.twin))
    numbers = _numbers(result.summary, result.base)
    tested = [name for name in numbers if name in result.p and not name.startswith(NEITHER)]
    p = dict(zip(tested, holm([result.p[name] for name in tested]), strict=True))
    for probe, summary in result.summary.items():
        if isinstance(summary, Mapping):
            for name, found in _numbers({probe: summary}, result.base).items():
                between = "" if found.low is None else f"{found.low:.3f} to {found.high:.3f}"
                others = (f"{each[name].value:.3f}" if name in each else "-" for each in (base, twin))
                said = f"{p[name]:.3f}" if name in p else "", verdict(name, found, base.get(name), p.get(name))
                shown.add_row(probe, name, f"{found.value:.3f}", between, *others, *said)
            for name, why in _without(summary).items():
                shown.add_row(probe, name, "", "", "", "", "", why)
    return shown


def _numbers(assessment: Mapping[str, Any], base: Mapping[str, Any]) -> dict[str, Estimate]:
    return estimates({}, {}, None, assessment, base)


def _without(summary: Mapping[str, Any]) -> dict[str, str]:
    """Why a probe has no numbers, or lacks one."""
    return summary.get("left_out", {}) | ({"skipped": summary["skipped"]} if "skipped" in summary else {})
