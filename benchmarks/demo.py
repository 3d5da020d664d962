"""Time and memory of the demo after installation: `wpn run` twice in a clean checkout -> results/demo-speed.json."""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from benchmarks.provenance import ROOT, call, clone, provenance
from wpn.config import load_params
from wpn.files import write_json

INTERVAL = 0.25  # seconds between two looks at the memory


def main() -> None:
    """Measure the first and the second run."""
    described = provenance([load_params(ROOT / "params.yaml").seed])
    with tempfile.TemporaryDirectory() as folder:
        checkout = Path(folder) / "wpn"
        clone(checkout)
        call(checkout, "dvc", "cache", "dir", "--local", "--unset")  # its own empty cache: everything is computed
        first = measure(checkout)
        second = measure(checkout)
    write_json(ROOT / "results" / "demo-speed.json", {**described, "first": first, "second": second})


def measure(checkout: Path) -> dict[str, float]:
    """Wall time of `wpn run`, and the largest sum of the resident memory of all its processes (PSS where known)."""
    started, peak = time.perf_counter(), 0
    process = psutil.Popen([sys.executable, "-m", "pipelines.cli", "run"], cwd=checkout)
    while process.poll() is None:
        peak = max(peak, _memory(process))
        time.sleep(INTERVAL)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, "wpn run")
    return {"seconds": round(time.perf_counter() - started, 1), "peak_memory_mb": round(peak / 2**20)}


def _memory(process: psutil.Process) -> int:
    total = 0
    for one in [process, *process.children(recursive=True)]:
        try:
            details = one.memory_full_info()
            total += getattr(details, "pss", details.rss)  # shared pages count once
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return total


if __name__ == "__main__":
    main()
