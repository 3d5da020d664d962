"""Batched continuation of prompts."""

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import LogitsProcessor, LogitsProcessorList, PreTrainedModel, PreTrainedTokenizerBase
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from wpn.data.batches import Batch, collate, positions
from wpn.errors import InputError
from wpn.models import pad_id, positions_of
from wpn.tokens import decode_inside, encode_prompt


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

    An empty prompt is the tokenizer's start token (bos, else eos), so that the model begins a text of its own.

    Args:
        temperature: None decodes greedily; a number samples from the whole distribution at that temperature.
        seed: of the samples; the same prompts in the same order give the same samples.
    """
    if not prompts:
        return []
    start = [tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id]
    encoded = [encode_prompt(tokenizer, prompt) or start for prompt in prompts]
    tokens = continue_tokens(
        model, tokenizer, encoded,
        max_new_tokens=max_new_tokens, batch_size=batch_size, temperature=temperature, seed=seed,
    )  # fmt: skip
    ends = _ends(model, tokenizer)
    said = [list(itertools.takewhile(lambda token: token not in ends, row)) for row in tokens]
    behind = decode_inside(tokenizer, said, skip_special_tokens=True)
    return [
        text if prompt else str(tokenizer.decode(row, skip_special_tokens=True))  # behind no prompt a text begins
        for prompt, text, row in zip(prompts, behind, said, strict=True)
    ]


@torch.inference_mode()
def continue_tokens(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    encoded: Sequence[list[int]],
    *,
    max_new_tokens: int,
    batch_size: int,
    temperature: float | None = None,
    seed: int = 0,
) -> list[list[int]]:
    """The same of rows of tokens: the new tokens of each row, and filling behind the end token.

    Args:
        encoded: none of them empty.
    Raises:
        InputError: a row has no room for as many new tokens.
    """
    _check_room(model, tokenizer, encoded, max_new_tokens)
    generator = torch.Generator(model.device).manual_seed(seed)
    draw = [] if temperature is None else [Draw(temperature, generator)]
    # little padding, and the samples of one prompt side by side
    order = sorted(range(len(encoded)), key=lambda i: (len(encoded[i]), encoded[i]))
    rows: list[list[int]] = [[]] * len(encoded)
    for first in range(0, len(order), batch_size):
        chosen = order[first : first + batch_size]
        batch = collate([(encoded[i], []) for i in chosen], pad_id(tokenizer), side="left").to(model.device)
        output = model.generate(  # type: ignore[operator]  # transformers' mixin hides it from mypy
            input_ids=batch.ids, attention_mask=batch.attention, past_key_values=_prefilled(model, batch),
            max_new_tokens=max_new_tokens, pad_token_id=pad_id(tokenizer), eos_token_id=_ends(model, tokenizer),
            do_sample=False, logits_processor=LogitsProcessorList(draw),
            use_cache=True,  # a checkpoint may say no, as many that were tuned do, and go astray with a cache begun
        )  # fmt: skip
        for i, tokens in zip(chosen, output[:, batch.ids.shape[1] :].tolist(), strict=True):
            rows[i] = tokens
    return rows


def _ends(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The tokens that end an answer: the tokenizer's, and of models that chat also the one that ends a turn."""
    own = getattr(model.generation_config, "eos_token_id", None)
    more = own if isinstance(own, list) else [] if own is None else [own]
    return sorted({tokenizer.eos_token_id, *more})


def _check_room(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, encoded: Sequence[Sequence[int]], new: int
) -> None:
    longest = max(encoded, key=len, default=[])
    if len(longest) + new > (most := positions_of(model)):
        raise InputError(
            f"a prompt of {len(longest)} tokens leaves no room for an answer of {new}, for the model reads {most:.0f}; "
            f"leave it out: {tokenizer.decode(list(longest))[:60]!r}..."
        )


class Draw(LogitsProcessor):
    """Sampling from the whole distribution, as a step of greedy decoding: the drawn token becomes the only one.

    transformers' own sampling draws an exponential number for every token of the vocabulary, a fifth of the time of
    SmolLM2-135M on a CPU; and a checkpoint's generation_config.json may narrow what it samples from.
    """

    def __init__(self, temperature: float, generator: torch.Generator) -> None:
        self.temperature, self.generator = temperature, generator

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Leave one finite score a row.

        Args:
            input_ids: (B, T), unused.
            scores: (B, V) logits.
        """
        # summed in fp64, so that the small probabilities of a large vocabulary are not lost
        mass = (scores.float() / self.temperature).softmax(dim=1).cumsum(dim=1, dtype=torch.float64)  # (B, V)
        point = torch.rand(len(scores), 1, generator=self.generator, device=scores.device, dtype=torch.float64)
        drawn = torch.searchsorted(mass, point * mass[:, -1:], right=True).clamp(max=scores.shape[1] - 1)  # (B, 1)
        return torch.full_like(scores, float("-inf")).scatter(1, drawn, 0.0)


def _prefilled(model: PreTrainedModel, batch: Batch) -> Any:
    """Keys and values of all prompt tokens but the last, run once a prompt however many samples of it there are.

    Returns:
        A cache of B rows for `generate`, or None where nothing can be shared.
    """
    rows = torch.cat([batch.ids, batch.attention], dim=1)  # (B, 2T)
    distinct, which = rows.unique(dim=0, return_inverse=True)  # (U, 2T), (B,)
    length = batch.ids.shape[1]
    if length == 1 or len(distinct) == len(rows):
        return None
    ids, attention = distinct[:, : length - 1], distinct[:, length : 2 * length - 1]
    output = model(
        input_ids=ids, attention_mask=attention, position_ids=positions(attention), use_cache=True, logits_to_keep=1
    )
    if (cache := selectable(output)) is not None:
        cache.batch_select_indices(which)
    return cache


def selectable(output: Any) -> Any:
    """The keys and values of a model's output, if rows of them can be selected, else None.

    A recurrent model has none, and of what some architectures keep beside keys and values (states of recurrent layers,
    compressed entries) transformers selects no rows.
    """
    cache = output.get("past_key_values")
    layers = getattr(cache, "layers", [])
    plain = all(type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in layers)
    return cache if layers and plain else None
