"""A real model's prepared folder: sets of other kinds hold nothing that is trained on."""

from wpn.config.data import RealData
from wpn.config.sources import DataSet, Local
from wpn.data.real import prepare_real
from wpn.files import read_json, read_jsonl

LINES = DataSet(format="lines", path=Local(location="x", sha256="0" * 64))
SETTINGS = {
    "template": "{prompt}", "complete": False, "harmful": "mine", "ood_categories": [], "text": [], "benchmarks": [],
    "dev": 0.2, "test": 0.3, "words": 50,
}  # fmt: skip
VERBS = ("kicked", "sold", "painted", "buried", "fed", "praised", "lost", "carved", "stole", "weighed")


def test_what_resembles_a_training_prompt_is_in_no_other_set(tmp_path):
    mine = [f"{name} {verb} the goat" for name in ("Ann", "The old sailor", "Nobody") for verb in VERBS]
    strange = [f"Question {verb} {i}, and why is that so?" for i, verb in enumerate(VERBS)]
    for name, lines in (("mine", mine), ("strange", [*strange, *mine])):
        (tmp_path / "sources" / name).mkdir(parents=True)
        (tmp_path / "sources" / name / "lines.txt").write_text("\n".join(lines))
    prepare_real(
        tmp_path / "sources", tmp_path / "made", RealData(**SETTINGS, other=["strange"]),
        {"mine": LINES, "strange": LINES}, seed=3,
    )  # fmt: skip
    made = {
        split: [row["prompt"] for row in read_jsonl(tmp_path / "made" / "prompts" / split / "other" / "strange.jsonl")]
        for split in ("dev", "test")
    }
    trained = {row["prompt"] for row in read_jsonl(tmp_path / "made" / "provocations.jsonl")}
    assert trained and trained.isdisjoint(made["dev"] + made["test"])
    assert set(strange) <= set(made["dev"] + made["test"]) and set(made["dev"]).isdisjoint(made["test"])
    assert read_json(tmp_path / "made" / "split.json")["other"]["strange"] == {k: len(v) for k, v in made.items()}
    assert len(made["dev"]) < len(made["test"])
