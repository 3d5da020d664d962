"""Log-likelihoods of given tokens under a causal language model."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from wpn.data.batches import Batch, Row, collate, encode_pair, encode_text, positions
from wpn.models import pad_id, positions_of


def token_log_likelihoods(logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """log p(y_t | x, y_<t) of every counted token.

    Args:
        logits: (B, K, V) of the model on `batch`, at its last K positions.
        batch: (B, T) tokens.
    Returns:
        (B, K-1) log-likelihoods, zero where nothing counts, and the (B, K-1) mask; column t speaks of the token after
        the t-th of the K positions.
    """
    first = batch.ids.shape[1] - logits.shape[1] + 1
    mask = batch.response[:, first:]  # (B, K-1)
    logits = wide(logits[:, :-1])
    chosen = logits.gather(2, batch.ids[:, first:, None])[..., 0]  # (B, K-1)
    return (chosen - logits.logsumexp(dim=2)) * mask, mask


def wide(logits: Tensor) -> Tensor:
    """Logits in at least single precision: a sum over a vocabulary in bfloat16 would keep two digits."""
    return logits.float() if logits.dtype in (torch.bfloat16, torch.float16) else logits


def forward(model: PreTrainedModel, batch: Batch, hidden: bool = False) -> Any:
    """Run the model with positions counted over real tokens, so that padding on either side is the same.

    Returns:
        transformers' output: `logits` (B, K, V) at the last K positions, which are all that predict a counted token
        (the vocabulary is most of a small model's work), and, when asked for, `hidden_states` (B, T, D), the last
        layer last.
    """
    return model(
        input_ids=batch.ids,
        attention_mask=batch.attention,
        position_ids=positions(batch.attention),
        output_hidden_states=hidden,
        logits_to_keep=batch.predicting,
        use_cache=False,
    )


@torch.inference_mode()
def row_log_likelihoods(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, rows: Sequence[Row], batch_size: int
) -> list[tuple[float, int]]:
    """Sum of the log-likelihoods of a row's counted tokens (nats), and their number; in the order of the rows."""
    order = sorted(range(len(rows)), key=lambda i: len(rows[i][0]) + len(rows[i][1]))  # little padding
    found: list[tuple[float, int]] = []
    for start in range(0, len(order), batch_size):
        chosen = [rows[i] for i in order[start : start + batch_size]]
        batch = collate(chosen, pad_id(tokenizer), "both", positions_of(model)).to(model.device)
        values, mask = token_log_likelihoods(forward(model, batch).logits, batch)
        found += zip(values.sum(1).tolist(), mask.sum(1).tolist(), strict=True)
    in_order = dict(zip(order, found, strict=True))
    return [in_order[i] for i in range(len(rows))]


def text_log_likelihoods(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    batch_size: int,
    complete: bool = True,
) -> list[tuple[float, int]]:
    """Log-likelihood of each whole text (nats), its end included if it is complete, and its number of tokens."""
    return row_log_likelihoods(model, tokenizer, [encode_text(tokenizer, text, complete) for text in texts], batch_size)


def response_log_likelihoods(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    responses: Sequence[str],
    batch_size: int,
    complete: bool = True,
) -> list[tuple[float, int]]:
    """Log-likelihood of each response after its prompt (nats), its end included if it is complete; its tokens."""
    rows = [encode_pair(tokenizer, prompt, text, complete) for prompt, text in zip(prompts, responses, strict=True)]
    return row_log_likelihoods(model, tokenizer, rows, batch_size)
