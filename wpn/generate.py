"""Batched continuation of prompts."""

from collections.abc import Sequence

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from wpn.data.batches import collate
from wpn.models import pad_id


@torch.inference_mode()
def continue_prompts(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    *,
    max_new_tokens: int,
    batch_size: int,
    temperature: float | None = None,
    seed: int = 0,
) -> list[str]:
    """The continuation of each prompt, without the prompt and without special tokens.

    Args:
        temperature: None decodes greedily; a number samples from the whole distribution at that temperature.
        seed: of the samples; the same prompts in the same order give the same samples.
    """
    torch.manual_seed(seed)
    encoded = tokenizer(list(prompts)).input_ids
    order = sorted(range(len(prompts)), key=lambda i: len(encoded[i]))  # little padding
    texts = [""] * len(prompts)
    sampling = (
        {"do_sample": False} if temperature is None else {"do_sample": True, "temperature": temperature, "top_k": 0}
    )
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        batch = collate([(encoded[i], []) for i in chosen], pad_id(tokenizer), side="left").to(model.device)
        output = model.generate(  # type: ignore[operator]  # transformers' mixin hides it from mypy
           
            input_ids=batch.ids, attention_mask=batch.attention, max_new_tokens=max_new_tokens,
            pad_token_id=pad_id(tokenizer), eos_token_id=tokenizer.eos_token_id, **sampling,
        )  # fmt: skip
        decoded = tokenizer.batch_decode(output[:, batch.ids.shape[1] :], skip_special_tokens=True)
        for i, text in zip(chosen, decoded, strict=True):
            texts[i] = text
    return texts
