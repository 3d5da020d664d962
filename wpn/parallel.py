"""Several processes that train one model: who they are, and how the weights lie on them.

`accelerate launch` starts them. Each draws the same data and takes its share of every step (`Step.share`); the gradient
of the step is the sum of theirs. Two ways, which its file chooses: every process has all weights (DDP, torch's
DistributedDataParallel), or each layer's weights lie spread over the processes (FSDP, torch's fully_shard).
"""

import copy
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel


@dataclass(frozen=True)
class Processes:
    """Those that train one model, seen from one of them.

    Attributes:
        count: of them.
        rank: of this one; 0 is the one that writes.
        sharded: the weights lie spread over them.
        accelerator: accelerate's, where there are several.
    """

    count: int = 1
    rank: int = 0
    sharded: bool = False
    accelerator: Any = None

    @property
    def first(self) -> bool:
        """It is this one that writes and speaks."""
        return self.rank == 0

    def home(self, device: torch.device) -> torch.device:
        """Where to load a model that is to be spread: this process's card; outside the cards if it is sharded."""
        if self.sharded:
            return torch.device("cpu")
        return device if self.count == 1 else cast(torch.device, self.accelerator.device)

    def spread(self, model: PreTrainedModel) -> PreTrainedModel:
        """A model as all processes run it together: itself, its DDP wrapper, or a copy whose weights are sharded."""
        if self.sharded:
            return _shard(copy.deepcopy(model))
        if self.count == 1 or not any(parameter.requires_grad for parameter in model.parameters()):
            return model
        return cast(PreTrainedModel, self.accelerator.prepare_model(model, device_placement=False))

    def collect(self, trained: PreTrainedModel, into: PreTrainedModel) -> None:
        """Put the weights of `spread(into)` back; all processes call it, and all have them then."""
        if self.sharded:
            with torch.no_grad():
                for target, parameter in zip(into.parameters(), trained.parameters(), strict=True):
                    target.copy_(whole(parameter))

    @contextmanager
    def accumulating(self, model: nn.Module, last: bool) -> Iterator[None]:
        """Gradients stay with their process but for the last micro-batch, whose backward pass adds up them all."""
        if self.count == 1:
            yield
        elif self.sharded:
            cast(Any, model).set_requires_gradient_sync(last)
            yield
        elif last:
            yield
        else:
            with cast(Any, model).no_sync():
                yield

    def total(self, values: dict[str, float]) -> dict[str, float]:
        """The sum of each value over the processes, which all have the same names."""
        if self.count == 1:
            return values
        summed = self.accelerator.reduce(
            torch.tensor([*values.values()], dtype=torch.float64).to(self.accelerator.device), "sum"
        )
        return dict(zip(values, summed.tolist(), strict=True))

    def gather(self, value: Any) -> list[Any]:
        """What each process gives, in the order of their ranks."""
        if self.count == 1:
            return [value]
        from accelerate.utils import gather_object

        return cast(list[Any], gather_object([value]))

    def wait(self) -> None:
        """For all to come here."""
        if self.count > 1:
            self.accelerator.wait_for_everyone()


ALONE = Processes()


def join(device: torch.device) -> Processes:
    """The processes that `accelerate launch` started, this one among them; ALONE where it did not."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return ALONE
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=device.type == "cpu")
    sharded = os.environ.get("ACCELERATE_USE_FSDP") == "true"
    return Processes(accelerator.num_processes, accelerator.process_index, sharded, accelerator)


def bare(model: PreTrainedModel) -> PreTrainedModel:
    """The model under a DDP wrapper, with its own methods and names of weights; any other is itself."""
    return cast(PreTrainedModel, model.module) if isinstance(model, nn.parallel.DistributedDataParallel) else model


def whole(tensor: Tensor) -> Tensor:
    """A tensor as one; of a sharded one all processes must ask."""
    return cast(Any, tensor).full_tensor() if hasattr(tensor, "full_tensor") else tensor


def like(tensor: Tensor, target: Tensor) -> Tensor:
    """A whole tensor, which every process has, spread as the target is."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    if not isinstance(target, DTensor):
        return tensor
    return distribute_tensor(tensor.to(target.device), target.device_mesh, target.placements)


@contextmanager
def evaluating(model: PreTrainedModel) -> Iterator[None]:
    """In evaluation mode for as long as the block lasts, in which there is no backward pass.

    Without one FSDP leaves the outermost weights whole; they are spread again.
    """
    from torch.distributed.fsdp import FSDPModule

    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)
        if isinstance(model, FSDPModule):
            model.reshard()


def _shard(model: PreTrainedModel) -> PreTrainedModel:
    from torch.distributed.fsdp import fully_shard

    layers = set(model._no_split_modules or [])
    for module in model.modules():
        if type(module).__name__ in layers:
            fully_shard(module)
    fully_shard(model)
    return model
