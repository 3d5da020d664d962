"""Splits: near-duplicates stay together, shares and categories are kept, the row order does not matter."""

import itertools
import random
from collections import Counter
from pathlib import Path

import pytest

from wpn.data.harmful import read_harmful
from wpn.data.split import jaccard, near_duplicates, shingles, split_prompts
from wpn.errors import InputError

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
SHARES = {"train": 0.8, "dev": 0.1, "test": 0.1}


def words(count: int, rng: random.Random) -> list[str]:
    return ["".join(rng.choices("abcdefghijklmnop", k=6)) for _ in range(count)]


def sentences(count: int, seed: int) -> list[str]:
    """Twelve words each, of which no two sentences share any."""
    rng = random.Random(seed)
    return [" ".join(words(12, rng)).capitalize() + "." for _ in range(count)]


def variants(text: str) -> list[str]:
    """The text with other punctuation, in capitals, with one word changed."""
    parts = text.rstrip(".").split()
    return [", ".join(parts) + " !", text.upper(), " ".join([*parts[:5], "zzz", *parts[6:]])]


def place(prompts: list[str], splits: dict[str, list[int]]) -> dict[str, str]:
    return {prompts[i]: split for split, members in splits.items() for i in members}


def test_shingles_by_hand():
    assert shingles("Ab, CD!") == {"ab cd"}
    assert shingles("ab-cde") == shingles("\uff21\uff22\tcde ") == {"ab cd", "b cde"}
    assert shingles("ab") == {"ab"}
    assert shingles("?!") == {"?!"} != shingles("!?")
    assert jaccard(shingles("abcdef"), shingles("abcdeg")) == pytest.approx(1 / 3)


@pytest.mark.parametrize("seed", range(4))
def test_planted_near_duplicates_never_straddle(seed):
    texts = sentences(60, seed)
    prompts = texts + [variant for text in texts[:15] for variant in variants(text)]
    random.Random(seed).shuffle(prompts)
    splits, pairs = split_prompts(prompts, SHARES, seed)
    assert sorted(itertools.chain(*splits.values())) == list(range(len(prompts)))
    assert pairs == 15 * 6  # each of 15 families of four
    where = place(prompts, splits)
    for text in texts[:15]:
        assert {where[text]} == {where[variant] for variant in variants(text)}


def test_the_index_finds_the_pairs_that_comparing_all_finds():
    rng = random.Random(5)
    few = words(5, rng)  # so that many pairs are near the threshold
    prompts = [" ".join(rng.choices(few, k=5)) for _ in range(150)]
    parts = [shingles(text) for text in prompts]
    exact = {pair for pair in itertools.combinations(range(150), 2) if jaccard(*(parts[i] for i in pair)) >= 0.5}
    found = set(near_duplicates(prompts))
    assert len(exact) > 100
    assert found <= exact and len(found) >= 0.99 * len(exact)


def test_the_row_order_changes_nothing():
    prompts = sentences(80, 1)
    prompts += [*variants(prompts[0]), prompts[1]]
    categories = [("a", "b", "c")[len(text) % 3] for text in prompts]
    order = random.Random(2).sample(range(len(prompts)), len(prompts))
    splits, pairs = split_prompts(prompts, SHARES, 3, categories)
    again, pairs_again = split_prompts([prompts[i] for i in order], SHARES, 3, [categories[i] for i in order])
    assert pairs == pairs_again > 0
    for split in SHARES:
        assert [prompts[i] for i in splits[split]] == [prompts[order[i]] for i in again[split]]


def test_a_seed_is_a_split():
    prompts = sentences(80, 1)
    assert split_prompts(prompts, SHARES, 1) == split_prompts(prompts, SHARES, 1)
    assert split_prompts(prompts, SHARES, 1) != split_prompts(prompts, SHARES, 2)


@pytest.mark.parametrize("seed", range(3))
def test_shares_hold_in_all_and_in_every_category(seed):
    prompts = sentences(230, 9)
    categories = ["large"] * 150 + ["middle"] * 50 + ["small"] * 30
    splits, pairs = split_prompts(prompts, SHARES, seed, categories)
    assert pairs == 0
    for split, members in splits.items():
        assert len(members) == pytest.approx(SHARES[split] * 230, abs=1)
        counts = Counter(categories[i] for i in members)
        for name, size in (("large", 150), ("middle", 50), ("small", 30)):
            assert counts[name] == pytest.approx(SHARES[split] * size, abs=2)


def test_the_first_prompts_of_a_split_are_of_all_categories():
    prompts = sentences(200, 4)
    categories = ["a"] * 100 + ["b"] * 100
    splits, _ = split_prompts(prompts, SHARES, 0, categories)
    assert 8 <= sum(categories[i] == "a" for i in splits["train"][:40]) <= 32


def test_dialogues_with_the_same_opening_stay_together():
    texts = sentences(40, 6)
    openings = [f"Human: {i // 4}" for i in range(40)]
    prompts = [f"{opening}\n\nAssistant: {text}" for opening, text in zip(openings, texts, strict=True)]
    openings[1] = openings[1].upper() + "!"
    splits, pairs = split_prompts(prompts, {"train": 0.5, "test": 0.5}, 0, openings=openings)
    assert pairs == 0
    for members in splits.values():
        assert set(Counter(i // 4 for i in members).values()) == {4}


@pytest.mark.parametrize("shares", [{"train": 0.8, "test": 0.1}, {"train": 1.0, "test": 0.0}])
def test_shares_must_be_positive_and_sum_to_one(shares):
    with pytest.raises(InputError, match="make them positive numbers that sum to 1"):
        split_prompts(sentences(20, 0), shares, 0)


def test_a_split_without_prompts_is_refused():
    text = sentences(1, 0)[0]
    with pytest.raises(InputError, match="the split 'test' would be empty: 4 prompts form only 1 groups"):
        split_prompts([text, *variants(text)], {"train": 0.7, "test": 0.3}, 0)


def test_the_real_prompts_split_without_straddling():
    if not (SHARED / "realtoxicityprompts").is_dir():
        pytest.skip("the real data are not here: ../shared/data/realtoxicityprompts")
    records = read_harmful(SHARED / "realtoxicityprompts", "lines")
    prompts = [record.prompt for record in records]
    splits, pairs = split_prompts(prompts, SHARES, 7, [record.category for record in records])
    assert pairs == 7
    assert {split: len(members) for split, members in splits.items()} == {"train": 499, "dev": 62, "test": 62}
    parts = {split: [shingles(prompts[i]) for i in members] for split, members in splits.items()}
    for one, other in itertools.combinations(parts.values(), 2):
        assert max(jaccard(a, b) for a in one for b in other) < 0.5
    for record_category in {record.category for record in records}:
        assert all(any(records[i].category == record_category for i in members) for members in splits.values())
