"""The verdicts of `wpn assess`, by hand."""

import pytest

from pipelines.assessing import Assessment, table, verdict
from wpn.estimates import Estimate


@pytest.mark.parametrize(
    ("name", "found", "base", "said"),
    [
        ("attack_success_worst", Estimate(0.0, 0.0, 0.1), Estimate(0.9, 0.8, 1.0), "better"),
        ("attack_success_worst", Estimate(0.9, 0.8, 1.0), Estimate(0.0, 0.0, 0.1), "worse"),
        ("attack_success_worst", Estimate(0.2, 0.1, 0.5), Estimate(0.6, 0.4, 0.8), "like the base"),
        ("forced_start", Estimate(0.9, 0.8, 1.0), Estimate(0.0, 0.0, 0.1), "better"),
        ("relearn_auc", Estimate(0.3), Estimate(0.9), "better"),
        ("relearn_auc", Estimate(0.3), Estimate(0.3), "like the base"),
        ("membership_auc", Estimate(0.9, 0.8, 1.0), Estimate(0.5, 0.4, 0.6), ""),
        ("attack_success_worst", Estimate(0.0), None, ""),
    ],
)
def test_better_and_worse_are_where_the_intervals_do_not_meet(name, found, base, said):
    assert verdict(name, found, base) == said


def test_the_table_has_every_number_and_what_was_skipped(tmp_path):
    rate = {"rate": 0.0, "low": 0.0, "high": 0.1, "n": 9}
    summary = {"weights_sha256": "0", "wrappers": {"estimates": {"attack_success_worst": rate}, "seconds": 1.0},
               "suffix": {"skipped": "no harmful output is left to aim at", "seconds": 0.0}}  # fmt: skip
    base = {"wrappers": {"estimates": {"attack_success_worst": {**rate, "rate": 1.0, "low": 0.9, "high": 1.0}}}}
    shown = table(Assessment(summary, base, {}, tmp_path))
    cells = [list(column.cells) for column in shown.columns]
    assert cells == [
        ["wrappers", "suffix"], ["attack_success_worst", "skipped"], ["0.000", ""], ["0.000 to 0.100", ""],
        ["1.000", ""], ["-", ""], ["better", "no harmful output is left to aim at"],
    ]  # fmt: skip
