"""lm-eval's model class, made faster where the choices of an item share their context."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from copy import deepcopy
from itertools import groupby
from typing import Any

import torch
from lm_eval.models.huggingface import HFLM
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from tqdm import tqdm

Request = tuple[tuple[str, str], list[int], list[int]]  # the two texts, the context's tokens, the continuation's
Continuation = tuple[int, int]  # row of its context in the batch, number of its request


class ContextOnce(HFLM):
    """HFLM, except that a context is run once for all its continuations.

    HFLM runs context and continuation together for every choice, and takes log-probabilities over the whole
    vocabulary at every position. Here the choices go on from the context's keys and values, and only their own
    positions meet the vocabulary. The log-likelihoods are the same.

    Contexts of one length go together, so that there is no padding before a token: no mask is needed, and nothing
    stands at a position beyond the model's last one, where GPT-Neo breaks.
    """

    @torch.inference_mode()
    def _loglikelihood_tokens(
        self, requests: Sequence[Request], disable_tqdm: bool = False, override_bs: int | None = None
    ) -> list[tuple[float, bool]]:
        """Log-likelihood of each continuation (nats), and whether greedy decoding finds it; in the order given."""
        scores = [(0.0, False)] * len(requests)
        with tqdm(total=len(requests), desc="Running loglikelihood requests", disable=disable_tqdm) as progress:
            for contexts, continuations in self._batches(requests):
                ids = torch.tensor(contexts, device=self.device)  # (B, T)
                after = self.model(ids, use_cache=True, logits_to_keep=1)
                for start in range(0, len(continuations), self.batch_size):
                    rows, numbers = zip(*continuations[start : start + self.batch_size], strict=True)
                    found = self._continue(after, rows, [requests[number][2] for number in numbers])
                    for number, score in zip(numbers, found, strict=True):
                        scores[number] = score
                progress.update(len(continuations))
        return scores

    def _batches(self, requests: Sequence[Request]) -> Iterator[tuple[list[tuple[int, ...]], list[Continuation]]]:
        """Contexts of one length, the longest first, each with the continuations that follow it, by their length."""
        following = defaultdict(list)
        for number, (_, context, continuation) in enumerate(requests):
            row = (context + continuation)[-(self.max_length + 1) :]  # too long a row loses its beginning, as in HFLM
            following[tuple(row[: -len(continuation)])].append(number)
        for _, same_length in groupby(sorted(following, key=len, reverse=True), key=len):
            contexts = list(same_length)
            for start in range(0, len(contexts), self.batch_size):
                batch = contexts[start : start + self.batch_size]
                continuations = [(row, number) for row, context in enumerate(batch) for number in following[context]]
                yield batch, sorted(continuations, key=lambda pair: len(requests[pair[1]][2]))

    def _continue(
        self, after: Any, rows: Sequence[int], continuations: Sequence[list[int]]
    ) -> list[tuple[float, bool]]:
        """Score continuations.

        Args:
            after: transformers' output on (B, T) contexts: `logits` (B, 1, V) and `past_key_values`.
            rows: R numbers < B: the context of each continuation.
            continuations: R lists of 1 to K tokens.
        """
        ids = pad_sequence([torch.tensor(tokens) for tokens in continuations], True, -1).to(self.device)  # (R, K)
        real = ids >= 0
        ids = ids.clamp(min=0)
        logits: Tensor = after.logits[list(rows)]  # (R, 1, V): a context's last position speaks of the first token
        if ids.shape[1] > 1:
            cache = deepcopy(after.past_key_values)  # the model writes into it
            cache.batch_select_indices(torch.tensor(rows, device=self.device))
            rest = self.model(ids[:, :-1], past_key_values=cache, use_cache=True).logits  # (R, K-1, V)
            logits = torch.cat([logits, rest], dim=1)
        chosen = logits.log_softmax(dim=2).gather(2, ids[..., None])[..., 0]  # (R, K)
        greedy = (logits.argmax(dim=2) == ids) | ~real
        return list(zip((chosen * real).sum(dim=1).tolist(), greedy.all(dim=1).tolist(), strict=True))
