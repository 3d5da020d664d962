"""What a stage took: time, memory and tokens of its process, from its start on."""

import os
import resource
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from wpn.files import write_json

if TYPE_CHECKING:
    from transformers import PreTrainedModel

FOLDER = Path("build") / "usage"

_tokens = 0  # positions that watched models have computed; a process runs one stage


def watched(model: "PreTrainedModel") -> "PreTrainedModel":
    """The model itself; what it and its copies compute from now on is counted, padding too."""
    model.register_forward_pre_hook(_count, with_kwargs=True)
    return model


def _count(_: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
    global _tokens
    given = named.get("input_ids", arguments[0] if arguments else None)
    embedded = named.get("inputs_embeds")
    if given is not None:
        _tokens += given.numel()
    elif embedded is not None:
        _tokens += embedded.shape[0] * embedded.shape[1]


def usage() -> dict[str, float | int | None]:
    """Of this process so far.

    Returns:
        seconds since it was started, cpu_seconds (of all its threads), peak_memory_mb (resident), gpu_memory_mb (the
        most that tensors held; None without a GPU), tokens that watched models computed.
    """
    return {
        "seconds": round(time.time() - psutil.Process().create_time(), 2),
        "cpu_seconds": round(sum(os.times()[:2]), 2),
        "peak_memory_mb": round(_peak_memory() / 2**20),
        "gpu_memory_mb": _gpu_memory_mb(),
        "tokens": _tokens,
    }


def _peak_memory() -> int:
    """Resident, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage would say what the parent had when it forked, if that was more
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    bytes_a_unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * bytes_a_unit


def _gpu_memory_mb() -> int | None:
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return None
    return round(torch.cuda.max_memory_allocated() / 2**20)


def write_usage(stage: str, names: list[str]) -> None:
    """build/usage/MODEL[/METHOD]/STAGE.json."""
    write_json(FOLDER.joinpath(*names, f"{stage}.json"), usage())
