"""The training curve: what a `log` callback receives, with the time and the machine's load beside it."""

import sys
import time
from collections.abc import Mapping, Sequence

import psutil
from tqdm import tqdm


class Curve:
    """Collects a row a step and, on a terminal only, shows a progress bar."""

    def __init__(self, steps: int, shown: bool = True) -> None:
        self.rows: list[dict[str, float]] = []
        self._process = psutil.Process()
        self._process.cpu_percent()  # the first call starts the measurement
        self._bar = tqdm(total=steps, unit="step", disable=not (shown and sys.stderr.isatty()), leave=False)

    def __call__(self, row: dict[str, float]) -> None:
        """Add a row; `time` is in unix seconds, `memory_mb` resident, `cpu_percent` 100 a busy core."""
        self.rows.append(
            {
                **row,
                "time": time.time(),
                "cpu_percent": self._process.cpu_percent(),
                "memory_mb": self._process.memory_info().rss / 2**20,
            }
        )
        self._bar.update()


def rectangular(rows: Sequence[Mapping[str, float]]) -> list[dict[str, float | None]]:
    """The rows with the same keys: of one that lacks some (`foreseen` begins late) `dvc plots` would draw none."""
    keys = dict.fromkeys(key for row in rows for key in row)
    return [{key: row.get(key) for key in keys} for row in rows]
