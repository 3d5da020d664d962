"""Whether a model and a tokenizer that someone else made can be measured at all: what is silently wrong otherwise."""

import logging
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from wpn.errors import InputError

logger = logging.getLogger(__name__)

ORDINARY = "user : is it you who has the cow ? bot : no , and I thank you for all that you said ."
TOLERATED = 1e-3  # total variation between two runs of one model: rounding, and no more
KEPT = {"bos_token_id", "eos_token_id", "pad_token_id"}  # of the settings by which a checkpoint generates


def make_usable(place: str | Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Check them, and leave out what would have them answer otherwise than they are trained and measured.

    Args:
        place: what the user calls the checkpoint.
        model: gets generation settings without penalties, searches and forbidden words.
        tokenizer: loses a pad token that the model has no embedding for.
    Raises:
        InputError: the tokenizer knows no word or no end, ends every text, or is another model's; the model is no
            decoder, gives no numbers, or takes padding for text.
    """
    rows = len(cast(nn.Embedding, model.get_input_embeddings()).weight)
    _check_tokenizer(place, tokenizer, rows)
    if tokenizer.pad_token_id is not None and tokenizer.pad_token_id >= rows:
        logger.warning("%s: its pad token, %d, has no embedding (of %d): left out", place, tokenizer.pad_token_id, rows)
        tokenizer.pad_token = None
    _check_predictions(place, model.eval(), tokenizer)
    _generate_plainly(place, model)


def check_knows_words(place: str | Path, tokenizer: PreTrainedTokenizerBase) -> None:
    """Refuse the empty tokenizer that transformers makes without its files, with which every text is the same nothing.

    Raises:
        InputError: it knows no word of ordinary text.
    """
    known = set(tokenizer(ORDINARY, add_special_tokens=False).input_ids) - set(tokenizer.all_special_ids)
    if len(known) < 2:  # one may stand for all that is unknown
        raise InputError(
            f"{place} has no tokenizer that knows any word of ordinary text; add its files (tokenizer.json), or name "
            "the folder that holds them too"
        )


def _check_tokenizer(place: str | Path, tokenizer: PreTrainedTokenizerBase, rows: int) -> None:
    if tokenizer.eos_token_id is None:
        raise InputError(f"the tokenizer of {place} has no end token, which padding and whole responses need; set one")
    check_knows_words(place, tokenizer)
    tokens = tokenizer(ORDINARY).input_ids
    if tokens[-1] == tokenizer.eos_token_id:
        raise InputError(
            f"the tokenizer of {place} puts its end token behind every text, so that a prompt would be over before it "
            "is answered; save it with add_eos_token off"
        )
    if (largest := max(*tokens, tokenizer.eos_token_id)) >= rows:
        raise InputError(
            f"the tokenizer of {place} gives the token {largest}, but the model has embeddings of {rows}; take the "
            "model's own tokenizer, or enlarge its embeddings (resize_token_embeddings)"
        )


@torch.inference_mode()
def _check_predictions(place: str | Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """What follows the first four tokens of a text: by themselves, with more behind them, and with padding in front."""
    tokens = tokenizer(ORDINARY).input_ids[:8]
    alone = _after_four(model, tokens[:4])
    kind = f"the {model.config.model_type} model of {place}"
    if not bool(alone.isfinite().all()):
        raise InputError(f"{kind} gives no finite probabilities for ordinary text, as its weights are; fetch others")
    if _differ(alone, _after_four(model, tokens)):
        raise InputError(f"{kind} looks at what comes after a word, so that it is no decoder; choose a causal model")
    if _differ(alone, _after_four(model, tokens[:4], padding=4)):  # RWKV: it would depend on the rest of the batch
        raise InputError(
            f"{kind} does not leave padding out in front of a prompt, so that its answers in batches would not be its "
            "own; choose a model of another architecture"
        )


def _after_four(model: PreTrainedModel, tokens: list[int], padding: int = 0) -> Tensor:
    """(V,) probabilities of what follows the first four tokens, with so many of padding in front."""
    ids, attention, positions = (
        torch.tensor([[0] * padding + row], device=model.device)
        for row in (tokens, [1] * len(tokens), list(range(len(tokens))))
    )
    output = model(ids, attention_mask=attention, position_ids=positions, use_cache=False)
    probabilities: Tensor = output.logits[0, padding + 3].float().softmax(dim=0)
    return probabilities


def _differ(one: Tensor, other: Tensor) -> bool:
    return bool((one - other).abs().sum() / 2 > TOLERATED)


def _generate_plainly(place: str | Path, model: PreTrainedModel) -> None:
    """Only where answers end is kept: penalties and searches would change greedy answers, and what is sampled from."""
    own = model.generation_config
    if own is None:
        return
    said = {key: value for key, value in own.to_diff_dict().items() if not key.startswith("_")}
    asked = {key for key, value in said.items() if value is not None and value is not False}
    dropped = sorted(asked - KEPT - {"transformers_version", "use_cache"})
    if dropped:
        logger.warning("generation settings of %s are left out: %s", place, ", ".join(dropped))
    model.generation_config = GenerationConfig(**{key: value for key, value in said.items() if key in KEPT})
