"""Wall time and memory of a command with all its processes."""

import subprocess
import sys
import time
from pathlib import Path

import psutil

INTERVAL = 2.0  # seconds between two looks at the memory, which cost a tenth of a second each


def measure(folder: Path, module: str, *arguments: str) -> dict[str, float]:
    """Run `python -m module` in a folder.

    Returns:
        `seconds` of wall time, and `peak_memory_mb`: the largest sum over its processes (PSS where the system knows
        it, so that shared pages count once; else resident memory).
    Raises:
        CalledProcessError: it failed.
    """
    started, peak = time.perf_counter(), 0
    process = psutil.Popen([sys.executable, "-m", module, *arguments], cwd=folder)
    try:
        while process.poll() is None:
            peak = max(peak, _memory(process))
            time.sleep(INTERVAL)
    finally:
        if process.poll() is None:
            process.terminate()  # and it ends what it started
            process.wait()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, [module, *arguments])
    return {"seconds": round(time.perf_counter() - started, 1), "peak_memory_mb": round(peak / 2**20)}


def _memory(process: psutil.Process) -> int:
    total = 0
    try:
        for one in [process, *process.children(recursive=True)]:
            try:
                details = one.memory_full_info()
                total += getattr(details, "pss", details.rss)
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
    except psutil.NoSuchProcess:
        return total
    return total
