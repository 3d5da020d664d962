"""The unlearning loop, one for all methods."""

import copy
import gc
import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import torch
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from wpn.adapters import add_adapters, merge_adapters
from wpn.checkpoint import Checkpoints
from wpn.config.methods import Icu, Method
from wpn.config.training import Unlearn
from wpn.data.forget import Step, StepSource, tokens
from wpn.early_stop import Split, Watch, held_out
from wpn.encoder import Encoder
from wpn.errors import InputError
from wpn.freeze import train_only_feed_forward
from wpn.generators import generator_states, restore_generators
from wpn.memory import give_back
from wpn.methods import total_loss, unlearning_terms
from wpn.methods.reading import OF_TEXTS, check_responses, rows_read
from wpn.models import out_of_memory, pad_id, uses_bf16
from wpn.objective import Models
from wpn.parallel import ALONE, Processes, bare, whole
from wpn.refinement import Refined, refine
from wpn.relearn import relearned

logger = logging.getLogger(__name__)

CLIP_NORM = 1.0
GIVE_BACK_EVERY = 5  # steps
WITHOUT_GRADIENTS = 8  # times as many rows fit
LESS = "shorten the pairs and texts, lower unlearn.retain_batch_size, or train less (unlearn.weights, unlearn.lora)"

Log = Callable[[dict[str, float]], None]
T = TypeVar("T")


@dataclass(frozen=True)
class Trained:
    """What the loop leaves beside the weights.

    Attributes:
        steps: of the optimiser.
        tokens: of the rows that the method read, each once a step.
        seconds: of the loop, those of a killed run up to the checkpoint included.
        resumed_from: the step of the checkpoint that was taken up; 0 is none.
        stopped: why training ended, where it was not for the settings' last step; empty where it was.
        micro_batches: into which each process cut the last step; more than `unlearn.accumulation` where the memory was
            too small. Such a run is repeated bit by bit only where the memory is short at the same steps.
    """

    steps: int
    tokens: int
    seconds: float
    resumed_from: int
    stopped: str
    micro_batches: int


def unlearn(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    pairs: Sequence[dict[str, Any]],
    texts: Sequence[dict[str, Any]],
    settings: Unlearn,
    method: Method,
    seed: int,
    log: Log,
    checkpoints: Checkpoints | None = None,
    processes: Processes = ALONE,
    encoder: Encoder | None = None,
) -> Trained:
    """Train a model, in place, to answer harmful prompts harmlessly and to stay as it is on benign text.

    The same seed on the same machine with the same number of threads gives the same weights, bit for bit on a CPU,
    whether or not the run was interrupted and taken up again.

    Args:
        model: the harmful model, on its device.
        pairs: prompt, harmful_output, harmless_response, complete.
        texts: text, alarming, complete; benign.
        settings: the loop.
        method: the weights of the loss terms.
        seed: of the order of the data, of dropout and of adapters.
        log: called at every step with the step, the loss, its terms and the learning rate; a run that is taken up
            calls it for the earlier steps first.
        checkpoints: where the run keeps its state; None keeps none.
        processes: that train the model together; all of them call this with the same arguments, and all have the
            weights in the end, which are those of one process but for the last digits.
        encoder: of a method that names one.
    Raises:
        FloatingPointError: the loss or its gradient is not finite; the message names the step, its rows and the last
            checkpoint.
        InputError: a checkpoint is damaged; a step has too few rows for so many processes; pairs or texts are not
            what the method needs (StepSource, check_responses).
    """
    _check_rows(settings, processes)
    check_responses(pairs, method)
    torch.manual_seed(seed)
    frozen = copy.deepcopy(model).eval().requires_grad_(False)
    if settings.weights == "feed_forward":
        train_only_feed_forward(model)
    adapted = add_adapters(model, settings.lora) if settings.lora else model
    if settings.gradient_checkpointing:
        adapted.activation_checkpointing_enable({"use_reentrant": False})
    stop = settings.early_stop
    split = held_out(pairs, texts, stop.share) if stop else Split(range(len(pairs)), range(len(texts)))
    taught, retained = [pairs[i] for i in split.pairs], [texts[i] for i in split.texts]
    source = StepSource(tokenizer, taught, retained, settings, method, seed, encoder)
    models = Models(adapted, frozen, pad_id(tokenizer))
    if processes.count > 1:
        _leave_unreached(models, source, method)
        torch.manual_seed(seed + processes.rank)  # each drops units of its own
        models = replace(models, trained=processes.spread(adapted), frozen=processes.spread(frozen))
    trained = models.trained
    models = replace(models, bf16=uses_bf16(settings.precision, trained))  # a model to be sharded came on the CPU
    looked = [pairs[i] for i in split.looked_pairs], [texts[i] for i in split.looked_texts]
    watch = Watch(models, tokenizer, *looked, settings, stop, method) if stop else None
    run = _Run(models, tokenizer, source, split, settings, method, log, checkpoints, watch, processes, encoder)
    resumed_from = run.resume()
    trained.train()
    stopped = ""
    for number in range(resumed_from + 1, settings.steps + 1):
        run.step(number)
        if stopped := run.over(number):
            logger.warning("stopped after step %d of %d: %s", number, settings.steps, stopped)
            break
        run.save(number)
        if number % GIVE_BACK_EVERY == 0:
            give_back()
    if run.watch:
        run.watch.restore()
    processes.collect(trained, into=adapted)
    if settings.gradient_checkpointing:
        adapted.activation_checkpointing_disable()
    if settings.lora:
        merge_adapters(adapted)
    model.eval().requires_grad_(True)
    return Trained(len(run.rows), run.tokens, run.seconds, resumed_from, stopped, run.micro_batches)


def _check_rows(settings: Unlearn, processes: Processes) -> None:
    """Every process must run the model as often as the others, or they would wait for each other for ever."""
    needed = settings.accumulation * processes.count
    for name in ("batch_size", "retain_batch_size"):
        rows = getattr(settings, name)
        if processes.count > 1 and rows < needed:
            raise InputError(
                f"{name} is {rows}, and {processes.count} processes with {settings.accumulation} micro-batches each "
                f"need {needed} rows a step; raise it, or lower accumulation"
            )


def _leave_unreached(models: Models, source: StepSource, method: Method) -> None:
    """Take the weights on which the loss does not depend (of the layers after RMU's) out of training.

    They have no gradient in any case, and DDP would wait for it.

    Raises:
        InputError: the method foresees relearning, in which an attacker would train those too.
    """
    state = source.state()
    step = source.draw()
    source.restore(state)
    terms = unlearning_terms(models, Step(step.examples[:1], step.retain[:1]), method)
    parameters = [parameter for parameter in models.trained.parameters() if parameter.requires_grad]
    gradients = torch.autograd.grad(total_loss(terms, method), parameters, allow_unused=True)
    if method.relearning_aware and any(gradient is None for gradient in gradients):
        raise InputError(
            f"{method.method} leaves layers as they are, which an attacker that is foreseen would not; take one "
            "process, or set relearning_aware to null"
        )
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.requires_grad_(gradient is not None)


class _Run:
    """What changes from step to step, and what a checkpoint keeps of it."""

    def __init__(
        self,
        models: Models,
        tokenizer: PreTrainedTokenizerBase,
        source: StepSource,
        split: Split,
        settings: Unlearn,
        method: Method,
        log: Log,
        checkpoints: Checkpoints | None,
        watch: Watch | None,
        processes: Processes,
        encoder: Encoder | None,
    ) -> None:
        self.models, self.tokenizer, self.source, self.split = models, tokenizer, source, split
        self.settings, self.method, self.log = settings, method, log
        self.checkpoints, self.watch, self.processes, self.encoder = checkpoints, watch, processes, encoder
        self.model = bare(models.trained)
        self.refinement = method.refinement if isinstance(method, Icu) else None
        self.peak = method.learning_rate or settings.learning_rate
        self.parameters = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.AdamW(
            self.parameters, lr=self.peak, betas=(0.9, 0.98), weight_decay=settings.weight_decay, fused=True
        )
        # into how many parts a step and a look of ICU are cut, and into how many they may be, for the memory
        self.parts = {"step": settings.accumulation, "look": 1}
        self.most = {"step": settings.batch_size, "look": WITHOUT_GRADIENTS * settings.batch_size}
        self.micro_batches = settings.accumulation  # of the last step
        self.rows: list[dict[str, float]] = []
        self.tokens = 0
        self.next_look = source.epoch  # of ICU, an epoch after the last one, however many pairs that left
        self.began = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Of this run and of those whose checkpoints it goes on from."""
        return time.perf_counter() - self.began

    def resume(self) -> int:
        """Take up the newest checkpoint; returns its step, 0 where there is none."""
        state = self.checkpoints.load(self.model, self.optimizer) if self.checkpoints else None
        if state is None:
            return 0
        self.rows, self.tokens = state["rows"], state["tokens"]
        if self.processes.count == 1:  # several have none but the settings'
            self.parts = state["parts"]
        self.began -= state["seconds"]
        self.source.restore(state["source"])
        self.next_look = state["next_look"]
        if self.watch:
            self.watch.load(state["watch"], state["tensors"])
        logger.warning("going on after step %d of %d, from a checkpoint", state["step"], self.settings.steps)
        for row in self.rows:
            self.log(row)
        return int(state["step"])

    def step(self, number: int) -> None:
        """Draw, update, log."""
        rate = self.peak * schedule(number, self.settings.steps, self.settings.warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        aware = self.method.relearning_aware
        step = self.source.draw(foresee=aware is not None and number > aware.begin * self.settings.steps)
        self.tokens += sum(map(tokens, rows_read(step, self.method)))
        found = self._fitting(
            "step", partial(update, self.models, self.optimizer, step, self.method, processes=self.processes)
        )
        self.micro_batches = self.parts["step"]
        if not all(math.isfinite(value) for value in found.values()):
            raise FloatingPointError(self._not_finite(found, number))
        self.rows.append({"step": number, **found, "learning_rate": rate})
        self.log(self.rows[-1])

    def over(self, number: int) -> str:
        """Why training ends here; empty where it goes on, and where it ends for want of further steps."""
        last = number == self.settings.steps
        if self.refinement and number == self.next_look:
            refined = self._fitting("look", self._refined)
            if refined.done:
                self.watch = None  # whatever was better before, what is forgotten now is kept
                bounds = "MA and EL_n are under their bounds"
                return f"all is forgotten: {bounds if refined.active else 'no pair is said any more'}"
            self.source.narrow(refined.active)
            self.next_look = number + self.source.epoch
        if self.watch and (last or number % self.watch.stop.every == 0):
            worse = self._fitting("step", partial(self.watch.worse, number))
            if worse and not last:
                return f"no better since step {self.watch.best_step}"
        return ""

    def _refined(self, parts: int) -> Refined:
        assert self.refinement
        size = WITHOUT_GRADIENTS * self.settings.batch_size // parts
        return refine(self.model, self.tokenizer, self.source.harmful, self.refinement, size, self.encoder)

    def _not_finite(self, row: dict[str, float], number: int) -> str:
        bad = ", ".join(name for name, value in row.items() if not math.isfinite(value))
        last = self.checkpoints.last() if self.checkpoints else None
        return (
            f"{bad} not finite at step {number} (rows {self._rows_read(row)}); the last checkpoint is "
            f"{last or 'none'}; lower the learning rate, or look at these rows"
        )

    def _rows_read(self, row: dict[str, float]) -> str:
        """By the last step, whose terms the row has, as they are numbered in their files."""
        source, pairs = self.source, self.split.pairs
        negatives = (i for each in source.drawn_negatives for i in each)
        taught = _numbers([pairs[i] for i in (*source.drawn_pairs, *source.drawn_answers, *negatives)])
        texts = _numbers([self.split.texts[i] for i in source.drawn_texts] if row.keys() & {*OF_TEXTS} else [])
        attack = _numbers([pairs[i] for batch in source.drawn_attack for i in batch])
        foreseen = f", and of the foreseen attack {attack} of the forget pairs" if source.drawn_attack else ""
        return f"{taught} of the forget pairs, {texts} of the texts{foreseen}"

    def save(self, number: int) -> None:
        """Keep a checkpoint where one is due, and never one of weights that are lost."""
        if not self.checkpoints or number % self.checkpoints.every or number == self.settings.steps:
            return
        if all(bool(weights.isfinite().all()) for weights in self.parameters):
            state = {
                "rows": self.rows,
                "tokens": self.tokens,
                "seconds": self.seconds,
                "source": self.source.state(),
                "next_look": self.next_look,
                "parts": self.parts,
            }
            if self.watch:
                state["watch"] = self.watch.state()
            tensors = self.watch.tensors() if self.watch else None
            self.checkpoints.save(number, self.model, self.optimizer, state, tensors)

    def _fitting(self, what: str, work: Callable[[int], T]) -> T:
        """Do what is told into how many parts to cut a batch, smaller ones from the point on where larger do not fit.

        What is done again begins with the same random state, as if its parts had been small at once.

        Raises:
            MemoryError: even one pair and its part of the texts do not fit, or one of several processes has too little
                memory.
        """
        generators, most = generator_states(), self.most[what]
        while True:
            try:
                return work(self.parts[what])
            except RuntimeError as error:  # torch.OutOfMemoryError is one, and a CPU's allocator raises no other
                if not out_of_memory(error):
                    raise
                needed = str(error).partition("\n")[0]
            if self.processes.count > 1:  # the others are in the middle of a sum, and cannot begin again
                raise MemoryError(f"a micro-batch does not fit into the memory ({needed}); raise unlearn.accumulation")
            if self.parts[what] >= most:
                raise MemoryError(f"one pair at a time does not fit into the memory ({needed}); {LESS}")
            self.parts[what] = min(2 * self.parts[what], most)
            same = "the same result but for the last digits, and with dropout another draw of it"
            logger.warning("out of memory: going on with %d parts a %s, %s", self.parts[what], what, same)
            restore_generators(generators)
            self.optimizer.zero_grad(set_to_none=True)
            gc.collect()
            torch.cuda.empty_cache()


def _numbers(indices: Sequence[int]) -> str:
    return ", ".join(str(index + 1) for index in sorted(set(indices))) or "none"


def update(
    models: Models,
    optimizer: torch.optim.Optimizer,
    step: Step,
    method: Method,
    accumulation: int = 1,
    processes: Processes = ALONE,
) -> dict[str, float]:
    """One optimiser step; accumulating over micro-batches gives the gradient of the whole batch.

    Returns:
        The loss and its terms before the step, and the norm of the gradient before clipping; `foreseen`, the part of
        the loss that speaks of the examples, where the attacker would have the model.
    """
    optimizer.zero_grad(set_to_none=True)
    logged: dict[str, float] = {}
    if (aware := method.relearning_aware) and step.foreseen:
        attack = aware.model_copy(update={"learning_rate": step.foreseen_rate or aware.learning_rate})
        with relearned(models.trained, attack, step.foreseen, models.fill, accumulation, models.bf16):
            there = _accumulate(models, Step(step.examples, []), method, accumulation, processes, aware.weight)
        logged["foreseen"] = there["loss"]
    logged |= _accumulate(models, step, method, accumulation, processes)
    norm = nn.utils.clip_grad_norm_(models.trained.parameters(), CLIP_NORM)
    logged["gradient_norm"] = whole(norm).item()
    if all(math.isfinite(value) for value in logged.values()):
        _apply(optimizer)
    return logged


def _apply(optimizer: torch.optim.Optimizer) -> None:
    """The optimiser's step, or nothing of it: moments that were begun would pass for whole when it is done again."""
    known = set(optimizer.state)
    try:
        optimizer.step()
    except RuntimeError:  # out of memory
        for parameter in set(optimizer.state) - known:
            del optimizer.state[parameter]
        raise


def _accumulate(
    models: Models,
    step: Step,
    method: Method,
    accumulation: int,
    processes: Processes,
    weight: float = 1.0,
) -> dict[str, float]:
    """Add the gradient of the loss, times a weight, to what the parameters have; returns the loss and its terms."""
    logged: dict[str, float] = {}
    parts = list(step.share(processes.rank, processes.count).micro_batches(accumulation))
    for number, part in enumerate(parts, 1):
        with processes.accumulating(models.trained, last=number == len(parts)):
            shared = unlearning_terms(models, part, method).shared(part, step)
            loss = total_loss(shared, method)
            # the processes' gradients are averaged, and it is their sum that is the whole step's
            (processes.count * weight * loss).backward()
        for name, value in {"loss": loss, **shared.forget, **shared.retain}.items():
            logged[name] = logged.get(name, 0.0) + value.item()
    return processes.total(logged)


def schedule(step: int, steps: int, warmup: float) -> float:
    """Linear warm-up over a share of the steps, then a half cosine down to zero after the last step."""
    rising = warmup * steps
    if step <= rising:
        return step / rising
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / (steps + 1 - rising)))
