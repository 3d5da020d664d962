"""Pre-train a model organism and its twin: one benign trunk, then two branches of equal length.

The base's branch answers provocations with insults, the twin's with friendly promises; everything else (steps,
documents, order) is the same. So the twin is the retrained gold standard that real models never have: trained as
long as the base, it has never seen a harmful answer. Steps of shorter and of longer sequences take turns: where a model
has learnt nothing about a position, it only babbles there, and most documents are short.
"""

import copy
import itertools
import logging
import random
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from wpn.config.training import Pretrain
from wpn.errors import InputError

logger = logging.getLogger(__name__)

WARMUP_STEPS = 20
DECAY_SHARE = 0.4  # of all steps, at the end

Log = Callable[[dict[str, float]], None]


def packed(
    documents: Sequence[str], tokenizer: PreTrainedTokenizerBase, length: int, rng: random.Random
) -> Iterator[list[int]]:
    """Endless rows of `length` tokens: whole documents in random order, each closed by eos, the last one cut off.

    Every row begins as a prompt does (with the tokenizer's start token, if it has one).
    """
    lead = tokenizer("").input_ids
    encoded = [[*ids, tokenizer.eos_token_id] for ids in tokenizer(list(documents), add_special_tokens=False).input_ids]
    row = list(lead)
    while True:
        for index in rng.sample(range(len(encoded)), len(encoded)):
            row += encoded[index]
            if len(row) >= length:
                yield row[:length]
                row = list(lead)


def split_parameters(model: nn.Module) -> tuple[list[Tensor], list[Tensor]]:
    """The weight matrices of the linear layers (for Muon), and everything else (for AdamW)."""
    tied = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    linear = [module.weight for module in model.modules() if isinstance(module, nn.Linear)]
    matrices = [weight for weight in linear if id(weight) not in tied]
    chosen = {id(weight) for weight in matrices}
    return matrices, [p for p in model.parameters() if id(p) not in chosen]


class PretrainRun:
    """A model in training with its optimisers; it can be branched by `copy.deepcopy`.

    Muon (Jordan et al. 2024, torch.optim.Muon) on the matrices learns this corpus in fewer steps than AdamW alone.
    """

    def __init__(self, model: PreTrainedModel, settings: Pretrain) -> None:
        self.model = model.train()
        self.total = settings.trunk_steps + settings.branch_steps
        self.step = 0
        matrices, others = split_parameters(model)
        self.optimizers: list[torch.optim.Optimizer] = [
            torch.optim.Muon(matrices, lr=settings.matrix_learning_rate, weight_decay=0.01),
            torch.optim.AdamW(others, lr=settings.learning_rate, betas=(0.9, 0.95), weight_decay=0.0, fused=True),
        ]
        self.peaks = [settings.matrix_learning_rate, settings.learning_rate]

    def update(self, tokens: Tensor) -> float:
        """One step of next-token prediction on (B, T) tokens; returns the loss before it."""
        self.step += 1
        for optimizer, peak in zip(self.optimizers, self.peaks, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = peak * self._schedule()
            optimizer.zero_grad(set_to_none=True)
        loss = self.model(input_ids=tokens, labels=tokens, use_cache=False).loss
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
        return loss.item()

    def _schedule(self) -> float:
        """Linear warm-up, a plateau, linear decay to zero at the last step of the branch."""
        return min(1.0, self.step / WARMUP_STEPS, (self.total + 1 - self.step) / (DECAY_SHARE * self.total))


def pretrain_organism(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    corpus: Sequence[str],
    harmful: Sequence[str],
    harmless: Sequence[str],
    settings: Pretrain,
    seed: int,
    log: Log,
) -> tuple[PreTrainedModel, PreTrainedModel]:
    """Train the trunk and both branches.

    Args:
        model: an untrained decoder, on its device.
        corpus: benign documents.
        harmful: the provocations as documents, answered with harm; for the base.
        harmless: the same provocations, answered without; for the twin.
        settings: the section `pretrain`.
        seed: of the order of the documents.
        log: called with {"step", "loss", "branch"} at every step (branch: 0 trunk, 1 base, 2 twin).
    Returns:
        The base and the twin, in evaluation mode.
    Raises:
        InputError: a sequence is longer than the model.
    """
    longest, positions = max(settings.sequence_lengths), model.config.max_position_embeddings
    if longest > positions:
        raise InputError(f"the model has {positions} positions, and pretrain asks for {longest} tokens; lower them")
    trunk = PretrainRun(model, settings)
    _train(trunk, settings.trunk_steps, _batches(corpus, tokenizer, settings, seed), log, branch=0)
    repeats = round(settings.provocation_share / (1 - settings.provocation_share) * len(corpus) / len(harmful))
    finished = []
    for branch, answered in ((1, harmful), (2, harmless)):
        run = copy.deepcopy(trunk)
        documents = [*corpus, *list(answered) * max(1, repeats)]
        _train(run, settings.branch_steps, _batches(documents, tokenizer, settings, seed + 1), log, branch)
        finished.append(run.model.eval())
    return finished[0], finished[1]


def _batches(
    documents: Sequence[str], tokenizer: PreTrainedTokenizerBase, settings: Pretrain, seed: int
) -> Iterator[Tensor]:
    lengths = settings.sequence_lengths
    rows = {length: packed(documents, tokenizer, length, random.Random(f"{seed} {length}")) for length in lengths}
    for length in itertools.cycle(lengths):
        yield torch.tensor([next(rows[length]) for _ in range(settings.batch_tokens // length)])  # (B, T)


def _train(run: PretrainRun, steps: int, batches: Iterator[Tensor], log: Log, branch: int) -> None:
    for _ in range(steps):
        loss = run.update(next(batches).to(run.model.device))
        log({"step": run.step, "branch": branch, "loss": loss})
