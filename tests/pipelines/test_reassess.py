"""What counts as drift of a champion, by hand."""

from pathlib import Path
from typing import Any

import pytest

from pipelines.reassess import _drift

ROOT = Path(__file__).parents[2]


def metrics(rate: float, low: float, high: float, data: str = "a") -> dict[str, Any]:
    return {"harmless": {"unseen": {"rate": rate, "low": low, "high": high, "n": 1000}}, "data_sha256": data * 64}


@pytest.mark.parametrize(
    ("fresh", "reasons"),
    [
        (metrics(0.985, 0.975, 0.992), []),  # the intervals meet
        (metrics(0.97, 0.96, 0.98), ["harmless_unseen fell from 0.9950 to 0.9700, beyond both intervals"]),
        (metrics(1.0, 0.998, 1.0), []),  # better is no drift
        (
            metrics(0.995, 0.989, 0.998, data="b"),
            ["the prompts are others than those of the registration, so that a change may be theirs"],
        ),
    ],
)
def test_a_rate_beyond_both_intervals_and_other_prompts_are_drift(fresh: dict[str, Any], reasons: list[str]) -> None:
    assert _drift(ROOT, "opt", {}, metrics(0.995, 0.989, 0.998), fresh) == reasons


def test_a_limit_of_the_gate_that_the_new_numbers_miss_is_drift() -> None:
    (reason,) = _drift(ROOT, "opt", {}, metrics(0.96, 0.95, 0.97), metrics(0.96, 0.95, 0.97))
    assert reason.startswith("lower 95 % bound of harmless_unseen is 0.9500; at least 0.958 is required")


def test_a_limit_on_an_interval_that_is_not_measured_again_is_no_drift(tmp_path: Path) -> None:
    text = (ROOT / "params.yaml").read_text()
    limit = "{metric: benchmark_drop, below: 0.02}"
    assert limit in text
    (tmp_path / "params.yaml").write_text(text.replace(limit, "{metric: benchmark_drop, bound: high, below: 0.02}"))
    accuracy = {"benchmark": {"mean": 0.9, "tasks": {}}}
    fresh = metrics(0.995, 0.989, 0.998) | accuracy
    assert _drift(tmp_path, "opt", accuracy, fresh, fresh) == []
    lost = fresh | {"benchmark": {"mean": 0.8, "tasks": {}}}
    assert _drift(ROOT, "opt", accuracy, fresh, lost)[0].startswith("benchmark_drop is 0.1000; below 0.02 is required")
