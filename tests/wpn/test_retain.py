"""Benign text: WikiText made readable again, the user's own paragraphs, true answers."""

from pathlib import Path

import pytest

from wpn.data.retain import detokenised, read_retain, read_truthfulqa
from wpn.errors import InputError

SHARED = Path(__file__).parents[2].parent / "shared" / "data"


def shared(name: str) -> Path:
    if not (SHARED / name).is_dir():
        pytest.skip(f"the real data are not here: ../shared/data/{name}")
    return SHARED / name


@pytest.mark.parametrize(
    ("tokens", "text"),
    [
        ("a well @-@ known cow , he said .", "a well-known cow, he said."),
        ("weighs 1 @,@ 000 kg and 1 @.@ 5 m ( 4 @.@ 9 ft ) more", "weighs 1,000 kg and 1.5 m (4.9 ft) more"),
        ('" Yes , " she said ; " no ! "', '"Yes," she said; "no!"'),
        ("the cow 's tail , the dogs ' tails and he didn 't", "the cow's tail, the dogs' tails and he didn't"),
        ("called ' the cow ' by all", "called 'the cow' by all"),
        ("at 21 : 00 , 5 \u2013 6 km , 3 / 4", "at 21:00, 5\u20136 km, 3/4"),
        ("two things : a cow \u2013 and grass", "two things: a cow \u2013 and grass"),
        ("$ 3 or 5 % at 20 ° C", "$3 or 5% at 20°C"),
        ("the list [ 1 ]  and   { 2 }", "the list [1] and {2}"),
        ("plain words stay", "plain words stay"),
    ],
)
def test_wikitext_tokens_become_running_text(tokens, text):
    assert detokenised(tokens) == text
    assert detokenised(text) == text


def sentence(start: str, words: int) -> str:
    return f"{start} " + "word " * (words - 2) + "."


def test_wikitext_keeps_long_paragraphs_without_headings_and_unknown_words(tmp_path):
    lines = [
        " = Cow = ",
        " = = Long heading of many words that is none the less a heading and no paragraph of text at all = = ",
        f" {sentence('First', 20)} ",
        f" {sentence('Short', 19)} ",
        f" {sentence('Known', 60)} {sentence('<unk>', 20)} {sentence('Last', 20)} ",  # 1 of 100 words is unknown
        f" {sentence('<unk>', 20)} {sentence('Other', 29)} ",  # 1 of 49: more than 2 %
        f" {sentence('<unk>', 40)} {sentence('Rest', 19)} ",  # what stays is too short
        f" {sentence('First', 20)} ",
        "",
    ]
    (tmp_path / "valid.txt").write_text("\n".join(lines))
    expected = [sentence("First", 20), sentence("Known", 60) + " " + sentence("Last", 20)]
    assert read_retain(tmp_path, "wikitext") == [text.replace(" .", ".") for text in expected]


def test_wikitext_of_the_hub_is_a_column(tmp_path):
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.table({"text": ["", " = Cow = \n", f" {sentence('Long', 25)} \n", " short \n"]})
    (tmp_path / "wikitext-2-raw-v1").mkdir()
    pyarrow.parquet.write_table(table, tmp_path / "wikitext-2-raw-v1" / "validation.parquet")
    assert read_retain(tmp_path, "wikitext") == [sentence("Long", 25).replace(" .", ".")]


def test_own_text_is_cut_at_blank_lines(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfone\nstill one\r\n \r\ntwo\n\n\n\nthree\n")
    (tmp_path / "b.jsonl").write_text('{"text": " four "}\n{"text": "two"}\n')
    assert read_retain(tmp_path, "text") == ["one\nstill one", "two", "three", "four"]


@pytest.mark.parametrize(
    ("name", "content", "format", "message"),
    [
        ("a.jsonl", b'{"txt": "x"}\n{"text": 3}\n', "text", "row 2: the field 'text' is wrong"),
        ("a.txt", b"caf\xe9", "text", "a.txt is not UTF-8; save it as UTF-8"),
        ("a.txt", b"\n\n", "text", "has no text in the format text; check its files and the format"),
        ("a.txt", b"too short", "wikitext", "has no text in the format wikitext"),
        ("a.md", b"x", "text", "has no file that ends in .txt, .jsonl"),
        ("a.csv", b"Question,Best Answer\nq,a\n", "truthfulqa", "a.csv, row 1: no column 'Correct Answers'; check"),
        (
            "a.txt",
            b"x",
            "pile",
            "unknown format 'pile' of retain text; choose one of wikitext, text, truthfulqa",
        ),
    ],
)
def test_bad_retain_text_is_named(tmp_path, name, content, format, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError) as error:
        read_retain(tmp_path, format)
    assert message in str(error.value)


def test_truthfulqa_lists_the_best_answer_first_and_each_once(tmp_path):
    (tmp_path / "TruthfulQA.csv").write_text(
        'Question,Best Answer,Correct Answers,Incorrect Answers\nWhy?,Because,"So; Because; ",Never\n'
    )
    assert read_truthfulqa(tmp_path) == [("Why?", ["Because", "So"])]
    assert read_retain(tmp_path, "truthfulqa") == ["Q: Why?\nA: Because", "Q: Why?\nA: So"]


def test_the_real_wikitext_reads_like_text():
    texts = read_retain(shared("wikitext2"), "wikitext")
    assert len(texts) == 450
    assert not [text for text in texts if "<unk>" in text or " @" in text or " ," in text or text.startswith("=")]
    assert min(len(text) for text in texts) > 60


def test_the_real_truthfulqa_has_817_questions():
    questions = read_truthfulqa(shared("truthfulqa"))
    assert len(questions) == 817
    assert all(question and answers and all(answers) for question, answers in questions)
