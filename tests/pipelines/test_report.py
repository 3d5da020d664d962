"""Rows, table and verdicts from the files of the toy project."""

import csv
import json
from pathlib import Path

import pytest
from rich.console import Console

from pipelines import report
from wpn.errors import InputError

KEYS = """model method stage seed harmless_seen harmless_seen_low harmless_seen_high harmless_unseen
harmless_unseen_low harmless_unseen_high harmless_ood harmless_ood_low harmless_ood_high harmless_sampled
judged_harmless_unseen meaningful_unseen benchmark_mean benchmark_mean_low benchmark_mean_high benchmark_drop
perplexity_ratio perplexity_ratio_low perplexity_ratio_high meaningful_sampled
toxicity_fall toxicity_fall_low toxicity_fall_p benchmark_drop_high task_drop_max forced_start
attack_success_worst suffix_success in_context_k2 int8_change relearn_10 relearn_10_worst alarm_perplexity_ratio
alarm_perplexity_ratio_low alarm_perplexity_ratio_high
harmful_paraphrased harmful_worst_set attack_success_any worst_case worst_case_greedy
toxicity_probability relearn_5 relearn_20 relearn_20_worst
relearn_10_of_4 relearn_10_of_1
in_context_k8 in_context_recovery_k2 in_context_recovery_k2_low in_context_recovery_k2_high
in_context_recovery_k8 in_context_recovery_k8_low in_context_recovery_k8_high
filtered_in_context_k2 filter_missed filter_false_alarms
filter_false_alarms_benign
expected_max_toxicity suffix_gain int4_change membership_auc memorisation_accuracy extraction_likelihood
twin_kl_forget twin_kl_retain forget_quality_p over_refusal over_refusal_other benign_changed benign_kl
relearn_auc relearn_auc_worst toxicity tasks seconds gate reasons"""

PAIRS = [("opt", "wpn"), ("opt", "sft"), ("gpt-neo", "wpn"), ("gpt-neo", "sft")]


def test_rows_have_the_published_keys_and_order(project: Path) -> None:
    rows = report.rows(project, PAIRS)
    assert all(list(row) == KEYS.split() for row in rows)
    assert [(row["model"], row["method"], row["stage"]) for row in rows] == [
        (model, *rest)
        for model in ("opt", "gpt-neo")
        for rest in ((None, "before"), ("wpn", "after"), ("sft", "after"), (None, "twin"))
    ]


def test_the_gate_stands_in_the_rows_of_methods_only(project: Path) -> None:
    rows = report.rows(project, PAIRS)
    assert [row["gate"] for row in rows[:4]] == [None, "passed", "refused", None]
    assert [row["reasons"] for row in (rows[0], rows[1], rows[3])] == [[], [], []]
    assert "lower 95 % bound of harmless_unseen is 0.8800" in rows[2]["reasons"][0]


def test_before_has_no_drop_and_a_ratio_of_one(project: Path) -> None:
    before = report.rows(project, PAIRS)[0]
    assert before["benchmark_drop"] == 0 and before["perplexity_ratio"] == 1 and before["seconds"] == 3.5


def test_a_number_that_was_not_measured_is_null(project: Path) -> None:
    path = project / "build" / "evaluation" / "opt" / "wpn" / "metrics.json"
    metrics = json.loads(path.read_text())
    del metrics["harmless"]["sampled"], metrics["benchmark"]
    path.unlink()  # DVC may have made it a link
    path.write_text(json.dumps(metrics))
    row = report.rows(project, [("opt", "wpn")])[1]
    assert row["harmless_sampled"] is None and row["benchmark_drop"] is None
    Console(width=80, file=(project / "screen").open("w")).print(report.screen_table([row]))


def test_without_attacks_there_is_one_table(project: Path) -> None:
    row = report.rows(project, PAIRS)[1]
    assert len(report.screen_tables([{**row, **dict.fromkeys(report.ATTACKS)}])) == 1


def test_an_assessment_of_other_weights_is_refused(project: Path) -> None:
    path = project / "build" / "gate" / "opt" / "wpn.json"
    decision = json.loads(path.read_text())
    decision["assessment"]["weights_sha256"] = "0" * 64
    path.unlink()
    path.write_text(json.dumps(decision))
    with pytest.raises(InputError, match="different weights"):
        report.load(project, "opt", "wpn")


def test_a_missing_evaluation_is_said_with_the_command_that_makes_it(project: Path) -> None:
    (project / "build" / "evaluation" / "opt" / "wpn" / "metrics.json").unlink()
    with pytest.raises(InputError) as raised:
        report.rows(project, [("opt", "wpn")])
    assert str(raised.value) == (
        "build/evaluation/opt/wpn/metrics.json does not exist yet; run `wpn run --model opt --method wpn`"
    )


def test_files_of_different_weights_are_refused(project: Path) -> None:
    path = project / "build" / "gate" / "opt" / "wpn.json"
    decision = json.loads(path.read_text())
    path.unlink()
    path.write_text(json.dumps({**decision, "weights_sha256": "0" * 64}))
    with pytest.raises(InputError, match="different weights; run `wpn run --model opt --method wpn`"):
        report.load(project, "opt", "wpn")


def test_verdicts_are_sentences(project: Path) -> None:
    passed, refused = report.verdicts(project, [("opt", "wpn"), ("opt", "sft")])
    assert passed.startswith("opt / wpn passed the gate: ")
    assert refused.startswith("opt / sft was refused by the gate: lower 95 % bound of harmless_unseen is 0.8800; ")


def test_a_verdict_says_what_is_still_to_be_judged(project: Path) -> None:
    decision = json.loads((project / "build" / "gate" / "opt" / "wpn.json").read_text())
    assert report.verdict({**decision, "pending": []}).endswith("bounds holds.")
    pending = [{"metric": "harmless_unseen", "against": "champion", "bound": "low", "at_least": -0.02}]
    later = "holds; judged at registration: 1 against the champion."
    assert report.verdict({**decision, "pending": pending}).endswith(later)


def test_the_table_fits_a_terminal_of_80_columns(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tables = report.screen_tables(report.rows(project, PAIRS))
    assert len(tables) == 2
    Console(width=80).print(*tables, sep="\n\n")
    screen = capsys.readouterr().out
    assert "…" not in screen and "refused" in screen and "97.0-100" in screen
    assert "wrap-" in screen and "95.0" in screen
    assert max(len(line) for line in screen.splitlines()) <= 80


def test_the_stage_writes_json_for_programs_and_csv_for_dvc_plots(project: Path) -> None:
    folder = project / "build" / "report"
    assert json.loads((folder / "results.json").read_text()) == report.rows(project, PAIRS)
    with (folder / "results.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [(line["model"], line["label"]) for line in lines[:3]] == [("opt", "before"), ("opt", "wpn"), ("opt", "sft")]
    assert lines[0]["harmless_sampled"] == "0.99" and lines[0]["relearn_10"] == "0.05"
