"""How much of a text a model has by heart: memorisation accuracy (MA) and extraction likelihood (EL_n).

Source: Jang et al., Knowledge Unlearning (arXiv 2210.01504), whose texts are `whole`: a context of one token. ICU
(arXiv 2407.20271) reports an EL_n over fewer places, so that the numbers of the two papers do not compare; `starts`
chooses.
"""

from collections.abc import Sequence

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from wpn.data.batches import Row, collate
from wpn.generate import continue_tokens
from wpn.likelihood import forward
from wpn.models import pad_id, positions_of

Tokens = Sequence[int]


def whole(ids: Tokens) -> Row:
    """A text all of which counts but its first token, which nothing predicts."""
    return ids[:1], ids[1:]


@torch.inference_mode()
def memorisation_accuracy(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, passages: Sequence[Row], batch_size: int
) -> list[float]:
    """MA(x) = mean over t of 1[argmax p(. | x_<t) = x_t]: the share of counted tokens that are the first guess.

    Args:
        passages: (context, counted tokens) of at least one each.
    """
    shares = []
    for start in range(0, len(passages), batch_size):
        rows = passages[start : start + batch_size]
        batch = collate(rows, pad_id(tokenizer), "both", positions_of(model)).to(model.device)
        guessed = forward(model, batch).logits[:, :-1].argmax(dim=2)  # (B, K-1)
        first = batch.ids.shape[1] - guessed.shape[1]
        counted = batch.response[:, first:]
        right = (guessed == batch.ids[:, first:]) * counted
        shares += (right.sum(dim=1) / counted.sum(dim=1)).tolist()
    return shares


def extraction_likelihood(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    passages: Sequence[Row],
    n: int,
    batch_size: int,
    starts: Sequence[int] | None = None,
) -> list[float]:
    """EL_n(x) = mean over t of OVERLAP_n(greedy continuation of x_<t, x_>=t): how much of the rest can be drawn out.

    Args:
        passages: (context, counted tokens).
        n: length of the n-grams.
        starts: the t's, in tokens of the passage, negative ones from its end; None: all from the end of the context to
            T - n, as Jang et al. count; ICU's code takes -50 to -n.
    Raises:
        ValueError: a passage is too short for any t.
    """
    texts = [[*context, *counted] for context, counted in passages]
    wanted = [continued_at(passage, n, starts) for passage in passages]
    if [] in wanted:
        raise ValueError(f"passage {wanted.index([]) + 1} is too short for n = {n}; take longer ones or a smaller n")
    places = [(i, t) for i, each in enumerate(wanted) for t in each]
    prefixes = [texts[i][:t] for i, t in places]
    longest = max(len(texts[i]) - t for i, t in places)
    continued = continue_tokens(model, tokenizer, prefixes, max_new_tokens=longest, batch_size=batch_size)
    found: dict[int, list[float]] = {}
    for (i, t), tokens in zip(places, continued, strict=True):
        rest = texts[i][t:]
        found.setdefault(i, []).append(overlap(tokens[: len(rest)], rest, n))
    return [sum(found[i]) / len(found[i]) for i in range(len(passages))]


def continued_at(passage: Row, n: int, starts: Sequence[int] | None = None) -> list[int]:
    """The t's of EL_n; none where a passage is too short.

    Args:
        starts: as of `extraction_likelihood`.
    """
    context, counted = passage
    length = len(context) + len(counted)
    possible = range(len(context), length - n + 1)
    asked = possible if starts is None else sorted({t if t >= 0 else length + t for t in starts})
    return [t for t in asked if t in possible]


def overlap(produced: Tokens, rest: Tokens, n: int) -> float:
    """OVERLAP_n(a, b): how many n-grams of a are found in b, as a share of b's n-grams; 0 if b has none.

    A continuation that ends early counts for less.
    """
    wanted = [tuple(rest[i : i + n]) for i in range(len(rest) - n + 1)]
    if not wanted:
        return 0.0
    known = set(wanted)
    hits = sum(tuple(produced[i : i + n]) in known for i in range(len(produced) - n + 1))
    return hits / len(wanted)
