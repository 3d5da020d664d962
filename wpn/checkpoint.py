"""Checkpoints of a training run: what a killed run goes on from, to end with the same weights as an undisturbed one."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from wpn.errors import InputError
from wpn.files import atomic_folder, read_json, write_json

KEPT = 2  # newest checkpoints; the one before the last is there if the disk loses the last


@dataclass(frozen=True)
class Checkpoints:
    """Where a run keeps its checkpoints.

    Attributes:
        folder: of this run alone; one folder a checkpoint, named by its step.
        identity: what the run depends on (settings, data, base weights). A checkpoint of another run is not taken up.
        every: steps between two checkpoints.
    """

    folder: Path
    identity: str
    every: int

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
            optimizer: its tensors are written.
            state: what else the run needs, as JSON.
            tensors: what else it needs that is no JSON.
        """
        from safetensors.torch import save_file

        for unfinished in self.folder.glob(".step-*"):  # of a run that was killed while it wrote
            shutil.rmtree(unfinished)
        with atomic_folder(self._of(step)) as target:
            save_file(_contiguous(dict(model.named_parameters())), target / "model.safetensors")
            save_file(_contiguous(_optimizer_tensors(optimizer)), target / "optimizer.safetensors")
            save_file(_contiguous(tensors or {}), target / "more.safetensors")
            generators = {"cpu": torch.get_rng_state()}
            if torch.cuda.is_available():
                generators |= {f"cuda.{i}": each for i, each in enumerate(torch.cuda.get_rng_state_all())}
            save_file(generators, target / "generators.safetensors")
            write_json(target / "state.json", {"identity": self.identity, "step": step, **state})
        for old in self._present()[:-KEPT]:
            shutil.rmtree(old)

    def load(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any] | None:
        """Put the newest state into model, optimizer and torch's generators; delete what is of another run.

        Returns:
            The step and what else was saved, its tensors under `tensors`; None where there is no checkpoint of this
            run.
        Raises:
            InputError: a checkpoint is damaged.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        for folder in reversed(self._present()):
            state: dict[str, Any] = read_json(folder / "state.json")
            if state["identity"] != self.identity:
                continue
            try:
                parameters = load_file(folder / "model.safetensors")
                _load_optimizer(optimizer, load_file(folder / "optimizer.safetensors"))
                generators = load_file(folder / "generators.safetensors")
                state["tensors"] = load_file(folder / "more.safetensors")
            except (OSError, SafetensorError) as error:
                raise InputError(f"{folder} is damaged ({error}); delete it and start again") from None
            with torch.no_grad():
                for name, parameter in model.named_parameters():
                    parameter.copy_(parameters[name])
            _seed_generators(generators)
            return state
        self.clear()
        return None

    def last(self) -> Path | None:
        """The newest checkpoint's folder."""
        return next(reversed(self._present()), None)

    def clear(self) -> None:
        """Delete all, once the run has ended well."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _of(self, step: int) -> Path:
        return self.folder / f"step-{step:06d}"

    def _present(self) -> Sequence[Path]:
        return sorted(self.folder.glob("step-*"))


def _contiguous(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().contiguous() for name, tensor in tensors.items()}


def _optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    state: dict[int, dict[str, Tensor]] = optimizer.state_dict()["state"]
    return {f"{index}.{name}": tensor for index, tensors in state.items() for name, tensor in tensors.items()}


def _load_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        index, _, name = key.partition(".")
        state.setdefault(int(index), {})[name] = tensor
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})


def _seed_generators(states: dict[str, Tensor]) -> None:
    torch.set_rng_state(states["cpu"])
    for name, state in states.items():
        device, _, index = name.partition(".")
        if device == "cuda":
            torch.cuda.set_rng_state(state, int(index))
