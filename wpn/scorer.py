"""lm-eval's model class, made faster where the choices of an item share their context."""

import itertools
from collections import defaultdict
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from lm_eval.models.huggingface import HFLM
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from tqdm import tqdm

from wpn.data.batches import Row, collate, positions
from wpn.generate import selectable

Request = tuple[tuple[str, str], list[int], list[int]]  # the two texts, the context's tokens, the continuation's
Context = tuple[int, ...]
Continuation = tuple[int, int]  # row of its context in the batch, number of its request


@dataclass(frozen=True)
class Contexts:
    """A batch of B contexts after their forward pass, padded on the left to T tokens.

    Attributes:
        attention: (B, T) 1 for tokens.
        output: of transformers: `logits` (B, 1, V) and `past_key_values`.
    """

    attention: Tensor
    output: Any


class ContextOnce(HFLM):
    """HFLM, except that a context is run once for all its continuations.

    HFLM runs context and continuation together for every choice, and takes log-probabilities over the whole
    vocabulary at every position. Here the choices go on from the context's keys and values, and only their own
    positions meet the vocabulary. The log-likelihoods are the same. A recurrent model has none of these, and is HFLM's.
    """

    @cached_property
    def _shares(self) -> bool:
        """Whether the model has keys and values that several continuations can go on from."""
        with torch.inference_mode():
            return selectable(self._run([(self.eot_token_id,)]).output) is not None

    @torch.inference_mode()
    def _loglikelihood_tokens(
        self, requests: Sequence[Request], disable_tqdm: bool = False, override_bs: int | None = None
    ) -> list[tuple[float, bool]]:
        """Log-likelihood of each continuation (nats), and whether greedy decoding finds it; in the order given."""
        if not self._shares:
            found: list[tuple[float, bool]] = super()._loglikelihood_tokens(requests, disable_tqdm, override_bs)
            return found
        scores = [(0.0, False)] * len(requests)
        with tqdm(total=len(requests), desc="Running loglikelihood requests", disable=disable_tqdm) as progress:
            for batch, continuations in self._batches(requests):
                contexts = self._run(batch)
                for start in range(0, len(continuations), self.batch_size):
                    rows, numbers = zip(*continuations[start : start + self.batch_size], strict=True)
                    found = self._continue(contexts, rows, [requests[number][2] for number in numbers])
                    for number, score in zip(numbers, found, strict=True):
                        scores[number] = score
                progress.update(len(continuations))
        return scores

    def _batches(self, requests: Sequence[Request]) -> Iterator[tuple[list[Context], list[Continuation]]]:
        """Contexts of about one length, the longest first, each with the continuations that follow it, by length."""
        following = defaultdict(list)
        for number, (_, context, continuation) in enumerate(requests):
            row = (context + continuation)[-(self.max_length + 1) :]  # too long a row loses its beginning, as in HFLM
            following[tuple(row[: -len(continuation)])].append(number)
        longest = {context: max((requests[n][2] for n in numbers), key=len) for context, numbers in following.items()}
        order = sorted(following, key=len, reverse=True)
        run: list[Row] = [(context, longest[context][:-1]) for context in order]  # the last token is never run
        for rows in _side_by_side(run, self.batch_size, self.max_length):
            batch = [tuple(context) for context, _ in rows]
            continuations = [(row, number) for row, context in enumerate(batch) for number in following[context]]
            yield batch, sorted(continuations, key=lambda pair: len(requests[pair[1]][2]))

    def _run(self, batch: Sequence[Context]) -> Contexts:
        rows = collate([(list(context), []) for context in batch], 0, side="left").to(self.device)
        output = self.model(
            rows.ids,
            attention_mask=rows.attention,
            position_ids=positions(rows.attention),
            use_cache=True,
            logits_to_keep=1,
        )
        return Contexts(rows.attention, output)

    def _continue(
        self, contexts: Contexts, rows: Sequence[int], continuations: Sequence[list[int]]
    ) -> list[tuple[float, bool]]:
        """Score continuations.

        Args:
            contexts: B of them.
            rows: R numbers < B: the context of each continuation.
            continuations: R lists of 1 to K tokens.
        """
        ids = pad_sequence([torch.tensor(tokens) for tokens in continuations], True, -1).to(self.device)  # (R, K)
        real = ids >= 0
        ids = ids.clamp(min=0)
        chosen = torch.tensor(rows, device=self.device)
        logits: Tensor = contexts.output.logits[chosen]  # (R, 1, V): a context's last token speaks of the first one
        if ids.shape[1] > 1:
            cache = deepcopy(contexts.output.past_key_values)  # the model writes into it
            cache.batch_select_indices(chosen)
            before = contexts.attention[chosen]  # (R, T)
            attention = torch.cat([before, torch.ones_like(ids[:, :-1])], dim=1)  # (R, T + K-1)
            rest = self.model(
                ids[:, :-1],
                attention_mask=attention,
                position_ids=positions(attention)[:, before.shape[1] :],
                past_key_values=cache,
                use_cache=True,
            ).logits  # (R, K-1, V)
            logits = torch.cat([logits, rest], dim=1)
        values = logits.log_softmax(dim=2).gather(2, ids[..., None])[..., 0]  # (R, K)
        greedy = (logits.argmax(dim=2) == ids) | ~real
        return list(zip((values * real).sum(dim=1).tolist(), greedy.all(dim=1).tolist(), strict=True))


def _side_by_side(rows: Sequence[Row], size: int, most: int) -> Iterator[list[Row]]:
    """Batches of `size` rows, in their order, whose contexts are run first, padded on the left, and go on from there.

    One whose padding would reach past the model's last position is cut up by the length of the contexts, so that it
    reaches no further than the longest row.

    Args:
        most: positions of the model; every row has room in them.
    """
    for start in range(0, len(rows), size):
        batch = list(rows[start : start + size])
        if max(len(context) for context, _ in batch) + max(len(rest) for _, rest in batch) <= most:
            yield batch
        else:
            yield from (list(same_length) for _, same_length in itertools.groupby(batch, key=lambda row: len(row[0])))
