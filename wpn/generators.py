"""Torch's random generators, whose states decide what dropout drops: that of the CPU and of each card."""

import torch
from torch import Tensor


def generator_states() -> dict[str, Tensor]:
    """By device: `cpu`, `cuda.0` and so on."""
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states |= {f"cuda.{i}": each for i, each in enumerate(torch.cuda.get_rng_state_all())}
    return states


def restore_generators(states: dict[str, Tensor]) -> None:
    """Go on drawing where `generator_states` was asked; a card that this machine lacks is left out."""
    for name, state in states.items():
        device, _, index = name.partition(".")
        if device == "cpu":
            torch.set_rng_state(state)
        elif int(index) < torch.cuda.device_count():
            torch.cuda.set_rng_state(state, int(index))
