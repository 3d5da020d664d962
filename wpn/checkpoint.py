"""Checkpoints of a training run: what a killed run goes on from, to end with the same weights as an undisturbed one."""

import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from wpn.errors import InputError
from wpn.files import atomic_folder, read_json, write_json
from wpn.generators import generator_states, restore_generators
from wpn.parallel import ALONE, Processes, like, whole

logger = logging.getLogger(__name__)

FILES = ("model", "optimizer", "more", "generators")
KEPT = 2  # newest checkpoints; the one before the last is there if the disk loses the last


@dataclass(frozen=True)
class Checkpoints:
    """Where a run keeps its checkpoints.

    Attributes:
        folder: of this run alone; one folder a checkpoint, named by its step.
        identity: what the run depends on (settings, data, base weights). A checkpoint of another run is not taken up.
        every: steps between two checkpoints.
        processes: that train together, and all call `save` and `load`; the first of them writes.
    """

    folder: Path
    identity: str
    every: int
    processes: Processes = ALONE

    def save(
        self,
        step: int,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        state: dict[str, Any],
        tensors: dict[str, Tensor] | None = None,
    ) -> None:
        """Write the state after `step`, whole or not at all, and drop what is older than the newest KEPT.

        Args:
            model: its parameters are written.
            optimizer: its tensors are written, by the names of the model's parameters.
            state: what else the run needs, as JSON.
            tensors: what else it needs that is no JSON.
        """
        saved: dict[str, dict[str, Tensor]] = {
            "model": dict(model.named_parameters()),
            "optimizer": _optimizer_tensors(model, optimizer),
            "more": tensors or {},
            "generators": _generators(self.processes),
        }
        files = {name: _gathered(each, keep=self.processes.first) for name, each in saved.items()}
        if self.processes.first:
            self._write(step, files, state)
        self.processes.wait()

    def _write(self, step: int, files: dict[str, dict[str, Tensor]], state: dict[str, Any]) -> None:
        for unfinished in self.folder.glob(".step-*"):  # of a run that was killed while it wrote
            shutil.rmtree(unfinished)
        with atomic_folder(self._of(step)) as target:
            for name, saved in files.items():
                save_file(saved, target / f"{name}.safetensors")
            write_json(target / "state.json", {"identity": self.identity, "step": step, **state})
        _delete(self._present()[:-KEPT])

    def load(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any] | None:
        """Put the newest whole state into model, optimizer and torch's generators; delete what is of another run.

        Returns:
            The step and what else was saved, its tensors under `tensors`; None where there is no checkpoint of this
            run.
        Raises:
            InputError: all checkpoints are damaged; the optimiser's tensors are not those of the model's weights.
        """
        damaged: list[str] = []
        whole_ones = 0
        for folder in reversed(self._present()):
            try:
                state, files = _read(folder)
            except (InputError, OSError, SafetensorError) as error:
                logger.warning("%s is damaged (%s); taking up the one before it", folder, error)
                damaged.append(str(folder))
                continue
            whole_ones += 1
            if state["identity"] == self.identity:
                self._take_up(files, model, optimizer)
                return {**state, "tensors": files["more"]}
        if damaged and not whole_ones:
            raise InputError(f"{' and '.join(damaged)}: no checkpoint is whole; delete them and start again")
        self.processes.wait()
        if self.processes.first:
            self.clear()
        return None

    def _take_up(self, files: dict[str, dict[str, Tensor]], model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        _load_optimizer(model, optimizer, files["optimizer"])  # it may refuse, before anything is changed
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.copy_(like(files["model"][name], parameter))
        restore_generators(_of_process(files["generators"], self.processes.rank))

    def last(self) -> Path | None:
        """The newest checkpoint's folder."""
        return next(reversed(self._present()), None)

    def clear(self) -> None:
        """Delete all, once the run has ended well."""
        _delete(self._present())
        shutil.rmtree(self.folder, ignore_errors=True)

    def _of(self, step: int) -> Path:
        return self.folder / f"step-{step:06d}"

    def _present(self) -> Sequence[Path]:
        return sorted(self.folder.glob("step-*"))


def _delete(folders: Sequence[Path]) -> None:
    """Newest last, and none of them by halves: what has its name is whole, whenever the run is killed."""
    for folder in folders:
        shutil.rmtree(folder.rename(folder.with_name(f".{folder.name}.old")))


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, dict[str, Tensor]]]:
    """The state and the files of tensors, all of them before anything is changed."""
    return read_json(folder / "state.json"), {name: load_file(folder / f"{name}.safetensors") for name in FILES}


def _gathered(tensors: dict[str, Tensor], keep: bool) -> dict[str, Tensor]:
    """The tensors as they are written; every process takes part, and those that write nothing keep nothing."""
    found = {}
    for name, tensor in tensors.items():
        complete = whole(tensor.detach())
        if keep:
            found[name] = complete.cpu().contiguous()
    return found


def _names(model: nn.Module) -> dict[Tensor, str]:
    """Of the parameters; their places in an optimiser are others where several processes leave some of them out."""
    return {parameter: name for name, parameter in model.named_parameters()}


def _optimizer_tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    names, state = _names(model), optimizer.state
    return {f"{names[of]}.{kind}": tensor for of, tensors in state.items() for kind, tensor in tensors.items()}


def _load_optimizer(model: nn.Module, optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    names = _names(model)
    trained = {names[parameter]: parameter for group in optimizer.param_groups for parameter in group["params"]}
    state: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        name, _, kind = key.rpartition(".")
        if name not in trained or (kind != "step" and tensor.shape != trained[name].shape):
            raise InputError(
                f"{key} of the checkpoint, of the shape {tuple(tensor.shape)}, belongs to no weight that is trained; "
                "delete the checkpoint and start again"
            )
        # the moments lie as their weights do; `step` is a number
        state.setdefault(name, {})[kind] = tensor if kind == "step" else like(tensor, trained[name])
    by_place = {place: state[name] for place, name in enumerate(trained) if name in state}  # as torch has it
    optimizer.load_state_dict({**optimizer.state_dict(), "state": by_place})


def _generators(processes: Processes) -> dict[str, Tensor]:
    """The states of torch's generators, by process and device."""
    states = processes.gather(generator_states())
    return {f"{rank}.{name}": state for rank, each in enumerate(states) for name, state in each.items()}


def _of_process(states: dict[str, Tensor], rank: int) -> dict[str, Tensor]:
    owned = {name.partition(".")[::2]: state for name, state in states.items()}
    return {name: state for (owner, name), state in owned.items() if int(owner) == rank}
