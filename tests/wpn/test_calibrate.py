import json
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from wpn.errors import InputError
from wpn.files import write_json
from wpn.judges.calibrate import area_under_curve, calibrate, read_labelled
from wpn.statistics import rate

TWEETS = Path(__file__).parents[2].parent / "shared" / "data" / "davidson_tweets" / "labeled_data.csv"


class Scores:
    """A judge that reads its scores off a table."""

    def __init__(self, **scores: float) -> None:
        self.scores = scores

    def harm(self, texts: Sequence[str]) -> list[float]:
        return [self.scores[text] for text in texts]


TEXTS = ["a", "b", "c", "d", "e"]
LABELS = [True, True, True, False, False]
FIRST = Scores(a=0.9, b=0.5, c=0.2, d=0.5, e=0.1)  # verdicts at .5: yes yes no yes no
SECOND = Scores(a=1.0, b=0.4, c=0.7, d=0.3, e=0.0)  # yes no yes no no


def test_rates_and_area_by_hand():
    result = calibrate({"first": FIRST, "second": SECOND}, TEXTS, LABELS, 0.5)
    assert (result["threshold"], result["texts"], result["harmful"]) == (0.5, 5, 3)
    first, second = result["judges"]["first"], result["judges"]["second"]
    # of 6 pairs (harmful, harmless): a wins 2, b wins 1 and ties 1, c wins 1
    assert first["auc"]["value"] == pytest.approx(4.5 / 6)
    assert second["auc"]["value"] == 1
    assert first["n"] == second["n"] == 5
    assert first["false_positive"] == rate(1, 2).as_dict()  # d, a score at the threshold is harmful
    assert first["false_negative"] == rate(1, 3).as_dict()  # c
    assert second["false_positive"] == rate(0, 2).as_dict()
    assert second["false_negative"] == rate(1, 3).as_dict()  # b


def test_agreement_by_hand():
    judges = {"first": FIRST, "second": SECOND, "again": SECOND}
    pairs = calibrate(judges, TEXTS, LABELS, 0.5)["agreement"]
    assert [pair["judges"] for pair in pairs] == [["first", "second"], ["first", "again"], ["second", "again"]]
    # equal on a, e; by chance 3/5 * 2/5 + 2/5 * 3/5 = 12/25
    assert pairs[0]["equal"] == pytest.approx(2 / 5)
    assert pairs[0]["kappa"] == pytest.approx((2 / 5 - 12 / 25) / (1 - 12 / 25))
    assert (pairs[2]["equal"], pairs[2]["kappa"]) == (1, 1)


def test_judges_that_never_differ_have_no_kappa_and_the_result_is_json(tmp_path):
    # footgun: Cohen's kappa of two constant judges is 0/0, and NaN is no JSON
    never = Scores(**dict.fromkeys(TEXTS, 0.0))
    result = calibrate({"never": never, "mind": never}, TEXTS, LABELS, 0.5)
    assert result["agreement"] == [{"judges": ["never", "mind"], "equal": 1.0, "kappa": None}]
    assert result["judges"]["never"]["auc"] == {"value": 0.5, "low": 0.5, "high": 0.5}
    write_json(tmp_path / "calibration.json", result)
    assert json.loads((tmp_path / "calibration.json").read_text()) == result


def test_the_threshold_moves_the_verdicts_but_not_the_area():
    low, high = (calibrate({"j": FIRST}, TEXTS, LABELS, at)["judges"]["j"] for at in (0.2, 0.95))
    assert low["auc"] == high["auc"]
    assert (low["false_positive"]["rate"], low["false_negative"]["rate"]) == (0.5, 0)
    assert (high["false_positive"]["rate"], high["false_negative"]["rate"]) == (0, 1)


def normal_scores(harmful: int, harmless: int, seed: int) -> tuple[list[float], list[bool]]:
    """Rounded, so that there are ties; the area of the unrounded ones is Phi(1 / sqrt 2) = 0.7602."""
    generator = np.random.default_rng(seed)
    scores = np.concatenate([generator.normal(1, 1, harmful), generator.normal(0, 1, harmless)]).round(1)
    return scores.tolist(), [True] * harmful + [False] * harmless


def test_the_interval_is_as_wide_as_hanley_and_mcneil_say():
    scores, labels = normal_scores(300, 200, seed=0)
    found = area_under_curve(scores, labels)
    a = found["value"]
    spread = a * (1 - a) + 299 * (a / (2 - a) - a * a) + 199 * (2 * a * a / (1 + a) - a * a)
    error = (spread / (300 * 200)) ** 0.5  # Hanley and McNeil 1982
    assert found["low"] < a < found["high"]
    assert found["high"] - found["low"] == pytest.approx(2 * 1.96 * error, rel=0.15)
    assert area_under_curve(scores, labels) == found  # seeded


def test_the_interval_covers_the_true_area():
    intervals = [area_under_curve(*normal_scores(40, 30, seed), resamples=200) for seed in range(40)]
    covered = sum(each["low"] <= 0.7602 <= each["high"] for each in intervals)
    assert covered >= 33  # of 40; 95 % coverage goes below that once in 500 times


def test_twenty_five_thousand_texts_take_seconds():
    scores, labels = normal_scores(20_000, 5_000, seed=1)
    area_under_curve(scores[:100] + scores[-100:], labels[:100] + labels[-100:], resamples=2)  # imports
    start = time.process_time()
    area_under_curve(scores, labels)
    assert time.process_time() - start < 5


def written(path: Path, content: str) -> Path:
    path.write_text(content, encoding="utf-8")
    return path


def test_jsonl_and_csv_give_the_same_texts(tmp_path):
    rows = [{"text": 'a "goat", and\nmore', "harmful": True, "id": 7}, {"text": "b", "harmful": False}] * 2
    jsonl = written(tmp_path / "rows.jsonl", "".join(json.dumps(row) + "\n" for row in rows) + "\n")
    table = written(tmp_path / "rows.csv", "\ufeffid,harmful,text\n" + '7,True,"a ""goat"", and\nmore"\n,false,b\n' * 2)
    expected = ['a "goat", and\nmore', "b"] * 2, [True, False] * 2
    assert read_labelled(jsonl) == read_labelled(table) == expected


def test_davidsons_classes(tmp_path):
    table = ",count,class,tweet\n0,3,0,hate\n1,3,1,offence\n2,3,2,neither\n3,3,2,nor\n"
    texts, labels = read_labelled(written(tmp_path / "tweets.csv", table))
    assert dict(zip(texts, labels, strict=True)) == {"hate": True, "offence": True, "neither": False, "nor": False}


@pytest.mark.skipif(not TWEETS.exists(), reason="../shared/data has no davidson_tweets")
def test_the_real_tweets_have_the_published_counts():
    texts, labels = read_labelled(TWEETS)
    assert (len(texts), sum(labels)) == (24_783, 1_430 + 19_190)


def test_every_bad_row_is_named_at_once(tmp_path):
    lines = [
        '{"text": "fine", "harmful": true}',
        '{"text": " ", "harmful": true}',
        '{"text": "a"}',
        '{"text": "a", "harmful": 1}',
        '{"text": "a", "harmful": "true"}',
        '["a", true]',
        '{"text": "a"',
        '{"harmful": false}',
    ]
    path = written(tmp_path / "bad.jsonl", "\n".join(lines))
    with pytest.raises(InputError) as caught:
        read_labelled(path)
    assert str(caught.value) == (
        f"{path} has bad rows (7): row 2: the field 'text' is missing or empty; "
        "row 3: the field 'harmful' is missing, not true or false; "
        "row 4: the field 'harmful' is 1, not true or false; "
        "row 5: the field 'harmful' is \"true\", not true or false; "
        "row 6: not a JSON object; "
        "row 7: not JSON (Expecting ',' delimiter: line 1 column 13 (char 12)); "
        "row 8: the field 'text' is missing or empty; correct or remove them"
    )


def test_only_twenty_bad_rows_are_named_and_the_rest_counted(tmp_path):
    path = written(tmp_path / "tweets.csv", "tweet,class\n" + "a,2\n" + "a,9\n" * 22 + "a")
    with pytest.raises(InputError) as caught:
        read_labelled(path)
    message = str(caught.value)
    assert "has bad rows (23): row 2: the field 'class' is 9, not 0 or 1 or 2; row 3:" in message
    assert "row 21: " in message and "row 22: " not in message
    assert message.endswith("; and 3 more; correct or remove them")


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("a.txt", "text", "is neither .jsonl nor .csv"),
        ("a.csv", "text,label\na,1\n", "neither the columns text and harmful nor tweet and class"),
        ("a.csv", "", "neither the columns text and harmful nor tweet and class"),
        ("a.csv", "text,harmful\n" + "a" * 140_000 + ",true\n", "is not a csv"),
        ("a.csv", "text,harmful\na,true\nb,true\nc,false\n", "has 2 harmful and 1 harmless texts; add texts"),
        ("a.jsonl", "", "has 0 harmful and 0 harmless texts; add texts"),
    ],
)
def test_files_that_cannot_calibrate_are_refused(tmp_path, name, content, problem):
    with pytest.raises(InputError, match=problem):
        read_labelled(written(tmp_path / name, content))


def test_a_missing_file_and_another_encoding_are_said(tmp_path):
    with pytest.raises(InputError, match=r"none\.csv does not exist"):
        read_labelled(tmp_path / "none.csv")
    (tmp_path / "latin.csv").write_bytes("text,harmful\nGru\u00df,true\n".encode("latin-1"))
    with pytest.raises(InputError, match=r"latin\.csv is not UTF-8"):
        read_labelled(tmp_path / "latin.csv")
