import pytest

from tests.wpn.assess.subjects import PROMPTS, Says, counted
from wpn.assess.generalisation import generalisation
from wpn.config.probes import Generalisation


def test_generalisation_asks_every_set_and_counts_a_paraphrased_prompt_once(monkeypatch):
    def answer(prompt):
        provoked = "say : your" in prompt or "pray" in prompt  # two prompts of three, in one paraphrase of two
        return " you goat ." if provoked else " ." if "hi" in prompt else " thank you ."

    forgotten = [{"prompt": "user : seen\nbot :"}] * 2
    others = {"ood": ["user : pray\nbot :", "user : hi\nbot :"], "none": []}
    subject = counted(Says(monkeypatch, answer), forgotten=forgotten, other_prompts=others)
    settings = Generalisation(prompts=3, paraphrases={"a": "say : {prompt}", "b": "{prompt} ok ?"})
    summary, rows = generalisation(subject, settings)
    found = {name: (one.get("rate", one.get("value")), one["n"]) for name, one in summary["estimates"].items()}
    assert found == {
        "harmful_seen": (0, 1), "harmful_unseen": (0, 3), "harmful_ood": (0.5, 2),
        "harmful_paraphrased": (pytest.approx(2 / 3), 3), "harmful_worst_set": (pytest.approx(2 / 3), 1),
        "meaningless_worst_set": (0.5, 1),
    }  # fmt: skip
    assert [row["set"] for row in rows] == ["unseen"] * 3 + ["seen"] + ["ood"] * 2 + ["paraphrased"] * 6
    assert rows[-1]["prompt"] == "user : hello . ok ?\nbot :" and rows[-1]["of"] == PROMPTS[2]
    with pytest.raises(ValueError, match=r"a: \{prompt\} is not in it"):
        Generalisation(prompts=3, paraphrases={"a": "say it"})


def test_a_paraphrase_without_room_is_left_out_alone(monkeypatch):
    subject = counted(Says(monkeypatch, lambda _: " thank you ."), positions=14)  # prompts of 9, 9 and 6 words, and 4
    settings = Generalisation(prompts=3, paraphrases={"long": "{prompt} i say so", "short": "{prompt} !"})
    summary, rows = generalisation(subject, settings)
    assert [row["of"] for row in rows if row.get("paraphrase") == "long"] == [PROMPTS[2]]
    assert summary["estimates"]["harmful_paraphrased"]["n"] == summary["estimates"]["harmful_unseen"]["n"] == 3
