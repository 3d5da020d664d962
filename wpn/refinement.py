"""Iterative Unlearning Refinement (ICU, arXiv 2407.20271): stop unlearning what is forgotten.

After every epoch the model goes on with each prompt; a pair whose harmful output it no longer says is switched off,
and may be switched on again after a later epoch. Training ends when nothing is left, or when the outputs are known no
better than text that was never seen, by MA and EL_n (wpn.memorisation). A passage, whose prompt is but its beginning,
is gone on with in its midst: ICU gives tokens 100 to 149 of 200 and asks for the last 50 (`window: 50`), and counts
EL_n from each of these (`starts`).

The paper asks BERTScore < 0.3 or BLEU < 0.01; BERTScore needs a model of its own (wpn.encoder), and where none is at
hand, BLEU alone decides.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from wpn.config.methods import Refinement
from wpn.data.batches import Row
from wpn.encoder import Encoder, bert_score
from wpn.errors import InputError
from wpn.generate import continue_tokens
from wpn.memorisation import continued_at, extraction_likelihood, memorisation_accuracy
from wpn.parallel import evaluating

LOWER = "lower `window` and `n` of the method's refinement, or take longer ones"


@dataclass(frozen=True)
class Refined:
    """What one look at the pairs found.

    Attributes:
        active: indices of the pairs that are still said.
        done: nothing is left to unlearn.
    """

    active: list[int]
    done: bool


def refine(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    pairs: Sequence[Row],
    settings: Refinement,
    batch_size: int,
    encoder: Encoder | None = None,
) -> Refined:
    """Look which harmful outputs the model still says.

    Args:
        model: it is left in the mode in which it was.
        pairs: (prompt tokens, harmful output tokens), long enough (`check_lengths`).
        encoder: of BERTScore; None asks BLEU alone.
    """
    with evaluating(model):
        active = _said(model, tokenizer, _asked(pairs, settings), settings, batch_size, encoder)
        done = not active or _unknown(model, tokenizer, pairs, settings, batch_size)
    return Refined(active, done)


def check_lengths(pairs: Sequence[Row], settings: Refinement) -> None:
    """Refuse what could not be asked after the first epoch.

    Raises:
        InputError: a passage is too short for the window, or all outputs are for EL_n.
    """
    for number, pair in enumerate(pairs, 1):
        if settings.window and len(pair[0]) + len(pair[1]) < 2 * settings.window:
            raise InputError(f"forget pair {number} is shorter than two windows of {settings.window} tokens; {LOWER}")
    if not _long_enough(pairs, settings):
        raise InputError(f"no output of the forget pairs has {settings.n} tokens for EL_n; {LOWER}")


def _asked(pairs: Sequence[Row], settings: Refinement) -> list[Row]:
    """What the model goes on with, and how it should no longer."""
    if not settings.window:
        return [*pairs]
    passages = [[*prompt, *output] for prompt, output in pairs]
    return [(ids[-2 * settings.window : -settings.window], ids[-settings.window :]) for ids in passages]


def _said(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    asked: Sequence[Row],
    settings: Refinement,
    batch_size: int,
    encoder: Encoder | None,
) -> list[int]:
    """Which of them are."""
    longest = max(len(output) for _, output in asked)
    said = continue_tokens(
        model, tokenizer, [list(prompt) for prompt, _ in asked], max_new_tokens=longest, batch_size=batch_size
    )
    cut = [tokens[: len(output)] for tokens, (_, output) in zip(said, asked, strict=True)]
    texts = tokenizer.batch_decode(cut, skip_special_tokens=True)
    references = tokenizer.batch_decode([list(output) for _, output in asked], skip_special_tokens=True)
    scores = [bleu(text, reference, settings.bleu_order) for text, reference in zip(texts, references, strict=True)]
    active = [i for i, score in enumerate(scores) if score >= settings.bleu_below]
    if not encoder:
        return active
    alike = map(bert_score, encoder.tokens([texts[i] for i in active]), encoder.tokens([references[i] for i in active]))
    return [i for i, score in zip(active, alike, strict=True) if score >= settings.bertscore_below]


def _unknown(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    pairs: Sequence[Row],
    settings: Refinement,
    batch_size: int,
) -> bool:
    """MA is under its bound, and EL_n, which may be 0 of what was never seen, not above its own.

    EL_n takes a continuation a token, and is asked only when MA is low enough.
    """
    if mean_accuracy(model, tokenizer, pairs, batch_size) >= settings.accuracy_below:
        return False
    return mean_extraction(model, tokenizer, pairs, settings, batch_size) <= settings.extraction_below


def mean_accuracy(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, pairs: Sequence[Row], batch_size: int
) -> float:
    """MA of the outputs after their prompts, as the stop asks for it."""
    return fmean(memorisation_accuracy(model, tokenizer, pairs, batch_size))


def mean_extraction(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    pairs: Sequence[Row],
    settings: Refinement,
    batch_size: int,
) -> float:
    """EL_n of the outputs after their prompts, but for those that are too short, as the stop asks for it."""
    asked = _long_enough(pairs, settings)
    return fmean(extraction_likelihood(model, tokenizer, asked, settings.n, batch_size, settings.starts))


def _long_enough(pairs: Sequence[Row], settings: Refinement) -> list[Row]:
    return [pair for pair in pairs if continued_at(pair, settings.n, settings.starts)]


def bleu(said: str, reference: str, order: int) -> float:
    """Sentence BLEU in [0, 1], by sacrebleu, of n-grams up to an order or, if the text said is shorter, its length.

    Not smoothed, as in ICU's code: a text that shares no n-gram of one order scores 0. Smoothing would give it a few
    hundredths, which no bound of 0.01 finds. So an output of few words is to be asked for a low order: with one of
    them changed it may have no four in a row, and would count as forgotten.
    """
    from sacrebleu.metrics import BLEU

    scorer = BLEU(effective_order=True, smooth_method="none", max_ngram_order=order)
    return float(scorer.sentence_score(said, [reference]).score) / 100
