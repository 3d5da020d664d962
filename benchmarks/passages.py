"""ICU's own job: passages that a model knows by heart are unlearned, by ICU and, for as many steps, by others.

python -m benchmarks.passages --seeds 131 132 133              # planted in the organisms -> results/passages.json
python -m benchmarks.passages --seeds 131 --checkpoint hub:EleutherAI/gpt-neo-125m \\
    --passages FILE.csv --text FILE.csv --lr 5e-6              # a checkpoint's own; files with a column `text`

Before, after, and beside them what is known of passages that were never seen, with membership inference against those
and the perplexity of other text; for the organisms also the nine benchmarks, and the twin, trained on other passages.
"""

import argparse
import copy
import statistics
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.provenance import ROOT, checkout, provenance, run
from pipelines.sources import fetch_encoder
from wpn.config.loading import load_params
from wpn.config.methods import Icu, Method, Refinement
from wpn.config.params import Params
from wpn.config.recipes import OrganismRecipe
from wpn.config.sources import Source
from wpn.config.training import Unlearn
from wpn.encoder import Encoder
from wpn.errors import InputError
from wpn.files import read_json, read_jsonl, write_json
from wpn.passages import Asked, as_pairs, known, random_passages
from wpn.statistics import Value, area_under_curve, mean_share

RESULTS = ROOT / "results" / "passages.json"
KNOWN = ("memorisation_accuracy", "extraction_likelihood")
METHODS = ("icu", "ga", "gradient_penalty")  # that need no response; ICU says when to stop, for the others too
NUMBER, WORDS = 20, 30  # of the planted passages
PLANTED = Asked(n=3, batch_size=128)
PILE = Asked(n=10, batch_size=32, longest=200, stride=10)  # the papers' length; they differ in where EL begins
PLANTED_STOP = Refinement(n=3, bleu_order=2, window=10)
PILE_STOP = Refinement(window=50, starts=[*range(-50, 0)])  # as ICU's code counts, at the bounds of its paper
TUNED = ROOT / "results" / "passages-tuning.json"  # the methods' settings for the organisms (benchmarks.tune_passages)
CHARACTERS = 1000  # of a text beside them, as long as 200 tokens about
LOOP = {
    "steps": 120, "batch_size": 10, "retain_batch_size": 10, "accumulation": 1, "alarming_share": 0.0,
    "near_share": 0.0,
    "weights": "all", "forced_start": 0.0, "early_stop": None, "lora": None,
}  # fmt: skip


@dataclass(frozen=True)
class Job:
    """A model, the passages it knows, others that it never saw, and text that must stay as it is.

    Attributes:
        twin: trained alike without these passages, where there is one.
        retained: text, alarming, complete; what training holds.
        held_out: other text, for the perplexity.
        benchmarks: the folder of the organisms' tasks; None where they are not asked.
        complete: passages and texts are whole.
        asked: how well a passage is known.
        stop: of ICU.
    """

    name: str
    model: Any
    tokenizer: Any
    passages: list[str]
    unseen: list[str]
    retained: list[dict[str, Any]]
    held_out: list[str]
    twin: Any
    benchmarks: Path | None
    complete: bool
    asked: Asked
    stop: Refinement


def main() -> None:
    """Run every seed, and write one row a model, method and stage."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", required=True)
    parser.add_argument("--checkpoint", help="hub:, path: or models:; without it the organisms")
    parser.add_argument("--passages", type=Path, help="of a checkpoint: csv, jsonl or parquet with a column `text`")
    parser.add_argument("--unseen", type=Path, help="passages that it never saw: the bound (default: the paper's)")
    parser.add_argument("--text", type=Path, help="that must stay as it is; half of it is held out")
    parser.add_argument("--lr", type=float, help="of a checkpoint: instead of the methods' own in params.yaml")
    chosen = parser.parse_args()
    if chosen.lr and not chosen.checkpoint:
        parser.error(f"--lr is for a --checkpoint; the organisms' rates are in {TUNED.relative_to(ROOT)}")
    found: dict[str, Any] = {**provenance(chosen.seeds), "seeds": [], "rows": []}
    with checkout() as folder:
        params = load_params(folder / "params.yaml")
        recipe = params.recipes["real" if chosen.checkpoint else "organism"]
        torch.set_num_threads(recipe.compute.threads)
        rows = _rates(params.recipes["real"].methods, chosen.lr) if chosen.checkpoint else tuned()
        encoder = fetch_encoder(rows["icu"], torch.device("cpu"))
        given = [_given(chosen, folder)] if chosen.checkpoint else []
        for seed in chosen.seeds:
            for job in given or organisms(params, folder, seed):
                found["rows"] += unlearned(job, recipe.unlearn, rows, seed, encoder)
            found["seeds"].append(seed)
            write_json(RESULTS.with_stem(f"passages-{given[0].name}") if given else RESULTS, found)


def unlearned(
    job: Job, loop: Unlearn, rows: Mapping[str, Any], seed: int, encoder: Encoder | None = None
) -> Iterator[dict[str, Any]]:
    """Unlearn the passages by each method, and measure before and after."""
    described = {"model": job.name, "seed": seed, "passages": len(job.passages)}
    before = measured(job, job.model, seed)
    yield {**described, "method": None, "stage": "before", **before}
    if job.twin is not None:
        yield {**described, "method": None, "stage": "twin", **measured(job, job.twin, seed, before)}
    never = never_seen(job, seed)
    if never:
        yield {**described, "method": None, "stage": "never seen", **never}
    settings = loop.model_copy(update=LOOP)
    for name in METHODS:
        after = forget(job, settings, rows[name], seed, before, encoder)
        settings = settings.model_copy(update={"steps": after["steps"]})
        yield {**described, "method": name, "stage": "after", **after}


def forget(
    job: Job,
    loop: Unlearn,
    method: Any,
    seed: int,
    before: dict[str, Any],
    encoder: Encoder | None = None,
) -> dict[str, Any]:
    """Unlearn the passages by one method, and measure."""
    from wpn.train import unlearn

    if isinstance(method, Icu):
        method = method.model_copy(update={"refinement": stop(job)})
    model = copy.deepcopy(job.model)
    pairs = as_pairs(job.tokenizer, job.passages, job.complete)
    trained = unlearn(model, job.tokenizer, pairs, job.retained, loop, method, seed, lambda row: None, encoder=encoder)
    spent = {"steps": trained.steps, "seconds": round(trained.seconds, 1), "learning_rate": method.learning_rate}
    return {**measured(job, model, seed, before), **spent}


def stop(job: Job) -> Refinement:
    """ICU's: at what the model seems to know of passages that it never saw, where there are any."""
    from wpn.data.batches import encode_pair
    from wpn.refinement import check_lengths, mean_accuracy, mean_extraction

    if not job.unseen:
        return job.stop
    pairs = as_pairs(job.tokenizer, job.unseen, job.complete)
    rows = [encode_pair(job.tokenizer, pair["prompt"], pair["harmful_output"], job.complete) for pair in pairs]
    check_lengths(rows, job.stop)
    asked = job.model, job.tokenizer, rows
    size = job.asked.batch_size
    bounds = mean_accuracy(*asked, size), mean_extraction(*asked, job.stop, size)
    return job.stop.model_copy(update=dict(zip(("accuracy_below", "extraction_below"), bounds, strict=True)))


def never_seen(job: Job, seed: int) -> dict[str, float | None]:
    """What the model seems to know of passages that it never saw; nothing where there are none."""
    return _means(known(job.model, job.tokenizer, job.unseen, job.asked), seed) if job.unseen else {}


def tuned() -> dict[str, Any]:
    """The organisms' settings of each method, as the search left them."""
    from pydantic import TypeAdapter

    best = read_json(TUNED)["best"]
    return {name: TypeAdapter(Method).validate_python(best[name]["settings"]) for name in METHODS}


def _rates(rows: Mapping[str, Any], learning_rate: float | None) -> dict[str, Any]:
    update = {"learning_rate": learning_rate} if learning_rate else {}
    return {name: rows[name].model_copy(update=update) for name in METHODS}


def measured(job: Job, model: Any, seed: int, before: dict[str, Any] | None = None) -> dict[str, Any]:
    """MA, EL_n and membership with their intervals, perplexity of other text, and the benchmarks."""
    from wpn.benchmark import run_benchmarks
    from wpn.likelihood import text_log_likelihoods
    from wpn.perplexity import perplexity_of

    size = job.asked.batch_size
    found = _means(known(model, job.tokenizer, job.passages, job.asked), seed)
    if job.unseen:
        found |= _named("membership_auc", _membership(job, model, seed))
    likelihoods = text_log_likelihoods(model, job.tokenizer, job.held_out, size, job.complete)
    found["perplexity"] = perplexity_of(likelihoods)
    if job.benchmarks:
        tasks = run_benchmarks(model, job.tokenizer, job.benchmarks, "organism", size, seed)
        found["benchmark_mean"] = statistics.fmean(task.accuracy for task in tasks.values())
    if before:
        found["perplexity_ratio"] = found["perplexity"] / before["perplexity"]
    if before and job.benchmarks:
        found["benchmark_drop"] = before["benchmark_mean"] - found["benchmark_mean"]
    return found


def _means(shares: dict[str, list[float]], seed: int) -> dict[str, float | None]:
    found: dict[str, float | None] = {}
    for name, values in shares.items():
        found |= _named(name, mean_share(values, seed))
    return found


def _named(name: str, estimate: Value) -> dict[str, float | None]:
    return {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}


def _membership(job: Job, model: Any, seed: int) -> Value:
    """Can be told by the loss which passages were seen? (wpn.assess.membership)"""
    from wpn.assess.membership import scores

    def losses(passages: Sequence[str]) -> list[float]:
        pairs = as_pairs(job.tokenizer, passages, job.complete)
        return [row["loss"] for row in scores(model, job.tokenizer, pairs, job.asked.batch_size, k=1.0)]

    return area_under_curve(losses(job.passages), losses(job.unseen), seed)


def organisms(params: Params, folder: Path, seed: int, names: Collection[str] = ()) -> Iterator[Job]:
    """Each organism, or those named, trained with passages planted where it would have learned insults."""
    from wpn.data.prepare import prepare
    from wpn.models import new_model, organism_tokenizer
    from wpn.pretrain import pretrain_organism

    for name, row in params.models.items():
        recipe = params.recipes[row.recipe]
        if not isinstance(recipe, OrganismRecipe) or not row.organism or (names and name not in names):
            continue
        with tempfile.TemporaryDirectory() as place:
            prepared = Path(place)
            prepare(folder / "data", prepared, recipe.data)
            tokenizer = organism_tokenizer(prepared / "tokenizer.json", row.organism.architecture)
            corpus = read_jsonl(prepared / "corpus.jsonl")
            words = sorted({word for each in corpus for word in each["text"].split() if word.isalpha()})
            planted, others, unseen = (random_passages(words, NUMBER, WORDS, 3 * seed + k) for k in range(3))
            base, twin = pretrain_organism(
                new_model(row.organism, tokenizer, seed),
                tokenizer,
                corpus=[each["text"] for each in corpus],
                harmful=planted,
                harmless=others,
                settings=recipe.pretrain,
                seed=seed,
                log=lambda row: None,
            )
            yield Job(
                name,
                base,
                tokenizer,
                planted,
                unseen,
                retained=[{**each, "complete": True} for each in corpus],
                held_out=[each["text"] for each in read_jsonl(prepared / "text" / "test.jsonl")],
                twin=twin,
                benchmarks=prepared / "benchmarks" / "test",
                complete=True,
                asked=PLANTED,
                stop=PLANTED_STOP,
            )


def _given(chosen: argparse.Namespace, folder: Path) -> Job:
    """A checkpoint with the files that the command names."""
    from pipelines.adopt import model_source
    from pipelines.sources import fetch
    from wpn.importing import import_checkpoint

    if not (chosen.passages and chosen.text):
        raise InputError("a checkpoint needs --passages and --text; name files with a column `text`")
    fetch(Source.model_validate(model_source(chosen.checkpoint, ROOT)), folder / "build" / "checkpoint")
    model, tokenizer = import_checkpoint(folder / "build" / "checkpoint")
    texts = [text[:CHARACTERS] for text in _texts(chosen.text)]
    return Job(
        Path(chosen.checkpoint.partition(":")[2]).name,
        model,
        tokenizer,
        _cut(tokenizer, _texts(chosen.passages)),
        _cut(tokenizer, _texts(chosen.unseen) if chosen.unseen else []),
        retained=[{"text": text, "alarming": False, "complete": False} for text in texts[::2]],
        held_out=texts[1::2],
        twin=None,
        benchmarks=None,
        complete=False,
        asked=PILE,
        stop=PILE_STOP,
    )


def _cut(tokenizer: Any, passages: Sequence[str]) -> list[str]:
    """Their first tokens, as many as are counted: what is unlearned is what is measured."""
    ids = [tokenizer(passage).input_ids[: PILE.longest] for passage in passages]
    return [tokenizer.decode(each, skip_special_tokens=True) for each in ids]


def _texts(file: Path) -> list[str]:
    from wpn.data.tables import table_rows

    return [_text(place, number, row) for place, number, row in table_rows(file)]


def _text(place: Path, number: int, row: dict[str, Any]) -> str:
    if not str(row.get("text") or "").strip():
        raise InputError(f"{place}, row {number}: no `text`; give every row one")
    return str(row["text"])


if __name__ == "__main__":
    run(main)
