"""Where a published number comes from: commit, command, seeds, hardware, versions."""

import platform
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pipelines.clone import clone
from wpn.errors import InputError
from wpn.files import read_json

ROOT = Path(__file__).parents[1]
DECIDING = ("wpn", "pipelines", "params.yaml", "dvc.yaml", "constraints.txt")


def provenance(seeds: list[int]) -> dict[str, Any]:
    """What stands beside the rows of every file under results/."""
    return {
        "commit": _git("rev-parse", "HEAD"),
        "command": command(_module(), sys.argv[1:]),
        "seeds": seeds,
        "hardware": hardware(),
        "versions": {name: version(name) for name in ("torch", "transformers", "lm-eval", "prefect", "mlflow", "dvc")},
    }


def command(module: str, arguments: list[str]) -> str:
    """What to type for it; of a folder of this machine only its own name is kept."""
    anywhere = [re.sub(r"(^|:)/(?:[^/]*/)*", r"\1FOLDER/", argument) for argument in arguments]
    return shlex.join(["python", "-m", module, *anywhere])


def begun(results: Path, seeds: list[int]) -> dict[str, Any]:
    """A file of results to go on with: its own rows if the code of today measured them, else none yet.

    `seeds` of it are those that are measured; the others are to come.
    """
    return continued(results) or {
        **provenance(seeds),
        "code": code(),
        "seeds": [],
        "rows": [],
        "runs": [],
    }  # dvc plots takes the first list of objects


def continued(results: Path, **same: Any) -> dict[str, Any]:
    """A file of results that the code of today began, and that says the same under these keys; else nothing."""
    found: dict[str, Any] = read_json(results) if results.exists() else {}
    wanted = {"code": code(), **same}
    return found if all(found.get(key) == value for key, value in wanted.items()) else {}


def code() -> str:
    """A name for everything of the current commit that a result depends on: library, pipelines, settings, pins."""
    return _git("rev-parse", *(f"HEAD:{path}" for path in DECIDING)).replace("\n", " ")


def hardware() -> str:
    """Processor and number of cores."""
    import psutil

    cpuinfo = Path("/proc/cpuinfo")
    names = (
        [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")] if cpuinfo.exists() else []
    )
    name = names[0].split(":", 1)[1].strip() if names else platform.processor() or platform.machine()
    return f"{name}, {psutil.cpu_count()} cores, {psutil.virtual_memory().total / 2**30:.0f} GiB"


@contextmanager
def checkout() -> Iterator[Path]:
    """A clone of the current commit in which everything is computed anew.

    Raises:
        InputError: there are uncommitted changes, but for results, so that no commit would describe what was run.
    """
    if _git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!results"):
        raise InputError("there are uncommitted changes; commit them, so that the table can name its commit")
    # leave by an exception, so that what was started is ended and the clone removed
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    params = (ROOT / "params.yaml").read_text(encoding="utf-8")
    with clone(ROOT, _git("rev-parse", "HEAD"), params, cached=False) as folder:
        yield folder


def run(main: Callable[[], None]) -> None:
    """Call a benchmark; bad input is one sentence and exit code 2, as of `wpn`."""
    try:
        main()
    except InputError as error:
        print(f"{_module()}: {error}", file=sys.stderr)
        sys.exit(2)


def _module() -> str:
    """The benchmark that runs, as `python -m` was told."""
    spec = sys.modules["__main__"].__spec__
    return spec.name if spec else "benchmarks"


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()
