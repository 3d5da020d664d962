"""`wpn assess`: the probes on any checkpoint, also one that this project did not make, with a model's data."""

import hashlib
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pipelines.adopt import given_checkpoint, model_source
from pipelines.sources import fetch
from wpn.compare import compare_attacks, compare_recovery
from wpn.config.loading import load_params
from wpn.config.params import Params
from wpn.config.probes import PROBES, Assess
from wpn.config.sources import Source
from wpn.errors import InputError
from wpn.estimates import Estimate, estimates
from wpn.files import atomic_folder, read_json, write_json
from wpn.outcomes import FROM_THE_BASE
from wpn.statistics import CONFIDENCE, holm

if TYPE_CHECKING:
    from rich.table import Table

HIGHER_IS_BETTER = ("forced_start",)
NEITHER = (  # or a matter of what one compares with
    *FROM_THE_BASE,
    *("int8_change", "int4_change"),  # from what the model itself does
    *("answer_words", "distinct_2", "membership_", "suffix_gain", "filter_"),
    *("memorisation_accuracy_unseen", "extraction_likelihood_unseen"),
)
SHARED = ("prompts", "max_new_tokens", "precision")  # settings of all probes
WORST_CASE = "worst_case"  # looks at other probes' answers
ASKED = ("data_sha256", "judges_sha256", "seed")  # what else decides the answers and what is said of them
Verdict = Literal["better", "worse", "not shown", ""]


@dataclass(frozen=True)
class Assessment:
    """What the probes found, beside the base and the twin of the same data.

    Attributes:
        summary: of each probe that was asked for.
        base, twin: theirs, of the probes that asked them the same; else empty.
        p: of the rates and means of prompts that both base and model were asked, that they are the same
            (compare_attacks).
        recovery: in context, with its intervals (compare_recovery).
        incomparable: the probes that the pipeline asked the base otherwise (settings, data, judges, seed), or never.
        folder: where the summary and the answers are.
    """

    summary: dict[str, Any]
    base: dict[str, Any]
    twin: dict[str, Any]
    p: dict[str, float]
    recovery: dict[str, Any]
    incomparable: list[str]
    folder: Path


def assess(root: Path, checkpoint: str, data_of: str | None, probes: Sequence[str]) -> Assessment:
    """Attack a checkpoint. What other probes found of it stays, if they were asked of the same weights and data.

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
    target = root / "build" / "assessed" / _name(checkpoint)
    with tempfile.TemporaryDirectory(dir=root / "build") as name, atomic_folder(target) as folder:
        files = _files(root, params, checkpoint, Path(name) / "checkpoint")
        (folder / "evidence").mkdir()
        summary = stages.assess_version(params, model, checkpoint, files, settings, folder / "evidence")
        described = {"checkpoint": checkpoint, "data_of": model}
        write_json(folder / "summary.json", described | _with_kept(target, summary, folder))
    return _against(root / "build" / "assessment" / model, summary, target)


def _name(checkpoint: str) -> str:
    """Of its folder; path:a/b is another checkpoint than path:a-b."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", checkpoint)
    return plain if plain == checkpoint else f"{plain}-{hashlib.sha256(checkpoint.encode()).hexdigest()[:8]}"


def _with_kept(old: Path, summary: Mapping[str, Any], new: Path) -> dict[str, Any]:
    """The summary with what other probes found before; their evidence is copied from the old folder to the new."""
    before = _read(old)
    if before.get("weights_sha256") != summary["weights_sha256"]:
        return dict(summary)
    kept = {name: found for name, found in _same_data(before, summary).items() if name not in _probes(summary)}
    if WORST_CASE in kept and _probes(summary).keys() & {*before["settings"][WORST_CASE]["attacks"]}:
        del kept[WORST_CASE]  # it is of answers that are no more
    for name in kept:
        if (evidence := old / "evidence" / f"{name}.jsonl").exists():
            shutil.copy(evidence, new / "evidence")
    settings = {name: before["settings"][name] for name in kept}
    return {**kept, **summary, "settings": {**summary["settings"], **settings}}


def _read(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = read_json(file) if (file := folder / "summary.json").exists() else {}
    return found


def _probes(summary: Mapping[str, Any]) -> dict[str, Any]:
    """What each probe found; the rest are hashes, settings and seconds."""
    return {name: found for name, found in summary.items() if isinstance(found, Mapping) and name != "settings"}


def _same_data(other: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """The probes of another assessment, if data, judges, seed, number of prompts and length of answers are the same."""
    theirs, ours = other.get("settings", {}), own["settings"]
    same = [other.get(key) == own[key] for key in ASKED] + [theirs.get(key) == ours[key] for key in SHARED]
    return _probes(other) if all(same) else {}


def _same_questions(other: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Of these the probes that have the same settings."""
    same = _same_data(other, own)
    return {name: found for name, found in same.items() if _settings(name, other) == _settings(name, own)}


def _settings(probe: str, assessment: Mapping[str, Any]) -> list[Any]:
    """What a probe asks by: its settings, and those of the probes whose answers it looks at."""
    settings = assessment["settings"]
    attacks = (settings[probe] or {}).get("attacks", ()) if probe == WORST_CASE else ()
    return [settings[name] for name in (probe, *attacks)]


def _against(references: Path, summary: dict[str, Any], folder: Path) -> Assessment:
    """What was found beside what the pipeline found of the base and the twin, where it asked them the same."""
    from pipelines.stages import attack_rows

    base, twin = (_same_questions(_read(references / name), summary) for name in ("before", "twin"))
    before = {name: rows for name, rows in attack_rows(references / "before").items() if name in base}
    after = {name: rows for name, rows in attack_rows(folder).items() if name in summary}
    p = {name: row["p"] for name, row in compare_attacks(before, after).items()}
    incomparable = [name for name in _probes(summary) if name not in base]
    return Assessment(summary, base, twin, p, compare_recovery(before, after), incomparable, folder)


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
    if model not in params.pipeline.models:
        raise InputError(f"unknown model {model!r}; pipeline.models has {', '.join(params.pipeline.models)}")
    settings = params.recipe(model).assess
    for name in probes:
        if name not in PROBES:
            raise InputError(f"unknown probe {name!r}; known: {', '.join(PROBES)}")
        if getattr(settings, name) is None:
            raise InputError(f"the probe {name} is null in params.yaml for {model}; give it its settings there")
    asked = {*probes, *(settings.worst_case.attacks if settings.worst_case and WORST_CASE in probes else ())}
    left_out = [name for name in PROBES if asked and name not in asked]
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
        return "not shown"
    return "better" if (found.value > base.value) == (name in HIGHER_IS_BETTER) else "worse"


def table(result: Assessment) -> "Table":
    """Every number with its interval, beside those of the base and the twin, and a verdict."""
    from rich import box
    from rich.table import Table

    shown = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1))
    for name in ("probe", "number"):
        shown.add_column(name, overflow="fold")
    for name, width in {"value": 5, "95 %": 14, "base": 5, "twin": 5, "p": 5}.items():
        shown.add_column(name, justify="right", no_wrap=True, min_width=width)  # a number is never cut
    shown.add_column("verdict", min_width=9)
    base, twin = (_numbers(each, result.base) for each in (result.base, result.twin))
    numbers = _numbers(result.summary, result.base, result.recovery)
    tested = [name for name in numbers if name in result.p and not name.startswith(NEITHER)]
    p = dict(zip(tested, holm([result.p[name] for name in tested]), strict=True))
    for probe, summary in _probes(result.summary).items():
        recovery = result.recovery if probe == "in_context" else {}
        for name, found in _numbers({probe: summary}, result.base, recovery).items():
            between = "" if found.low is None else f"{found.low:.3f} to {found.high:.3f}"
            others = (f"{each[name].value:.3f}" if name in each else "-" for each in (base, twin))
            said = f"{p[name]:.3f}" if name in p else "", verdict(name, found, base.get(name), p.get(name))
            shown.add_row(probe, name, f"{found.value:.3f}", between, *others, *said)
        for name, why in _without(summary).items():
            shown.add_row(probe, name, "", "", "", "", "", why)
    return shown


def _numbers(
    assessment: Mapping[str, Any], base: Mapping[str, Any], recovery: Mapping[str, Any] | None = None
) -> dict[str, Estimate]:
    return estimates({}, {}, {"in_context_recovery": recovery or {}}, assessment, base)


def _without(summary: Mapping[str, Any]) -> dict[str, str]:
    """Why a probe has no numbers, or lacks one."""
    return summary.get("left_out", {}) | ({"skipped": summary["skipped"]} if "skipped" in summary else {})
