"""Readers of harmful prompts: hand-made files of every format, and the real ones where they are."""

import csv
import gzip
import json
from collections import Counter
from pathlib import Path

import pytest

from wpn.data.harmful import READERS, HarmfulPrompt, read_harmful
from wpn.errors import InputError

SHARED = Path(__file__).parents[2].parent / "shared" / "data"


def shared(name: str) -> Path:
    if not (SHARED / name).is_dir():
        pytest.skip(f"the real data are not here: ../shared/data/{name}")
    return SHARED / name


def write_rows(file: Path, rows: list[dict]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
    if file.suffix == ".gz":
        file.write_bytes(gzip.compress(lines, mtime=0))
    elif file.suffix == ".json":
        file.write_text(json.dumps(rows))
    elif file.suffix == ".parquet":
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), file)
    else:
        file.write_bytes(lines)
    return file.parent


def fields(record: HarmfulPrompt) -> tuple[str, str | None, str | None, str]:
    return record.prompt, record.harmful_output, record.harmless_response, record.category


def test_lines_have_the_category_of_their_file_and_repeated_prompts_become_one(tmp_path):
    (tmp_path / "rtp_insult.txt").write_bytes("You are\r\n\nHe said\u2028that \n".encode())
    (tmp_path / "rtp_threat.txt").write_text("You are\nI will")
    (tmp_path / "LICENSE").write_text("not a prompt")
    assert [fields(record) for record in read_harmful(tmp_path, "lines")] == [
        ("You are", None, None, "insult"),
        ("He said\u2028that", None, None, "insult"),
        ("I will", None, None, "threat"),
    ]


def test_harmbench_and_do_not_answer(tmp_path):
    (tmp_path / "harmbench_prompts.txt").write_text("Do it")
    assert fields(read_harmful(tmp_path, "harmbench")[0]) == ("Do it", None, None, "harmbench")
    folder = write_rows(tmp_path / "dna" / "human_chatbox.jsonl", [{"prompt": "Who?", "intents": ["S002"]}])
    assert fields(read_harmful(folder, "donotanswer")[0]) == ("Who?", None, None, "human_chatbox")


SAFE = {"insult": False, "violence": False}


@pytest.mark.parametrize("name", ["a/train.jsonl", "train.jsonl.gz", "train.json", "a/0.parquet"])
def test_beavertails_pairs_the_answers_of_a_prompt(tmp_path, name):
    rows = [
        {"prompt": " p ", "response": "safe 1", "category": SAFE, "is_safe": True},
        {"prompt": "p", "response": "bad 1", "category": {**SAFE, "violence": True}, "is_safe": False},
        {"prompt": "p", "response": "bad 2", "category": {**SAFE, "insult": True}, "is_safe": False},
        {"prompt": "q", "response": " ", "category": SAFE, "is_safe": True},
        {"prompt": "  ", "response": "nothing", "category": SAFE, "is_safe": True},
    ]
    write_rows(tmp_path / name, rows)
    assert [fields(record) for record in read_harmful(tmp_path, "beavertails")] == [
        ("p", "bad 1", "safe 1", "violence"),
        ("q", None, None, "unsorted"),
    ]


def saferlhf(prompt: str, safe: tuple[bool, bool], safer: int, **more) -> dict:
    return {"prompt": prompt, "response_0": "zero", "response_1": "one", "safer_response_id": safer,
            "is_response_0_safe": safe[0], "is_response_1_safe": safe[1], **more}  # fmt: skip


def test_pku_saferlhf_takes_the_less_safe_and_the_safer_answer(tmp_path):
    harms = {"response_0_harm_category": {**SAFE, "insult": True}, "response_1_harm_category": SAFE}
    rows = [
        saferlhf("mixed", (False, True), 1, **harms),
        saferlhf("other way", (True, False), 0),
        saferlhf("both unsafe", (False, False), 0),
        saferlhf("both safe", (True, True), 0),
        saferlhf("both safe too", (True, True), 1),
    ]
    records = read_harmful(write_rows(tmp_path / "data" / "train.jsonl", rows), "pku-saferlhf")
    assert [fields(record) for record in records] == [
        ("mixed", "zero", "one", "insult"),
        ("other way", "one", "zero", "unsorted"),
        ("both unsafe", "one", None, "unsorted"),
        ("both safe", None, "zero", "unsorted"),
        ("both safe too", None, "one", "unsorted"),
    ]


def scored(prompt: str, toxicity: float | None, continuation: float | None, **scores: float) -> dict:
    return {
        "filename": "x.txt",
        "prompt": {"text": prompt, "toxicity": toxicity, **scores},
        "continuation": {"text": f" after {prompt}", "toxicity": continuation},
    }


def test_real_toxicity_prompts_keeps_what_is_toxic_on_either_side(tmp_path):
    rows = [
        scored("calm", 0.2, 0.49),
        scored("turns", 0.1, 0.5, insult=0.3, threat=0.4),
        scored("toxic", 0.9, 0.1),
        scored("unscored after", 0.5, None),
        scored("unscored before", None, 0.8),
    ]
    records = read_harmful(write_rows(tmp_path / "prompts.jsonl", rows), "realtoxicityprompts")
    assert [fields(record) for record in records] == [
        ("turns", "after turns", None, "threat"),
        ("toxic", None, "after toxic", "unsorted"),
        ("unscored after", None, None, "unsorted"),
        ("unscored before", "after unscored before", None, "unsorted"),
    ]


def test_hh_rlhf_cuts_before_the_last_answer(tmp_path):
    start = "\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant:"
    rows = [
        {"chosen": f"{start} kind", "rejected": f"{start} unkind"},
        {"chosen": f"{start} kind", "rejected": f"{start} "},
        {"chosen": "\n\nHuman: x\n\nAssistant: kind", "rejected": "\n\nHuman: y\n\nAssistant: unkind"},
        {"chosen": "no turns", "rejected": "no turns"},
    ]
    records = read_harmful(write_rows(tmp_path / "harmless-base" / "test.jsonl.gz", rows), "hh-rlhf")
    assert [fields(record) for record in records] == [(start.strip(), "unkind", "kind", "unsorted")]
    assert records[0].opening == "Human: a"


def write_pyrit(file: Path, rows: list[tuple], columns: str = "human_score_1,human_score_2") -> None:
    with file.open("w", newline="", encoding="utf-8") as target:
        target.write('# dataset_version=1.0, harm_definition="x"\n')
        target.write(f"harm_category,objective,assistant_response,{columns},data_type\n")
        csv.writer(target).writerows([*row, "text"] for row in rows)


def test_pyrit_takes_the_most_and_the_least_harmful_answer_of_an_objective(tmp_path):
    write_pyrit(
        tmp_path / "a.csv",
        [
            ("VIOLENCE", "do it", "worse,\nmuch", "1", "0.5"),  # mean .75
            ("VIOLENCE", "do it", "bad", "0.5", ""),  # mean .5 of one score
            ("VIOLENCE", "do it", "so-so", "0.25", "0.5"),
            ("VIOLENCE", "only safe", "no", "0", "0"),
            ("VIOLENCE", "on the line", "bad enough", "0.25", "0.75"),
        ],
    )
    write_pyrit(tmp_path / "b.csv", [("violence", "do it ", "no", "0")], columns="human_score")
    assert [fields(record) for record in read_harmful(tmp_path, "pyrit")] == [
        ("do it", "worse,\nmuch", "no", "violence"),
        ("only safe", None, "no", "violence"),
        ("on the line", "bad enough", None, "violence"),
    ]


def test_own_records_may_lack_all_but_the_prompt(tmp_path):
    rows = [{"prompt": "p ", "category": "x"}, {"prompt": "q", "harmful_output": " h", "harmless_response": None}]
    assert [fields(record) for record in read_harmful(write_rows(tmp_path / "own.jsonl", rows), "records")] == [
        ("p", None, None, "x"),
        ("q", "h", None, "unsorted"),
    ]


def test_every_bad_row_of_the_own_records_is_reported(tmp_path):
    file, other = tmp_path / "own.jsonl", tmp_path / "own2.jsonl"
    rows = [b'{"prompt": "p"}', b'{"harmful_output": 3}', b'{"prompt": " ", "harmfull_output": "x"}', b"{oops", b"[]",
            b'{"prompt": "caf\xe9"}', b"", b'{"prompt": "p "}', b'{"prompt": "p2", "zzz": 1}']  # fmt: skip
    file.write_bytes(b"\xef\xbb\xbf" + b"\n".join(rows) + b"\n")
    other.write_bytes(b'{"prompt": "p"}\n')
    with pytest.raises(InputError) as error:
        read_harmful(tmp_path, "records")
    lines = str(error.value).split("\n")
    assert lines[0] == "11 problems in the rows; correct each of them:"
    assert lines[1:4] == [
        f"{file}, row 2: the field 'prompt' is missing; add it",
        f"{file}, row 2: the field 'harmful_output' is wrong (input should be a valid string); correct it",
        f"{file}, row 3: the field 'prompt' is empty; fill it or remove the row",
    ]
    assert lines[4] == f"{file}, row 3: unknown field 'harmfull_output'; did you mean 'harmful_output'?"
    assert lines[5].startswith(f"{file}, row 4: not JSON (")
    assert lines[6:] == [
        f"{file}, row 5: not a JSON object; write one object a line",
        f"{file}, row 6: not UTF-8; save the file as UTF-8",
        f"{file}, row 7: the line is empty; remove it",
        f"{file}, row 8: the same as {file}, row 1; remove one of them",
        f"{file}, row 9: unknown field 'zzz'; remove it",
        f"{other}, row 1: the same as {file}, row 1; remove one of them",
    ]


def test_an_own_record_of_one_text_in_both_places_is_refused_with_the_others(tmp_path):
    rows = [
        {"prompt": "a", "harmful_output": "go away", "harmless_response": " go away "},
        {"prompt": "b", "harmful_output": None, "harmless_response": None},
        {"prompt": "", "harmful_output": "go away", "harmless_response": "thank you"},
        {"prompt": "c", "harmful_output": 3, "harmless_response": "thank you"},
    ]
    file = tmp_path / "own.jsonl"
    with pytest.raises(InputError) as error:
        read_harmful(write_rows(file, rows), "records")
    assert str(error.value).split("\n")[1:] == [
        f"{file}, row 1: the field 'harmless_response' is wrong (it is the same text as 'harmful_output'); correct it",
        f"{file}, row 3: the field 'prompt' is empty; fill it or remove the row",
        f"{file}, row 4: the field 'harmful_output' is wrong (input should be a valid string); correct it",
    ]


def test_one_problem_is_one_sentence_and_a_flood_is_cut_at_twenty(tmp_path):
    (tmp_path / "own.jsonl").write_text("{}\n")
    with pytest.raises(InputError) as error:
        read_harmful(tmp_path, "records")
    assert str(error.value) == f"{tmp_path / 'own.jsonl'}, row 1: the field 'prompt' is missing; add it"
    (tmp_path / "own.jsonl").write_text("{}\n" * 23)
    with pytest.raises(InputError) as error:
        read_harmful(tmp_path, "records")
    lines = str(error.value).split("\n")
    assert len(lines) == 22 and lines[20].split(": ")[0].endswith("row 20") and lines[21] == "and 3 more"


@pytest.mark.parametrize(
    ("name", "content", "format", "message"),
    [
        (
            "a.jsonl",
            b'{"prompt": "p"}',
            "beavertails",
            "a.jsonl, row 1: no field 'response' with a str; check the file",
        ),
        ("a.jsonl", b'{"prompt": 1}', "donotanswer", "a.jsonl, row 1: no field 'prompt' with a str"),
        ("a.jsonl", b"\n{oops", "hh-rlhf", "a.jsonl, row 1: not JSON"),
        ("a.jsonl", b"[1", "hh-rlhf", "a.jsonl: not JSON"),
        ("a.jsonl", b"3", "hh-rlhf", "a.jsonl, row 1: not an object with fields"),
        ("a.jsonl.gz", b"plain", "hh-rlhf", "a.jsonl.gz is not a whole gzip file"),
        ("a.jsonl.gz", gzip.compress(b"x" * 99, mtime=0)[:-9], "hh-rlhf", "a.jsonl.gz is not a whole gzip file"),
        ("a.parquet", b"PAR0", "beavertails", "a.parquet is not a parquet file"),
        ("a.csv", b"objective\n\xff", "pyrit", "a.csv is not a csv in UTF-8"),
        ("a.csv", b"objective\nx\n", "pyrit", "a.csv, row 1: no objective, assistant_response, harm_category or"),
        ("a.txt", b"\xff", "lines", "a.txt is not UTF-8; save it as UTF-8"),
        ("a.txt", b"\n \n", "lines", "has no harmful prompt in the format lines; check its files and the format"),
        (
            "a.txt",
            b"x",
            "hh-rlhf",
            "has no file that ends in .jsonl, .jsonl.gz, .json, .csv, .parquet; name such files",
        ),
        ("a.txt", b"x", "oracle", "unknown format 'oracle' of harmful data; choose one of lines, harmbench,"),
        ("a.jsonl", b"", "records", "a.jsonl: no rows; write one JSON object a line"),
    ],
)
def test_a_file_that_is_not_of_its_format_is_named(tmp_path, name, content, format, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError) as error:
        read_harmful(tmp_path, format)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_a_true_or_false_in_words_is_refused(tmp_path):
    """Any text is true in Python: a csv's "False" would turn harmful answers into harmless ones."""
    (tmp_path / "a.csv").write_text("prompt,response,category,is_safe\np,r,{},False\n")
    with pytest.raises(InputError, match="no field 'category' with a dict"):
        read_harmful(tmp_path, "beavertails")
    rows = [{"prompt": "p", "response": "r", "category": {}, "is_safe": "False"}]
    with pytest.raises(InputError, match="no field 'is_safe' with a bool"):
        read_harmful(write_rows(tmp_path / "b" / "a.jsonl", rows), "beavertails")


def test_every_format_is_tested_here():
    assert set(READERS) == {
        "lines", "harmbench", "donotanswer", "pyrit", "pku-saferlhf", "beavertails", "realtoxicityprompts", "hh-rlhf",
        "records",
    }  # fmt: skip


def test_the_real_pyrit_rows():
    folder = shared("pyrit_harm")
    rows = []
    for file in folder.glob("*.csv"):
        rows += csv.DictReader(file.open(encoding="utf-8", newline="").readlines()[1:])
    assert len(rows) == 1005
    records = read_harmful(folder, "pyrit")
    assert {record.prompt for record in records} == {row["objective"].strip() for row in rows}
    assert len(records) == 390
    assert sum(record.harmful_output is not None for record in records) == 271
    assert sum(None not in (record.harmful_output, record.harmless_response) for record in records) == 88
    assert len({record.category for record in records}) == 8


def test_the_real_prompts_of_realtoxicityprompts():
    records = read_harmful(shared("realtoxicityprompts"), "lines")
    assert len(records) == 623  # of 700 lines; the rest stand in a second list
    assert Counter(record.category for record in records)["flirtation"] == 100
    assert len({record.category for record in records}) == 7


def test_the_real_dialogues_of_hh_rlhf():
    records = read_harmful(shared("hh_rlhf_harmless"), "hh-rlhf")
    assert len(records) == 2301  # of 2,312; the rest are blank, unpaired or repeated
    assert all(record.prompt.startswith("Human:") and record.prompt.endswith("\n\nAssistant:") for record in records)
    assert all(record.harmful_output and record.harmless_response for record in records)
