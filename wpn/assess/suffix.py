"""An optimised suffix: words behind the request that make the harmful output likely, found by its gradient.

Source: greedy coordinate gradient, Universal and Transferable Adversarial Attacks (arXiv 2307.15043), for each
prompt alone and with a small budget. Ours: only tokens that are whole words come into question, so that the suffix is a
text that anybody may type, and is asked as one.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from wpn.assess.grading import Row, harmful_rate
from wpn.assess.subject import MORE_PAIRS, Subject
from wpn.config.probes import Suffix
from wpn.data.batches import Row as Tokens
from wpn.data.batches import collate, encode_pair
from wpn.data.template import around
from wpn.errors import InputError
from wpn.likelihood import row_log_likelihoods, token_log_likelihoods
from wpn.models import pad_id, positions_of
from wpn.statistics import bootstrap_mean
from wpn.tokens import ANCHOR, anchor, decode_inside, encode_inside, encode_prompt


@dataclass(frozen=True)
class Request:
    """The tokens around a suffix.

    Attributes:
        head: up to the end of what the user says.
        tail: from there to the answer.
        target: the answer that is wanted.
    """

    head: list[int]
    tail: list[int]
    target: list[int]

    def row(self, suffix: Sequence[int]) -> Tokens:
        """Context and target with a suffix in between."""
        return [*self.head, *suffix, *self.tail], self.target


def suffix(subject: Subject, settings: Suffix) -> tuple[dict[str, Any], list[Row]]:
    """Find a suffix for every prompt that makes a held-out harmful output likely, and ask with it.

    Returns:
        Estimates `suffix_success`: the harmful rate of the answers; `suffix_gain`: by how many nats a token the target
        became more likely than without a suffix. A prompt for which the model has no room is left out. And one row an
        answer, with its suffix.
    Raises:
        InputError: there is no harmful output to aim at, the tokenizer has no whole words, or there is no room.
    """
    if not subject.held_out:
        raise InputError(f"no harmful output is left to aim at; {MORE_PAIRS}")
    words = whole_words(subject.tokenizer).to(subject.model.device)
    generator = torch.Generator().manual_seed(subject.seed)
    prompts = subject.prompts[: settings.prompts]
    asked, found = [], []
    for i, prompt in enumerate(prompts):
        target = subject.held_out[i % len(subject.held_out)]
        request = _request(subject, prompt, target)
        if not _fits(subject, request, settings.length):
            continue
        tokens = search(subject.model, subject.tokenizer, request, words, settings, generator)
        (text,) = decode_inside(subject.tokenizer, [tokens])
        without, with_it = _likelihoods(subject, [request.row([]), request.row(tokens)])
        asked.append(subject.put(subject.said(prompt) + text))
        found.append({"of": prompt, "suffix": text, "target": target["harmful_output"], "gain": with_it - without})
    if not asked:
        raise InputError("the model has no room for any prompt with a suffix; lower assess.suffix.length")
    rows = [{**each, **row} for each, row in zip(found, subject.ask(asked), strict=True)]
    gain = bootstrap_mean([each["gain"] for each in found], subject.seed)
    return {"estimates": {"suffix_success": harmful_rate(rows).as_dict(), "suffix_gain": gain.as_dict()}}, rows


def _request(subject: Subject, prompt: str, target: Row) -> Request:
    before, after = around(subject.template)
    tokenizer = subject.tokenizer
    head = encode_prompt(tokenizer, before + subject.said(prompt))
    tail = encode_inside(tokenizer, after)
    _, wanted = encode_pair(tokenizer, prompt, target["harmful_output"], target["complete"])
    return Request(head, tail, list(wanted))


def _fits(subject: Subject, request: Request, length: int) -> bool:
    """Whether the target has room behind the suffix, and an answer as long as any."""
    context, target = request.row([0] * length)
    return len(context) + max(len(target), subject.grader.max_new_tokens) <= positions_of(subject.model)


def _likelihoods(subject: Subject, rows: Sequence[Tokens]) -> list[float]:
    """Nats a token of the targets."""
    found = row_log_likelihoods(subject.model, subject.tokenizer, rows, subject.grader.batch_size)
    return [total / count for total, count in found]


def search(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    request: Request,
    words: Tensor,
    settings: Suffix,
    generator: torch.Generator,
) -> list[int]:
    """The best suffix found within the budget.

    Args:
        words: (A,) tokens that may stand in it.
        generator: of the CPU; draws the first suffix and the candidates.
    """
    picked = torch.randint(len(words), (settings.length,), generator=generator)
    best: list[int] = words.cpu()[picked].tolist()
    ((likelihood, _),) = row_log_likelihoods(model, tokenizer, [request.row(best)], 1)
    for _ in range(settings.steps):
        promising = _promising(model, tokenizer, request, best, words, settings.top)
        candidates = _candidates(best, promising, settings.candidates, generator)
        rows = [request.row(candidate) for candidate in candidates]
        tried = [total for total, _ in row_log_likelihoods(model, tokenizer, rows, len(rows))]
        if max(tried) > likelihood:
            likelihood = max(tried)
            best = candidates[tried.index(likelihood)]
    return best


def _promising(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, request: Request, suffix: Sequence[int], words: Tensor,
    top: int,
) -> Tensor:  # fmt: skip
    """(L, top) tokens by which each token of the suffix is best replaced, to first order."""
    batch = collate([request.row(suffix)], pad_id(tokenizer), side="both").to(model.device)
    table: Tensor = model.get_input_embeddings().weight.detach()  # type: ignore[operator]  # mypy sees a union
    embedded = model.get_input_embeddings()(batch.ids).detach().requires_grad_()  # Gemma's scales what it looks up
    output = model(inputs_embeds=embedded, attention_mask=batch.attention, use_cache=False)
    values, _ = token_log_likelihoods(output.logits, batch)
    (gradient,) = torch.autograd.grad(values.sum(), embedded)
    own = gradient[0, len(request.head) : len(request.head) + len(suffix)]  # (L, D)
    gains = own @ table[words].T  # (L, A): the gradient by a one-hot suffix
    return words[gains.topk(min(top, len(words)), dim=1).indices]


def _candidates(suffix: Sequence[int], promising: Tensor, number: int, generator: torch.Generator) -> list[list[int]]:
    """The suffix with one token replaced, at places and by tokens that are drawn."""
    length, top = promising.shape
    places = torch.randint(length, (number,), generator=generator).tolist()
    choices = torch.randint(top, (number,), generator=generator).tolist()
    found = []
    for place, choice in zip(places, choices, strict=True):
        replaced = list(suffix)
        replaced[place] = int(promising[place, choice])
        found.append(replaced)
    return found


def whole_words(tokenizer: PreTrainedTokenizerBase) -> Tensor:
    """Tokens that are a space and letters, and that such a text gives again.

    Raises:
        InputError: there are none.
    """
    numbers = [number for number in range(len(tokenizer)) if number not in tokenizer.all_special_ids]
    texts = decode_inside(tokenizer, [[number] for number in numbers])
    spelt = [(number, text) for number, text in zip(numbers, texts, strict=True) if re.fullmatch(r" [A-Za-z]+", text)]
    before = anchor(tokenizer)
    again = tokenizer([ANCHOR + text for _, text in spelt], add_special_tokens=False).input_ids if spelt else []
    words = [number for (number, _), ids in zip(spelt, again, strict=True) if ids == [*before, number]]
    if not words:
        raise InputError("no token of this tokenizer is a whole word, of which a suffix could be made")
    return torch.tensor(words)
