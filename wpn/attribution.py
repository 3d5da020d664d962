"""Where in an output the harm is: of each word how much a judge finds in it, and of each token the weight that gives.

A harmful output is mostly harmless words. Turning away from all of them alike moves what has nothing to do with the
harm: names, the beginnings of sentences. Ours; the attribution is leave-one-out (Li et al., arXiv 1612.08220).
"""

import math
import re
from collections.abc import Iterator, Sequence
from statistics import median
from typing import TYPE_CHECKING

from transformers import PreTrainedTokenizerBase

if TYPE_CHECKING:
    from wpn.judges import Judge

WORD = re.compile(r"\S+")
FLOOR = 0.1  # of the weight of an output that all its tokens share alike, whatever the judge says


def word_harm(judge: "Judge", texts: Sequence[str]) -> list[list[float]]:
    """Of each word of each text (what stands between spaces) its harm in [0, 1].

    It is what the judge finds in the word alone, or what it no longer finds in the text without the word, whichever is
    more: the first misses words that harm only beside others, the second those that are harmful more than once.
    """
    asked = [list(_without_each_word(text)) for text in texts]
    alone = [[match[0] for match in WORD.finditer(text)] for text in texts]
    found = judge.harm([*texts, *(each for some in asked for each in some), *(w for some in alone for w in some)])
    scores = iter(score if math.isfinite(score) else 0.0 for score in found)  # a judge may give no number
    whole = [next(scores) for _ in texts]
    lost = [[max(0.0, all_of_it - next(scores)) for _ in some] for all_of_it, some in zip(whole, asked, strict=True)]
    own = [[next(scores) for _ in some] for some in alone]
    return [[max(pair) for pair in zip(*each, strict=True)] for each in zip(lost, own, strict=True)]


def _without_each_word(text: str) -> Iterator[str]:
    for match in WORD.finditer(text):
        yield text[: match.start()] + text[match.end() :].lstrip()


def token_weights(tokenizer: PreTrainedTokenizerBase, text: str, harm: Sequence[float], complete: bool) -> list[float]:
    """Weights of the tokens of an output (`encode_response`), summing to one: what its word has above the usual harm.

    Args:
        harm: of each word, as `word_harm` gives it.
        complete: the end token belongs to the output; it has no harm.
    """
    words = [match.end() for match in WORD.finditer(text)]
    usual = median(harm) if harm else 0.0  # a judge finds a little in any word
    found = []
    for _, end in tokenizer(text, add_special_tokens=False, return_offsets_mapping=True).offset_mapping:
        word = next((i for i, last in enumerate(words) if end <= last), None)
        found.append(max(0.0, harm[word] - usual) if word is not None else 0.0)
    found += [0.0] if complete else []
    total = sum(found)
    alike = 1 / len(found)
    return [FLOOR * alike + (1 - FLOOR) * value / total if total else alike for value in found]
