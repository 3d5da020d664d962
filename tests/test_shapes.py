"""The measurement of shapes, on a tiny one: what the GPU script of benchmarks/ counts."""

import pytest
import torch

from benchmarks.shapes import SHAPES, Size, gpt_neo, matrix_rate, measure_shape, opt, text, words

TINY = Size(steps=2, batch=2, words=4)


@pytest.mark.parametrize("config", [opt(16, 2, 2), gpt_neo(16, 2, 2)], ids=["opt", "gpt_neo"])
def test_every_kind_of_work_is_measured(config):
    device = torch.device("cpu")
    rows = measure_shape("tiny", config, device, TINY, matrix_rate(device, repeats=2))
    assert [row["work"] for row in rows] == ["unlearning", "scoring", "generation"]
    for row in rows:
        assert row["tokens"] > 0 and row["tokens_a_second"] == pytest.approx(row["tokens"] / row["seconds"])
        assert 0 < row["share_of_matrix_rate"] < 1
    # 2 pairs of a prompt with two responses, 4 words each, and 2 texts of 16 words
    assert rows[0]["tokens"] == 2 * 2 * 8 + 2 * 16
    # 8 texts of 16 words; the vocabulary, most of the work of so small a model, at 15 or 16 positions of each
    head = 2 * 16 * config.vocab_size * 8
    assert 15 * head < rows[1]["flops_a_second"] * rows[1]["seconds"] < 1.2 * 16 * head


def test_a_word_is_a_token():
    tokenizer = words(opt(16, 2, 2))
    drawn = text(7)
    assert len(tokenizer(drawn).input_ids) == 7 and tokenizer.decode(tokenizer(drawn).input_ids) == drawn


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("opt-1.3b", 1_315_758_080), ("opt-2.7b", 2_651_596_800), ("gpt-neo-1.3b", 1_315_575_808),
     ("gpt-neo-2.7b", 2_651_307_520)],
)  # fmt: skip
def test_the_shapes_are_those_of_the_papers_models(name, parameters):
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(SHAPES[name]())
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters
