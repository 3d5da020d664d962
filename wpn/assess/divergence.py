"""How far a model's distributions are from another's, where that one speaks."""

from collections.abc import Sequence

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from wpn.data.batches import collate, encode_pair
from wpn.likelihood import forward, wide
from wpn.losses.kl import forward_kl
from wpn.models import pad_id

Model = tuple[PreTrainedModel, PreTrainedTokenizerBase]


@torch.inference_mode()
def divergences(
    other: Model, model: PreTrainedModel, prompts: Sequence[str], answers: Sequence[str], batch_size: int
) -> list[float]:
    """KL(other || model) in nats a token, where the tokens of each answer and the one after it are predicted.

    Args:
        other: the model whose answers these are, of the same vocabulary.
        prompts: as the model is asked.
        answers: one a prompt.
        batch_size: prompts a forward pass.
    """
    frozen, tokenizer = other
    pairs = [encode_pair(tokenizer, prompt, answer) for prompt, answer in zip(prompts, answers, strict=True)]
    found: list[float] = []
    for start in range(0, len(pairs), batch_size):
        batch = collate(pairs[start : start + batch_size], pad_id(tokenizer), side="both").to(model.device)
        before, after = (wide(forward(one, batch).logits[:, :-1]) for one in (frozen, model))  # (B, K-1, V)
        counted = batch.response[:, -before.shape[1] :]  # (B, K-1)
        rows = zip(before.split(1), after.split(1), counted.split(1), strict=True)
        found += [float(forward_kl(*row)) for row in rows]
    return found
