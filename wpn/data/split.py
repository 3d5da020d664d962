"""Splits that near-duplicates never straddle: a test prompt must not be a training prompt in other words."""

import hashlib
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence

from wpn.errors import InputError

SHINGLE = 5  # characters
THRESHOLD = 0.5  # Jaccard similarity of shingles from which two texts are near-duplicates
BANDS, ROWS = 50, 3  # of the MinHash index: finds a pair of similarity .5 with probability .999, one of .6 always


def split_prompts(
    prompts: Sequence[str],
    shares: Mapping[str, float],
    seed: int,
    categories: Sequence[str] | None = None,
    openings: Sequence[str] | None = None,
) -> tuple[dict[str, list[int]], int]:
    """Split prompts so that near-duplicates stay together, and each split has its share of every category.

    Which prompt goes where depends on the texts, their categories and openings, and the seed, not on the order of
    the rows. Near-duplicates of near-duplicates stay together too.

    Args:
        prompts: N texts.
        shares: split -> its share of the prompts; they sum to 1.
        seed: another one, another split.
        categories: N names; without them there is one category.
        openings: N texts; prompts with the same one stay together however they go on (dialogues: their first turn).
    Returns:
        split -> the row indices of its prompts, in an order that is random but depends on text and seed alone (so
        that the first n of a split are a sample of it); and the number of near-duplicate pairs.
    Raises:
        InputError: the shares do not sum to 1, or a split would be empty.
    """
    if any(share <= 0 for share in shares.values()) or not math.isclose(sum(shares.values()), 1.0):
        raise InputError(f"the shares of the splits are {dict(shares)}; make them positive numbers that sum to 1")
    names = categories if categories is not None else [""] * len(prompts)
    pairs = near_duplicates(prompts)
    draws = [_draw(text, seed) for text in prompts]
    groups = _groups(len(prompts), pairs + _same(openings or []))
    splits: dict[str, list[int]] = {split: [] for split in shares}
    placed = 0
    for group in sorted(groups, key=lambda group: _key(group, names, draws)):
        placed += len(group)
        lacking = max(shares, key=lambda split: shares[split] * placed - len(splits[split]))
        splits[lacking] += group
    for split, members in splits.items():
        if not members:
            raise InputError(
                f"the split {split!r} would be empty: {len(prompts)} prompts form only {len(groups)} groups "
                "that must stay together; add prompts or raise its share"
            )
        members.sort(key=lambda i: draws[i])
    return splits, len(pairs)


def near_duplicates(texts: Sequence[str], threshold: float = THRESHOLD) -> list[tuple[int, int]]:
    """Pairs (i, j), i < j, of texts that are the same but for a few words, case, punctuation or white space.

    MinHash signatures propose pairs (Broder 1997; banding: Leskovec et al., Mining of Massive Datasets, 3.4), the
    exact Jaccard similarity of their shingles decides.
    """
    from datasketch import MinHash, MinHashLSH

    shingled = [shingles(text) for text in texts]
    index = MinHashLSH(num_perm=BANDS * ROWS, params=(BANDS, ROWS))
    signatures = MinHash.bulk(
        ([shingle.encode() for shingle in parts] for parts in shingled), num_perm=BANDS * ROWS, seed=1
    )
    pairs = []
    for j, signature in enumerate(signatures):
        pairs += [(i, j) for i in index.query(signature) if jaccard(shingled[i], shingled[j]) >= threshold]
        index.insert(j, signature)
    return sorted(pairs)


def shingles(text: str) -> set[str]:
    """All runs of 5 characters of the text's words, in small letters with one space between; a shorter text whole."""
    normal = _normal(text)
    return {normal[i : i + SHINGLE] for i in range(max(1, len(normal) - SHINGLE + 1))}


def _normal(text: str) -> str:
    words = re.findall(r"\w+", unicodedata.normalize("NFKC", text).casefold())
    return " ".join(words) or text  # a text of punctuation alone is like its equals only


def jaccard(one: set[str], other: set[str]) -> float:
    """Size of the intersection over that of the union."""
    common = len(one & other)
    return common / (len(one) + len(other) - common)


def _same(texts: Sequence[str]) -> list[tuple[int, int]]:
    """(first, later) of texts that differ in case, punctuation and white space at most."""
    first: dict[str, int] = {}
    return [(first.setdefault(_normal(text), i), i) for i, text in enumerate(texts)]


def _groups(count: int, pairs: Sequence[tuple[int, int]]) -> list[list[int]]:
    """The connected components of the graph whose edges are these pairs."""
    import numpy as np
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    edges = np.array(pairs, dtype=int).reshape(-1, 2)
    graph = coo_array((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(count, count))
    groups: dict[int, list[int]] = {}
    for i, label in enumerate(connected_components(graph, directed=False)[1]):
        groups.setdefault(int(label), []).append(i)
    return list(groups.values())


def _key(group: list[int], names: Sequence[str], draws: Sequence[bytes]) -> tuple[str, int, bytes]:
    """The order in which groups are dealt out: category by category, so that each gets its share of every split;
    within it the large groups first, so that the single prompts after them even out the shares."""
    counts = Counter(names[i] for i in group)
    category = min(counts, key=lambda name: (-counts[name], name))
    return category, -len(group), min(draws[i] for i in group)


def _draw(text: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}\0{text}".encode()).digest()
