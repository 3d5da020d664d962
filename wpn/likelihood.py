"""Log-likelihoods of given tokens under a causal language model, and the perplexities made from them."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from wpn.data.batches import Batch, Row, collate, encode_pair, encode_text
from wpn.models import pad_id


def token_log_likelihoods(logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """log p(y_t | x, y_<t) of every counted token.

    Args:
        logits: (B, T, V) of the model on `batch`.
        batch: (B, T) tokens.
    Returns:
        (B, T-1) log-likelihoods, zero where nothing counts, and the (B, T-1) mask; column t speaks of token t+1.
    """
    mask = batch.response[:, 1:]  # (B, T-1)
    chosen = logits[:, :-1].gather(2, batch.ids[:, 1:, None])[..., 0]  # (B, T-1)
    return (chosen - logits[:, :-1].logsumexp(dim=2)) * mask, mask


def forward(model: PreTrainedModel, batch: Batch, hidden: bool = False) -> Any:
    """Run the model with positions counted over real tokens, so that padding on either side is the same.

    Returns:
        transformers' output: `logits` (B, T, V) and, when asked for, `hidden_states` (B, T, D), the last layer last.
    """
    positions = (batch.attention.cumsum(dim=1) - 1).clamp(min=0)  # (B, T)
    return model(
        input_ids=batch.ids,
        attention_mask=batch.attention,
        position_ids=positions,
        output_hidden_states=hidden,
        use_cache=False,
    )


@torch.inference_mode()
def row_log_likelihoods(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, rows: Sequence[Row], batch_size: int
) -> list[tuple[float, int]]:
    """Sum of the log-likelihoods of a row's counted tokens (nats), and their number; in the order of the rows."""
    order = sorted(range(len(rows)), key=lambda i: len(rows[i][0]) + len(rows[i][1]))  # little padding
    results: list[tuple[float, int]] = [(0.0, 0)] * len(rows)
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        batch = collate([rows[i] for i in chosen], pad_id(tokenizer)).to(model.device)
        values, mask = token_log_likelihoods(forward(model, batch).logits, batch)
        for i, total, count in zip(chosen, values.sum(1).tolist(), mask.sum(1).tolist(), strict=True):
            results[i] = (total, count)
    return results


def perplexity(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], batch_size: int
) -> float:
    """exp of the mean negative log-likelihood a token, over all tokens of all texts."""
    pairs = row_log_likelihoods(model, tokenizer, [encode_text(tokenizer, text) for text in texts], batch_size)
    return math.exp(-sum(total for total, _ in pairs) / sum(count for _, count in pairs))


def response_perplexities(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    responses: Sequence[str],
    batch_size: int,
) -> list[float]:
    """Perplexity of each response after its prompt, the closing eos included."""
    rows = [encode_pair(tokenizer, prompt, text) for prompt, text in zip(prompts, responses, strict=True)]
    return [math.exp(-total / count) for total, count in row_log_likelihoods(model, tokenizer, rows, batch_size)]
