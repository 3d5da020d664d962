"""A real model's prepared folder: prompts split without near-duplicates across, benign text, benchmark items."""

import logging
import random
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from wpn.config.data import RealData
from wpn.config.sources import DataSet
from wpn.data.benchmark_items import read_items
from wpn.data.harmful import HarmfulPrompt, read_harmful
from wpn.data.retain import read_retain
from wpn.data.split import near_duplicates, split_prompts
from wpn.data.template import put, spaced
from wpn.errors import InputError
from wpn.files import write_json, write_jsonl

logger = logging.getLogger(__name__)

SPLITS = ("dev", "test")
ITEMS_TO_SPLIT = 400  # a benchmark of fewer items is too small to be divided into development and test items


def prepare_real(sources: Path, target: Path, settings: RealData, datasets: Mapping[str, DataSet], seed: int) -> None:
    """Read the fetched data sets and write the prepared folder.

    Args:
        sources: holds a folder a data set, under its name.
        target: gets provocations.jsonl (training prompts), prompts/SPLIT/{unseen,ood}.jsonl,
            prompts/SPLIT/other/SET.jsonl, corpus.jsonl (benign text to retain), text/SPLIT.jsonl,
            benchmarks/SPLIT/TASK.jsonl, split.json (what was found and counted).
        settings: the section `data` of the recipe.
        datasets: the rows of the data sets that it names.
        seed: of the splits.
    Raises:
        InputError: a row is not as it must be, or too few prompts are left for a split.
    """
    rows = read_harmful(sources / settings.harmful, datasets[settings.harmful].format)
    shares = {"train": 1 - settings.dev - settings.test, "dev": settings.dev, "test": settings.test}
    split, near_duplicates = split_prompts(
        [row.prompt for row in rows],
        shares,
        seed,
        categories=[row.category for row in rows],
        openings=[row.opening for row in rows],
    )
    chosen = {name: [rows[i] for i in indices] for name, indices in split.items()}
    known = [row for row in chosen["train"] if row.category not in settings.ood_categories]
    _refuse_empty(settings.harmful, "train", known)
    write_jsonl(target / "provocations.jsonl", _prompts(known, settings.template))
    counts: dict[str, Any] = {"prompts": len(rows), "near_duplicates": near_duplicates, "train": len(known)}
    for name in SPLITS:
        unseen = [row for row in chosen[name] if row.category not in settings.ood_categories]
        ood = [row for row in chosen[name] if row.category in settings.ood_categories]
        _refuse_empty(settings.harmful, name, unseen)
        counts[name] = {"unseen": len(unseen), "ood": len(ood)}
        write_jsonl(target / "prompts" / name / "unseen.jsonl", _prompts(unseen, settings.template))
        write_jsonl(target / "prompts" / name / "ood.jsonl", _prompts(ood, settings.template))
    counts["other"] = {}
    for name in settings.other:
        others = _unlike(read_harmful(sources / name, datasets[name].format), known)
        counts["other"][name] = _write_others(target / "prompts", name, others, settings, seed)
    write_json(target / "split.json", counts)
    _write_texts(sources, target, settings, datasets)
    if settings.benchmarks:
        folders = {name: (sources / name, datasets[name].format) for name in settings.benchmarks}
        _write_benchmarks(read_items(folders), target / "benchmarks", seed)


def _unlike(rows: Sequence[HarmfulPrompt], known: Sequence[HarmfulPrompt]) -> list[HarmfulPrompt]:
    """Those that resemble no prompt that is trained on."""
    pairs = near_duplicates([row.prompt for row in [*known, *rows]])
    seen = {j - len(known) for i, j in pairs if i < len(known) <= j}
    return [row for i, row in enumerate(rows) if i not in seen]


def _write_others(target: Path, name: str, rows: list[HarmfulPrompt], settings: RealData, seed: int) -> dict[str, int]:
    random.Random(seed).shuffle(rows)
    dev = round(len(rows) * settings.dev / (settings.dev + settings.test))
    parts = {"dev": rows[:dev], "test": rows[dev:]}
    for split, part in parts.items():
        write_jsonl(target / split / "other" / f"{name}.jsonl", _prompts(part, settings.template))
    return {split: len(part) for split, part in parts.items()}


def _refuse_empty(name: str, split: str, rows: Sequence[HarmfulPrompt]) -> None:
    if not rows:
        raise InputError(
            f"the data set {name} leaves no prompt for the split {split!r}; add prompts, or change data.dev, data.test "
            "or data.ood_categories in params.yaml"
        )


def _prompts(rows: Iterable[HarmfulPrompt], template: str) -> list[dict[str, Any]]:
    return [_prompt(row, template) for row in rows]


def _prompt(row: HarmfulPrompt, template: str) -> dict[str, Any]:
    prompt = put(template, row.prompt)
    return {
        "prompt": prompt,
        "harmful_output": row.harmful_output and spaced(prompt, row.harmful_output),
        "harmless_response": row.harmless_response and spaced(prompt, row.harmless_response),
        "category": row.category,
    }


def _write_texts(sources: Path, target: Path, settings: RealData, datasets: Mapping[str, DataSet]) -> None:
    pieces: dict[str, list[dict[str, Any]]] = {"train": [], **{name: [] for name in SPLITS}}
    for source in settings.text:
        # not shuffled: neighbours are often of one article, which should be of one split
        paragraphs = _shares(read_retain(sources / source, datasets[source].format), settings)
        for name, part in paragraphs.items():
            pieces[name] += [
                {"text": piece, "alarming": False} for text in part for piece in _pieces(text, settings.words)
            ]
    for name, rows in pieces.items():
        write_jsonl(target / "corpus.jsonl" if name == "train" else target / "text" / f"{name}.jsonl", rows)


def _pieces(text: str, words: int) -> list[str]:
    """A text in pieces of up to so many words; a last piece of less than half is left out."""
    found = text.split()
    pieces = [found[start : start + words] for start in range(0, len(found), words)]
    return [" ".join(piece) for piece in pieces if len(piece) >= words / 2]


def _shares(rows: Sequence[Any], settings: RealData) -> dict[str, Sequence[Any]]:
    dev, test = round(settings.dev * len(rows)), round(settings.test * len(rows))
    return {"dev": rows[:dev], "test": rows[dev : dev + test], "train": rows[dev + test :]}


def _write_benchmarks(items: Mapping[str, list[dict[str, Any]]], target: Path, seed: int) -> None:
    """Development and test items apart where there are enough; else the same items for both, and a warning."""
    for task, rows in items.items():
        random.Random(seed).shuffle(rows)
        parts = {"dev": rows, "test": rows}
        if len(rows) >= ITEMS_TO_SPLIT:
            half = len(rows) // 2
            parts = {"dev": rows[:half], "test": rows[half:]}
        else:
            logger.warning("%s has only %d items: development and test items are the same", task, len(rows))
        for name, part in parts.items():
            write_jsonl(target / name / f"{task}.jsonl", part)
