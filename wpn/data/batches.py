"""Token batches: padding, and pairs of prompt and response with the mask of the response."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from wpn.tokens import encode_inside, encode_prompt

Row = tuple[Sequence[int], Sequence[int]]  # context tokens, and the tokens after them whose likelihood counts
T = TypeVar("T")


@dataclass(frozen=True)
class Batch:
    """Token rows of different lengths.

    Attributes:
        ids: (B, T) tokens.
        attention: (B, T) 1 for tokens, 0 for padding.
        response: (B, T) 1 for the tokens whose likelihood counts.
    """

    ids: Tensor
    attention: Tensor
    response: Tensor

    @property
    def predicting(self) -> int:
        """K <= T: the last K columns hold all tokens that count and those that predict them."""
        columns = self.response.any(dim=0).nonzero()
        first = int(columns[0]) if len(columns) else self.ids.shape[1]
        return self.ids.shape[1] - max(first - 1, 0)

    def to(self, device: torch.device) -> "Batch":
        """The same batch on a device."""
        return Batch(self.ids.to(device), self.attention.to(device), self.response.to(device))


def positions(attention: Tensor) -> Tensor:
    """(B, T) positions counted over real tokens, so that padding on the left changes nothing; 0 for padding.

    Args:
        attention: (B, T) 1 for tokens, 0 for padding.
    """
    return (attention.cumsum(dim=1) - 1).clamp(min=0)


def encode_pair(tokenizer: PreTrainedTokenizerBase, prompt: str, response: str, complete: bool = True) -> Row:
    """Tokens of a prompt (with the tokenizer's start token, if it has one) and of a response."""
    return encode_prompt(tokenizer, prompt), encode_response(tokenizer, response, complete)


def encode_response(tokenizer: PreTrainedTokenizerBase, response: str, complete: bool = True) -> list[int]:
    """Tokens of a response: no start token in front, and eos behind unless the response breaks off."""
    tokens = encode_inside(tokenizer, response)
    return [*tokens, tokenizer.eos_token_id] if complete else tokens


def encode_text(tokenizer: PreTrainedTokenizerBase, text: str, complete: bool = True) -> Row:
    """A text without a prompt, as (context, counted): its first token is not predicted by anything."""
    tokens = encode_prompt(tokenizer, text) + ([tokenizer.eos_token_id] if complete else [])
    return tokens[:1], tokens[1:]


def collate(rows: Sequence[Row], fill: int, side: str = "right", most: float = math.inf) -> Batch:
    """Pad rows of (context tokens, counted tokens) to one length.

    Args:
        rows: B pairs; a text without a prompt has its first token as context, for nothing predicts it.
        fill: id to pad with; only the masks tell what is padding.
        side: where the padding goes: "right", "left", or "both": contexts left and counted tokens right, so that the
            counted ones of all rows begin in one column and few positions need logits.
        most: positions of the model (`wpn.models.positions_of`), in which every row has room. Where padding on both
            sides would reach past them it is on the right: GPT-Neo breaks there, though no token stands there.
    """
    longest = max(len(context) for context, _ in rows), max(len(counted) for _, counted in rows)
    if side == "both" and sum(longest) > most:
        side = "right"
    length = sum(longest) if side == "both" else max(len(context) + len(counted) for context, counted in rows)
    ids, attention, response = [], [], []
    for context, counted in rows:
        tokens, pad = [*context, *counted], length - len(context) - len(counted)
        before = {"right": 0, "left": pad, "both": longest[0] - len(context)}[side]
        after = pad - before
        ids.append([fill] * before + tokens + [fill] * after)
        attention.append([0] * before + [1] * len(tokens) + [0] * after)
        response.append([0] * (before + len(context)) + [1] * len(counted) + [0] * after)
    return Batch(torch.tensor(ids), torch.tensor(attention), torch.tensor(response))


def parts(rows: Sequence[T], count: int) -> list[list[T]]:
    """Split rows into `count` parts of equal size, but for one row; of fewer rows some are empty."""
    bounds = [round(i * len(rows) / count) for i in range(count + 1)]
    return [[*rows[start:end]] for start, end in itertools.pairwise(bounds)]
