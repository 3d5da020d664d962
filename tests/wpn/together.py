"""What test_parallel.py runs as several processes, by `accelerate launch`, and alone; the same trajectories."""

import copy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from tests.wpn.loops import drop_units, loop
from tests.wpn.test_train import LOOP, METHODS, PAIRS, TEXTS
from wpn.checkpoint import Checkpoints
from wpn.config.methods import Refinement
from wpn.config.sources import Organism
from wpn.config.training import EarlyStop, Lora, RelearningAware
from wpn.models import new_model, organism_tokenizer
from wpn.parallel import ALONE, Processes, join
from wpn.train import unlearn

# The first steps of these are done by one process, before the others begin, or by several, before one goes on. Of rmu
# several train fewer weights than one, and OPT's last layer norm, which they leave, comes before the layers.
HANDED_OVER: dict[str, tuple[dict[str, Any], Any]] = {
    f"handed over, {name}": ({}, METHODS[name]) for name in ("wpn", "rmu")
}
HANDED_BACK = {name.replace("over", "back"): case for name, case in HANDED_OVER.items()}
AWARE = RelearningAware(optimizer="adamw", learning_rate=1e-3, steps=3, batch_size=2, begin=0.0, weight=1.0)
# The loop's changes and the method of each case.
CASES: dict[str, tuple[dict[str, Any], Any]] = {
    **{name: ({}, method) for name, method in METHODS.items()},
    "accumulated": ({"accumulation": 2}, METHODS["wpn"]),
    "foreseen": ({"accumulation": 2}, METHODS["wpn"].model_copy(update={"relearning_aware": AWARE})),
    "stopped": ({"early_stop": EarlyStop(every=1, patience=1, share=0.25), "learning_rate": 0.1}, METHODS["wpn"]),
    "looked at before the end": (
        {"early_stop": EarlyStop(every=3, patience=1, share=0.25)},
        METHODS["wpn"],
    ),
    # GPT-Neo's best weights are those of the first step, which the checkpoint gives back
    "stopped, resumed": (
        {"early_stop": EarlyStop(every=1, patience=3, share=0.25), "learning_rate": 0.5},
        METHODS["wpn"],
    ),
    "forgotten at the first look": (
        {"early_stop": EarlyStop(every=9, patience=1, share=0.25), "batch_size": 2},
        METHODS["icu"].model_copy(update={"refinement": Refinement(n=2, bleu_below=1.0)}),
    ),
    "adapters": ({"lora": Lora(rank=2, alpha=4)}, METHODS["wpn"]),
    "feed_forward": ({"weights": "feed_forward"}, METHODS["wpn"]),
    "recomputed": ({"gradient_checkpointing": True}, METHODS["wpn"]),
    "resumed": ({}, METHODS["wpn"]),
    **HANDED_OVER,
}
# Several processes drop other units than one does, so these are held against each other.
DROPPED: dict[str, tuple[dict[str, Any], Any]] = {
    "units dropped": ({}, METHODS["wpn"]),
    "units dropped, resumed": ({}, METHODS["wpn"]),
}


class Killed(Exception):
    """What a run is ended by."""


def begin(model: Any, tokenizer: Any, name: str, folder: Path, processes: Processes = ALONE) -> None:
    """Break a case off in its third step."""

    def die(row: dict[str, float]) -> None:
        if row["step"] == 3:
            raise Killed

    try:
        _run(model, tokenizer, name, folder, processes, die)
    except Killed:
        assert sorted(path.name for path in (folder / name).iterdir()) == ["step-000001", "step-000002"]


def _run(
    model: Any,
    tokenizer: Any,
    name: str,
    folder: Path,
    processes: Processes,
    log: Callable[[dict[str, float]], None],
) -> dict[str, Tensor]:
    changes, method = (CASES | HANDED_BACK | DROPPED)[name]
    trained = copy.deepcopy(model)
    if name in DROPPED:
        drop_units(trained)
    checkpoints = Checkpoints(folder / name, "mine", every=1, processes=processes)
    unlearn(trained, tokenizer, PAIRS, TEXTS, loop(**LOOP | changes), method, 0, log, checkpoints, processes)
    return {key: weights.clone() for key, weights in trained.state_dict().items()}


def train(model: Any, tokenizer: Any, name: str, folder: Path, processes: Processes = ALONE) -> dict[str, Tensor]:
    """The weights after a case's steps, and what was logged of them; a checkpoint that is there is taken up."""
    if name.endswith("resumed"):
        begin(model, tokenizer, name, folder, processes)
    rows: list[dict[str, float]] = []
    weights = _run(model, tokenizer, name, folder, processes, rows.append)
    logged = {f"logged.{key}": torch.tensor([row[key] for row in rows], dtype=torch.float64) for key in rows[0]}
    return weights | logged


def main() -> None:
    """Write the weights of every case, as this process has them: FOLDER/CASE.RANK.safetensors."""
    tokenizer_file, architecture, folder = sys.argv[1:]
    torch.set_num_threads(1)
    tokenizer = organism_tokenizer(Path(tokenizer_file), architecture)
    organism = Organism(architecture=architecture, layers=2, width=16, heads=2, positions=64)
    model = new_model(organism, tokenizer, seed=0).double().eval()
    processes = join(torch.device("cpu"))
    for name in CASES | DROPPED:
        weights = train(model, tokenizer, name, Path(folder) / "checkpoints", processes)
        save_file(weights, Path(folder) / f"{name}.{processes.rank}.safetensors")
    for name in HANDED_BACK:
        begin(model, tokenizer, name, Path(folder) / "checkpoints", processes)


if __name__ == "__main__":
    main()
