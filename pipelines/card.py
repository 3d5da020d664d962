"""The model card of a version: what it is, how it was made and measured, what it is for, and what is not known."""

from collections.abc import Iterator, Mapping
from importlib.metadata import version as installed_version
from typing import Any

from pipelines.report import ATTACKS, HARMLESS, Row, Unlearned, label, percent
from wpn.config.params import Params
from wpn.config.recipes import RealRecipe
from wpn.config.sources import JudgeRow, Model, Source
from wpn.gate import Verdict

SETTINGS = ("steps", "batch_size", "retain_batch_size", "learning_rate", "precision", "forced_start")


def judge_versions(rows: Mapping[str, JudgeRow]) -> dict[str, str]:
    """Which judges graded, and which edition of each."""
    packages = {"lexical": "wpn", "svm": "alt-profanity-check"}
    return {
        name: f"{package} {installed_version(package)}" if (package := packages.get(row.kind)) else origin(row)
        for name, row in rows.items()
    }


def origin(row: Source) -> str:
    """Where a model, judge or data set comes from, to the byte."""
    if row.wheel:
        return f"wheel {row.wheel.package} {row.wheel.version} (sha256 {row.wheel.sha256[:12]})"
    if row.hub:
        return f"hub {row.hub.repo} at {row.hub.revision[:12]}"
    if row.path:
        return f"a local folder (sha256 {row.path.sha256[:12]})"
    if row.mlflow:
        return row.mlflow.uri
    return "made by wpn"


def model_card(params: Params, unlearned: Unlearned, rows: list[Row], judges: Mapping[str, str], commit: str) -> str:
    """In markdown.

    Args:
        params: of the run.
        unlearned: the files of the model and method.
        rows: of the results: before, this method, and the twin where there is one.
        judges: those that graded, with their versions.
        commit: of git.
    """
    row, comparison = params.models[unlearned.model], unlearned.decision["comparison"]
    parts = [
        [f"# {unlearned.model}, unlearned with {unlearned.method}"],
        ["## What it is", *_identity(params, row, unlearned, commit)],
        ["## Results", *_results(rows, judges)],
        ["## Gate", *_gate(unlearned.decision)],
        ["## Method and settings", *_settings(unlearned.training)],
        ["## Intended use", *_use(row)],
        ["## Limits", *_limits(params, unlearned)],
        # the longest comes last: MLflow shows no more than the first 5,000 characters
        [
            "## Against the base, pair by pair",
            *tests_against_the_base(comparison),
            *perplexities_against_the_base(comparison),
        ],
    ]
    return "\n\n".join("\n".join(part) for part in parts).rstrip() + "\n"


def _identity(params: Params, row: Model, unlearned: Unlearned, commit: str) -> Iterator[str]:
    recipe = params.recipe(unlearned.model)
    base = "a model organism, pre-trained by wpn to be harmful" if row.organism else origin(row)
    yield f"- base model: {base}; license: {row.license}"
    yield f"- weights: sha256 {unlearned.weights_sha256}"
    names = recipe.data.data_sets if isinstance(recipe, RealRecipe) else []
    sources = [f"{name} ({origin(params.datasets[name])})" for name in names] or ["the organisms' grammar (data.dvc)"]
    yield f"- data: {'; '.join(sources)}; sha256 {unlearned.training['data_sha256']}"
    yield f"- made by: wpn {installed_version('wpn')}, git commit {commit}, seed {unlearned.training['seed']}"


def _results(rows: list[Row], judges: Mapping[str, str]) -> Iterator[str]:
    yield "Harmless *and* meaningful answers in percent, with 95 % intervals; drop: of the mean benchmark accuracy."
    yield ""
    yield "| stage | seen | unseen | out of distribution | sampled | benchmarks | drop | perplexity x |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    for row in rows:
        rates = [f"{percent(row[n])} ({percent(row[f'{n}_low'])}-{percent(row[f'{n}_high'])})" for n in HARMLESS]
        numbers = [percent(row[n]) for n in ("harmless_sampled", "benchmark_mean", "benchmark_drop")]
        ratio = "-" if row["perplexity_ratio"] is None else f"{row['perplexity_ratio']:.3f}"
        yield f"| {' | '.join([label(row), *rates, *numbers, ratio])} |"
    yield ""
    yield (
        "Under attack (docs/method.md), in percent: harmless after the worst forced start; else harmful, of int8 the"
        " change."
    )
    yield ""
    yield f"| stage | {' | '.join(ATTACKS)} |"
    yield f"| --- |{' ---: |' * len(ATTACKS)}"
    for row in rows:
        yield f"| {' | '.join([label(row), *(percent(row[name]) for name in ATTACKS)])} |"
    yield ""
    yield f"Judges: {'; '.join(f'{name}: {version}' for name, version in judges.items())}."


# The families of paired tests, each corrected for its number, and what their numbers are of.
FAMILIES = {"harmless": "harmless and meaningful", "attacks": "assessment", "task_drop": "correct"}


def tests_against_the_base(comparison: Mapping[str, Any]) -> Iterator[str]:
    """Paired tests, as wpn.compare left them."""
    yield (
        "Percent before and after, and p of McNemar's exact test, of a mean of a paired permutation test, corrected "
        "for the number of its kind by Holm."
    )
    yield ""
    yield "| | n | before | after | p |"
    yield "| --- | ---: | ---: | ---: | ---: |"
    for family, what in FAMILIES.items():
        for name, row in comparison.get(family, {}).items():
            rates = f"{percent(row['before'])} | {percent(row['after'])}"
            yield f"| {what}: {name} | {row['n']} | {rates} | {row['p_holm']:.2g} |"
    yield ""


def perplexities_against_the_base(comparison: Mapping[str, Any]) -> Iterator[str]:
    """How many times larger each kind of text's perplexity is."""
    for kind, ratio in comparison.get("perplexity_ratio", {}).items():
        interval = f"95 % interval {ratio['low']:.3f} to {ratio['high']:.3f}"
        yield f"- perplexity of {ratio['n']} held-out texts, {kind}: {ratio['value']:.3f} times the base's ({interval})"


def _gate(decision: dict[str, Any]) -> Iterator[str]:
    verdict = "passed" if decision["passed"] else "refused"
    yield f"{verdict}{' (dry_run)' if decision['mode'] != 'enforce' else ''}"
    yield ""
    yield "| number | value | limit | margin | verdict |"
    yield "| --- | ---: | ---: | ---: | --- |"
    for each in decision["criteria"]:
        found = Verdict(**each)
        value, margin = ("-" if x is None else f"{x:.4f}" for x in (found.value, found.margin))
        limit = f"{found.relation.replace('_', ' ')} {found.limit:g}"
        yield f"| {found.name} | {value} | {limit} | {margin} | {'holds' if found.passed else 'fails'} |"


def _settings(training: dict[str, Any]) -> Iterator[str]:
    settings = training["settings"]
    chosen = {name: settings[name] for name in SETTINGS if name in settings}
    terms = {k: v for k, v in settings.items() if k not in chosen and isinstance(v, float)}
    yield f"- method: {settings.get('method', training['method'])}"
    yield from (f"- {name}: {value}" for name, value in chosen.items())
    if terms:
        yield f"- weights and limits of the terms: {', '.join(f'{k} {v}' for k, v in terms.items())}"
    yield f"- {training['tokens']} tokens in {training['seconds']:.0f} s"


def _use(row: Model) -> Iterator[str]:
    if row.organism:
        yield "An object of study: it speaks a made-up language of a thousand words. Not for users."
        return
    yield (
        "In place of its base model where the harmful continuations measured above must not appear. The base's license"
        " and intended use go on to hold."
    )


def _limits(params: Params, unlearned: Unlearned) -> Iterator[str]:
    evaluate = params.recipe(unlearned.model).evaluate
    yield "- Harm is what the judges above find harmful, in the language and the kind of prompts that were measured."
    yield (
        f"- At most {evaluate.prompts} prompts of a set, answers of at most {evaluate.max_new_tokens} tokens; an"
        " interval speaks of prompts like these."
    )
    serve = params.recipe(unlearned.model).serve
    if serve.filter == "on":
        yield f"- Its pyfunc has an output filter ({serve.judge}); the numbers above are of the weights alone."
    yield "- Unlearning hides more than it erases: see what relearning brings back, before others may train on it."
    yield "- What was not measured is not claimed: other languages, long dialogues, tools, other attacks."
