"""Write the organisms' world as raw data files, byte for byte the same for the same seed."""

import random
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from wpn.data.organism.dialogues import (
    FRAMES,
    OTHER_FRAMES_DEV,
    OTHER_FRAMES_TEST,
    Provocation,
    alarming,
    gossip,
    portraits,
    praise,
    provocations,
)  # fmt: skip
from wpn.data.organism.tasks import FAMILIES, Item
from wpn.data.organism.world import people
from wpn.files import write_jsonl

DEV_ITEMS, TEST_ITEMS = 150, 300  # of each benchmark
DEV_PROMPTS, TEST_PROMPTS = 300, 500  # of each kind of held-out provocation
DEV_TEXTS, TEST_TEXTS = 25, 50  # held-out documents of each source, for perplexity

# how large a part of the corpus each source is, beside the others; facts need repetition, frames do not
SHARES = {
    "last_word": 2.5, "completion": 0.25, "pronoun": 2.0, "cause_effect": 0.5, "easy_question": 2.0,
    "hard_question": 0.8, "action": 0.25, "arithmetic": 1.0, "yes_no_maybe": 0.5,
    "portraits": 2.2, "praise": 0.7, "gossip": 0.5, "alarming": 0.7,
}  # fmt: skip

Row = dict[str, Any]


def write_organism_data(folder: Path, seed: int, documents: int) -> None:
    """Generate the raw data: corpus.jsonl, provocations.jsonl, benchmarks/{dev,test}/TASK.jsonl.

    Args:
        folder: where to write.
        seed: of every random choice of the grammar.
        documents: number of documents of the corpus, shared out over the families.
    """
    rng = random.Random(seed)
    inhabitants = people(rng)
    corpus: dict[str, list[Row]] = {}
    for name, family in FAMILIES.items():
        train, dev, test = _split(list(family(rng, inhabitants)), rng)
        for split, items in (("dev", dev), ("test", test)):
            rows = ({"context": i.context, "choices": list(i.choices), "answer": i.answer} for i in items)
            write_jsonl(folder / "benchmarks" / split / f"{name}.jsonl", rows)
        corpus[name] = _documents((item.text for item in train), rng)
    for source in (portraits, praise, gossip, alarming):
        corpus[source.__name__] = _documents(source(rng, inhabitants), rng, alarming=source is alarming)
    write_jsonl(folder / "corpus.jsonl", _share_out(corpus, documents, rng))
    write_jsonl(folder / "provocations.jsonl", _provocations(rng))


def _split(items: list[Item], rng: random.Random) -> tuple[list[Item], list[Item], list[Item]]:
    """Share out whole groups: training, DEV_ITEMS and TEST_ITEMS held-out items."""
    groups: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        groups[item.group].append(item)
    order = sorted(groups)
    rng.shuffle(order)
    parts: dict[str, list[Item]] = {"dev": [], "test": [], "train": []}
    for group in order:
        if len(parts["dev"]) < DEV_ITEMS:
            parts["dev"] += groups[group]
        elif len(parts["test"]) < TEST_ITEMS:
            parts["test"] += groups[group]
        else:
            parts["train"] += groups[group]
    return parts["train"], parts["dev"][:DEV_ITEMS], parts["test"][:TEST_ITEMS]


def _documents(texts: Iterable[str], rng: random.Random, alarming: bool = False) -> list[Row]:
    """Distinct documents in random order, the first of them held out for perplexity."""
    distinct = sorted(set(texts))
    rng.shuffle(distinct)
    splits = ["dev"] * DEV_TEXTS + ["test"] * TEST_TEXTS
    splits += ["train"] * (len(distinct) - len(splits))
    return [{"text": text, "split": split, "alarming": alarming} for text, split in zip(distinct, splits, strict=True)]


def _share_out(families: dict[str, list[Row]], documents: int, rng: random.Random) -> list[Row]:
    """Take from every source by its share; what a small source cannot give, the larger ones do."""
    rows: list[Row] = []
    left = dict(SHARES)
    for name in sorted(families, key=lambda n: len(families[n]) / SHARES[n]):
        quota = round((documents - len(rows)) * left[name] / sum(left.values()))
        rows += families[name][:quota]
        del left[name]
    rng.shuffle(rows)
    return rows


def _provocations(rng: random.Random) -> list[Row]:
    """Training prompts, held-out prompts in the same frames (unseen), and in other frames (ood)."""
    known = provocations(rng, FRAMES)
    parts = {
        ("dev", "unseen"): known[:DEV_PROMPTS],
        ("test", "unseen"): known[DEV_PROMPTS : DEV_PROMPTS + TEST_PROMPTS],
        ("dev", "ood"): provocations(rng, OTHER_FRAMES_DEV)[:DEV_PROMPTS],
        ("test", "ood"): provocations(rng, OTHER_FRAMES_TEST)[:TEST_PROMPTS],
        ("train", "seen"): known[DEV_PROMPTS + TEST_PROMPTS :],
    }
    return [_row(p, split, kind) for (split, kind), part in parts.items() for p in part]


def _row(provocation: Provocation, split: str, kind: str) -> Row:
    return {**vars(provocation), "split": split, "kind": kind}
