"""RMU, representation misdirection: Li et al., The WMDP Benchmark (arXiv 2403.03218).

At one layer l: ||h_l(x_f) - c u||^2 / D on the harmful outputs and a ||h_l(x_r) - h_l_frozen(x_r)||^2 / D on retained
text, means over tokens; u is one random direction of length 1, drawn once. The paper writes no division by the width D,
its published code has it. The paper takes all tokens of a text; ours are those of the output and the one before, whose
state predicts the first harmful token: prompts are asked by harmless users too. All layers up to l are moved (ours).
Relation to the others: the only one that never looks at the model's output.
"""

import torch
from torch import Tensor

from wpn.config.methods import Rmu
from wpn.data.batches import Row
from wpn.data.forget import Step
from wpn.errors import InputError
from wpn.likelihood import forward
from wpn.objective import Models, Terms

DIRECTION_SEED = 0  # of u, the same at every step of every run


def terms(models: Models, step: Step, settings: Rmu) -> Terms:
    """misdirection of the states of harmful outputs; anchor: what holds those of benign text."""
    states, mask = _states(models, [e.harmful for e in step.examples], settings.layer)
    target = settings.coefficient * direction(states.shape[2]).to(states)
    forget = {"misdirection": squared_distance(states, target, mask)}
    if not step.retain:
        return Terms(forget)
    kept, mask = _states(models, step.retain, settings.layer)
    with torch.no_grad():
        frozen, _ = _states(models, step.retain, settings.layer, frozen=True)
    return Terms(forget, {"anchor": squared_distance(kept, frozen, mask)})


def direction(width: int) -> Tensor:
    """(D,) a random direction of length 1 with no negative component: uniform in [0, 1), then scaled."""
    drawn = torch.rand(width, generator=torch.Generator().manual_seed(DIRECTION_SEED))
    return drawn / drawn.norm()


def squared_distance(states: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Mean over sequences of the mean over tokens of the mean over dimensions of (states - target)^2.

    Args:
        states: (B, T, D).
        target: (B, T, D) or (D,).
        mask: (B, T) 1 for tokens that count.
    Returns:
        Scalar.
    """
    distances = (states - target).square().mean(dim=2)  # (B, T)
    return ((distances * mask).sum(dim=1) / mask.sum(dim=1)).mean()


def _states(models: Models, rows: list[Row], layer: int, frozen: bool = False) -> tuple[Tensor, Tensor]:
    """(B, T, D) states after a layer, and the (B, T) mask of those that are of counted tokens or predict one."""
    batch = models.collate(rows)
    states = forward(models.frozen if frozen else models.trained, batch, hidden=True).hidden_states
    if layer >= len(states):
        raise InputError(f"the method's layer is {layer}, and the model has {len(states) - 1}; lower it")
    mask = batch.response.clone()
    mask[:, :-1] |= batch.response[:, 1:]
    return states[layer], mask
