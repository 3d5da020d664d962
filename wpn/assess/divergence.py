"""How far a model's distributions are from another's, where that one speaks."""

from collections.abc import Sequence

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from wpn.data.batches import collate, encode_pair
from wpn.likelihood import forward, wide
from wpn.losses.kl import forward_kl
from wpn.models import pad_id, positions_of

Model = tuple[PreTrainedModel, PreTrainedTokenizerBase]


def incomparable(model: Model, other: Model, texts: Sequence[str]) -> str | None:
    """Why two models' distributions over tokens cannot be compared; None where they can.

    Args:
        texts: for which both tokenizers have to give the same tokens.
    """
    tokenizers = model[1], other[1]
    first, second = ((each.get_vocab(), each(list(texts)).input_ids) for each in tokenizers)
    if first != second:
        return "its tokenizer gives other tokens"
    sizes = [each[0].config.get_text_config().vocab_size for each in (model, other)]
    if sizes[0] != sizes[1]:
        return f"its vocabulary has {sizes[0]} entries, not {sizes[1]}"
    return None


@torch.inference_mode()
def divergences(
    other: Model, model: PreTrainedModel, prompts: Sequence[str], answers: Sequence[str], batch_size: int
) -> list[float]:
    """KL(other || model) in nats a token, where the tokens of each answer and the one after it are predicted.

    Args:
        other: the model whose answers these are, of the same tokens (`incomparable`).
        prompts: as the model is asked.
        answers: one a prompt.
        batch_size: prompts a forward pass.
    """
    frozen, tokenizer = other
    pairs = [encode_pair(tokenizer, prompt, answer) for prompt, answer in zip(prompts, answers, strict=True)]
    found: list[float] = []
    most = min(positions_of(frozen), positions_of(model))
    # the end of an answer as long as any, or one that is spelt in more tokens than it was said in, may have no room
    pairs = [(context, counted[: int(min(len(counted), most - len(context)))]) for context, counted in pairs]
    for start in range(0, len(pairs), batch_size):
        batch = collate(pairs[start : start + batch_size], pad_id(tokenizer), "both", most).to(model.device)
        before, after = (wide(forward(one, batch).logits[:, :-1]) for one in (frozen, model))  # (B, K-1, V)
        counted = batch.response[:, -before.shape[1] :]  # (B, K-1)
        rows = zip(before.split(1), after.split(1), counted.split(1), strict=True)
        found += [float(forward_kl(*row)) for row in rows]
    return found
