"""Token batches: padding, and pairs of prompt and response with the mask of the response."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

Row = tuple[Sequence[int], Sequence[int]]  # context tokens, and the tokens after them whose likelihood counts


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

    def to(self, device: torch.device) -> "Batch":
        """The same batch on a device."""
        return Batch(self.ids.to(device), self.attention.to(device), self.response.to(device))


def encode_pair(tokenizer: PreTrainedTokenizerBase, prompt: str, response: str) -> Row:
    """Tokens of a prompt (with the tokenizer's start token, if it has one) and of a response, closed by eos."""
    return tokenizer(prompt).input_ids, encode_response(tokenizer, response)


def encode_response(tokenizer: PreTrainedTokenizerBase, response: str) -> list[int]:
    """Tokens of a response: no start token in front, eos behind."""
    return [*tokenizer(response, add_special_tokens=False).input_ids, tokenizer.eos_token_id]


def collate(rows: Sequence[Row], fill: int, side: str = "right") -> Batch:
    """Pad rows of (context tokens, counted tokens) to one length.

    Args:
        rows: B pairs; a text without a prompt has its first token as context, for nothing predicts it.
        fill: id to pad with; only the masks tell what is padding.
        side: where the padding goes, "right" or "left".
    """
    length = max(len(context) + len(counted) for context, counted in rows)
    ids, attention, response = [], [], []
    for context, counted in rows:
        tokens, pad = [*context, *counted], length - len(context) - len(counted)
        before, after = (0, pad) if side == "right" else (pad, 0)
        ids.append([fill] * before + tokens + [fill] * after)
        attention.append([0] * before + [1] * len(tokens) + [0] * after)
        response.append([0] * (before + len(context)) + [1] * len(counted) + [0] * after)
    return Batch(torch.tensor(ids), torch.tensor(attention), torch.tensor(response))


def encode_text(tokenizer: PreTrainedTokenizerBase, text: str) -> Row:
    """A text without a prompt, as (context, counted): its first token is not predicted by anything."""
    tokens = [*tokenizer(text).input_ids, tokenizer.eos_token_id]
    return tokens[:1], tokens[1:]
