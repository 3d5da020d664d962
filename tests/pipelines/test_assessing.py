"""The verdicts of `wpn assess`, by hand."""

from pathlib import Path

import pytest

from pipelines.assessing import Assessment, _against, _chosen, _name, _same_questions, _with_kept, table, verdict
from wpn.config.loading import load_params
from wpn.config.probes import PROBES
from wpn.estimates import Estimate
from wpn.files import write_json, write_jsonl

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("name", "found", "base", "said"),
    [
        ("attack_success_worst", Estimate(0.0, 0.0, 0.1), Estimate(0.9, 0.8, 1.0), "better"),
        ("attack_success_worst", Estimate(0.9, 0.8, 1.0), Estimate(0.0, 0.0, 0.1), "worse"),
        ("attack_success_worst", Estimate(0.2, 0.1, 0.5), Estimate(0.6, 0.4, 0.8), "not shown"),
        ("forced_start", Estimate(0.9, 0.8, 1.0), Estimate(0.0, 0.0, 0.1), "better"),
        ("relearn_auc", Estimate(0.3, 0.2, 0.4), Estimate(0.9, 0.8, 1.0), "better"),
        ("in_context_recovery_k2", Estimate(0.3), Estimate(1.0), ""),
        ("relearn_auc", Estimate(0.3, 0.2, 0.4), Estimate(0.9), ""),
        ("membership_auc", Estimate(0.9, 0.8, 1.0), Estimate(0.5, 0.4, 0.6), ""),
        ("benign_kl", Estimate(0.9, 0.8, 1.0), Estimate(0.0, 0.0, 0.0), ""),
        ("over_refusal_other", Estimate(0.9, 0.8, 1.0), Estimate(0.0, 0.0, 0.1), "worse"),
        ("benign_blank", Estimate(0.1, 0.0, 0.2), Estimate(0.0, 0.0, 0.1), "not shown"),
        ("attack_meaningless_worst", Estimate(0.9, 0.8, 1.0), Estimate(0.0, 0.0, 0.1), "worse"),
        ("attack_success_worst", Estimate(0.0), None, ""),
        # the base's is 1 for certain
        ("benign_perplexity_ratio", Estimate(1.2, 1.1, 1.3), Estimate(1.0, 1.0, 1.0), "worse"),
        ("benign_perplexity_ratio", Estimate(1.0, 0.9, 1.1), Estimate(1.0, 1.0, 1.0), "not shown"),
        # a change of what the model itself does
        ("int8_change", Estimate(0.0, 0.0, 0.0), Estimate(-0.1, -0.2, -0.05), ""),
    ],
)
def test_better_and_worse_are_where_the_intervals_do_not_meet(name, found, base, said):
    assert verdict(name, found, base) == said


def test_a_paired_test_decides_where_there_is_one():
    touching, base = Estimate(0.3, 0.1, 0.5), Estimate(0.6, 0.4, 0.8)
    assert verdict("in_context_k2", touching, base, p=0.04) == "better"
    assert verdict("in_context_k2", base, touching, p=0.04) == "worse"
    assert verdict("in_context_k2", Estimate(0.0, 0.0, 0.1), Estimate(0.9, 0.8, 1.0), p=0.06) == "not shown"


def rate(value, low, high):
    return {"rate": value, "low": low, "high": high, "n": 9}


def test_the_table_has_every_number_and_what_was_left_out(tmp_path):
    worst = {"value": 0.0, "low": 0.0, "high": 0.1, "n": 9}
    summary = {
        "weights_sha256": "0", "wrappers": {"estimates": {"attack_success_worst": worst}, "seconds": 1.0},
        "suffix": {"skipped": "no harmful output is left to aim at", "seconds": 0.0},
        "collateral": {"estimates": {}, "left_out": {"benign_kl": "other tokens"}},
    }  # fmt: skip
    base = {"wrappers": {"estimates": {"attack_success_worst": {**worst, "value": 1.0, "low": 0.9, "high": 1.0}}}}
    shown = table(Assessment(summary, base, {}, {}, {}, [], tmp_path))
    assert [list(column.cells) for column in shown.columns] == [
        ["wrappers", "suffix", "collateral"], ["attack_success_worst", "skipped", "benign_kl"], ["0.000", "", ""],
        ["0.000 to 0.100", "", ""], ["1.000", "", ""], ["-", "", ""], ["", "", ""],
        ["better", "no harmful output is left to aim at", "other tokens"],
    ]  # fmt: skip


def test_the_table_corrects_its_tests_for_their_number_and_shows_recovery(tmp_path):
    def shown(k0, k2):
        found = {"in_context_k0": rate(k0, 0.0, 1.0), "in_context_k2": rate(k2, 0.0, 1.0)}
        return {"in_context": {"estimates": found}}

    # of the third there is a test, and no row
    p = {"in_context_k0": 0.02, "in_context_k2": 0.03, "toxicity_probability": 0.001}
    recovery = {"2": {"value": 0.25, "low": 0.1, "high": 0.4, "n": 9}}
    columns = table(Assessment(shown(0.0, 0.2), shown(1.0, 0.8), shown(0.0, 0.0), p, recovery, [], tmp_path)).columns
    rows = list(zip(*(column.cells for column in columns), strict=True))
    between = "0.000 to 1.000"
    assert rows == [
        ("in_context", "in_context_k0", "0.000", between, "1.000", "0.000", "0.040", "better"),
        ("in_context", "in_context_k2", "0.200", between, "0.800", "0.000", "0.040", "better"),
        ("in_context", "in_context_recovery_k2", "0.250", "0.100 to 0.400", "-", "0.000", "", ""),
    ]


def test_a_base_that_was_asked_something_else_is_not_held_against(tmp_path):
    def assessed(harmful, prompts=2, **settings):
        rows = [{"prompt": str(i), "harmful": harmful, "fault": None, "wrapper": "role"} for i in range(2)]
        found = {"attack_success_role": {**rate(float(harmful), 0.0, 1.0)}}
        chosen = {"prompts": prompts, "max_new_tokens": 4, "precision": "fp32", "wrappers": {"few_shot": 1} | settings}
        described = {"data_sha256": "d", "judges_sha256": "j", "seed": 0, "settings": chosen}
        return {**described, "wrappers": {"estimates": found}}, rows

    def against(base, own):
        for folder, (summary, rows) in {"before": base, "own": own}.items():
            (tmp_path / folder / "evidence").mkdir(parents=True, exist_ok=True)
            write_json(tmp_path / folder / "summary.json", summary)
            write_jsonl(tmp_path / folder / "evidence" / "wrappers.jsonl", rows)
        found = _against(tmp_path, own[0], tmp_path / "own")
        return found.p, found.base.keys(), found.incomparable

    own = assessed(False)
    names = {"attack_success_role", "attack_success_any", "attack_meaningless_role"}
    p, base, incomparable = against(assessed(True), own)
    assert (p.keys(), base, incomparable) == (names, {"wrappers"}, [])
    asked = {"data_sha256": "e"}, {"judges_sha256": "k"}, {"seed": 1}
    others = assessed(True, few_shot=2), assessed(True, prompts=3), *(({**own[0], **other}, own[1]) for other in asked)
    for other in (*others, ({"wrappers": {}}, [])):  # the last is of a version that did not say its settings
        assert against(other, own) == ({}, set(), ["wrappers"])


def worst_case_of(few_shot, **found):
    settings = {"wrappers": {"few_shot": few_shot}, "sampling": None, "worst_case": {"attacks": ["wrappers"]}}
    asked = {"data_sha256": "d", "judges_sha256": "j", "seed": 0, "weights_sha256": "w"}
    shared = {"prompts": 2, "max_new_tokens": 4, "precision": "fp32"}
    return {**asked, "settings": settings | shared, "worst_case": {"estimates": {}}} | found


def test_the_worst_case_is_comparable_only_where_its_attacks_are():
    own = worst_case_of(1)
    assert _same_questions(worst_case_of(1), own).keys() == {"worst_case"}
    assert _same_questions(worst_case_of(2), own) == {}
    own["settings"]["worst_case"] = None
    assert _same_questions(worst_case_of(1), own) == {}


def test_the_worst_case_of_attacks_that_were_made_again_is_not_kept(tmp_path):
    write_json(tmp_path / "old" / "summary.json", worst_case_of(1))
    again = worst_case_of(1, wrappers={"estimates": {}})
    other = worst_case_of(1, sampling={"estimates": {}})
    again.pop("worst_case"), other.pop("worst_case")
    assert "worst_case" not in _with_kept(tmp_path / "old", again, tmp_path)
    assert "worst_case" in _with_kept(tmp_path / "old", other, tmp_path)


def test_the_worst_case_is_asked_for_with_its_attacks():
    params = load_params(ROOT / "params.yaml")
    chosen = _chosen(params, "opt", ["worst_case"])
    assert [name for name in PROBES if getattr(chosen, name)] == [
        "forced_start", "wrappers", "suffix", "in_context", "sampling", "worst_case",
    ]  # fmt: skip
    assert [name for name in PROBES if getattr(_chosen(params, "opt", ["wrappers"]), name)] == ["wrappers"]


def test_checkpoints_of_like_names_have_folders_of_their_own():
    assert _name("opt") == "opt"
    assert len({_name(checkpoint) for checkpoint in ("path:a/b", "path:a-b", "path-a-b")}) == 3
