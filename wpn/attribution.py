"""Where in an output the harm is: of each word how much a judge finds in it, and of each token the weight that gives.

A harmful output is mostly harmless words. Turning away from all of them alike moves what has nothing to do with the
harm: names, the beginnings of sentences. And a harmful word that was said before is copied, by what copies any word:
turned away from, the model forgets how to say again what it has read. Ours; the attribution is leave-one-out (Li et
al., arXiv 1612.08220).
"""

import math
import re
import unicodedata
from collections.abc import Iterator, Sequence
from statistics import median
from typing import TYPE_CHECKING

from transformers import PreTrainedTokenizerBase

from wpn.tokens import ends_inside

if TYPE_CHECKING:
    from wpn.judges import Judge

WORD = re.compile(r"\S+")
PART = re.compile(r"[^\s/\u2010-\u2015-]+")  # of a word with hyphens or strokes
# what stands around a word; not the signs that hide its letters, for "a**" is no article
EDGES = ".,;:!?\u2026\u0964\"'\u2018\u2019\u201a\u201c\u201d\u201e\u00ab\u00bb()[]{}<>"
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


def said_before(context: str, text: str) -> list[bool]:
    """Of each word of a text whether it stands in the context or earlier in the text, whatever its case."""
    said = set(_parts(context))
    found = []
    for word in WORD.findall(text):
        parts = _parts(word)
        found.append(bool(parts) and said.issuperset(parts))
        said.update(parts)
    return found


def _parts(text: str) -> list[str]:
    stripped = (part.strip(EDGES) for part in PART.findall(unicodedata.normalize("NFC", text).casefold()))
    return [part for part in stripped if part]


def copied_share(prompt: str, output: str, harm: Sequence[float]) -> float:
    """How much of the harm of an output lies in words that were said before; 0 where it has no harmful word.

    Args:
        prompt: what the output follows.
        harm: of each word of the output, as `word_harm` gives it.
    """
    above = _above_usual(harm)
    total = sum(above)
    again = zip(above, said_before(prompt, output), strict=True)
    return sum(value for value, copied in again if copied) / total if total else 0.0


def token_weights(
    tokenizer: PreTrainedTokenizerBase, prompt: str, output: str, harm: Sequence[float], complete: bool
) -> list[float]:
    """Weights of the tokens of an output (`encode_response`), summing to one: what its word has above the usual harm.

    Args:
        prompt: what the output follows; words that were said before have no weight.
        harm: of each word of the output, as `word_harm` gives it.
        complete: the end token belongs to the output; it has no harm.
    """
    copied = said_before(prompt, output)
    own = [0.0 if again else value for value, again in zip(_above_usual(harm), copied, strict=True)]
    ends = [match.end() for match in WORD.finditer(output)]
    found = []
    for end in ends_inside(tokenizer, output):
        word = next((i for i, last in enumerate(ends) if end <= last), None)
        found.append(own[word] if word is not None else 0.0)
    found += [0.0] if complete else []
    total = sum(found)
    alike = 1 / len(found)
    return [FLOOR * alike + (1 - FLOOR) * value / total if total else alike for value in found]


def _above_usual(harm: Sequence[float]) -> list[float]:
    usual = median(harm) if harm else 0.0  # a judge finds a little in any word
    return [max(0.0, each - usual) for each in harm]
