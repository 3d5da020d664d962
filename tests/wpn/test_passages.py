"""Passages as pairs, how well they are known, and a whole run of the benchmark on models too small to know anything."""

import pytest
import torch

from benchmarks.passages import METHODS as RUN
from benchmarks.passages import Job, _texts, measured, unlearned
from tests.wpn.conftest import TEXTS
from tests.wpn.loops import loop
from wpn.config.methods import Ga, GradientPenalty, Icu, Refinement
from wpn.errors import InputError
from wpn.likelihood import text_log_likelihoods
from wpn.passages import Asked, as_pairs, known, random_passages
from wpn.perplexity import perplexity_of

STOP = Refinement(n=2, window=3)


def test_passages_are_drawn_from_the_words_and_by_the_seed():
    passages = random_passages(["a", "b", "c"], number=4, length=50, seed=1)
    assert [len(passage.split()) for passage in passages] == [50] * 4
    assert set(" ".join(passages).split()) == {"a", "b", "c"} and len(set(passages)) == 4
    assert (
        passages == random_passages(["a", "b", "c"], 4, 50, seed=1) != random_passages(["a", "b", "c"], 4, 50, seed=2)
    )


def test_the_first_three_tokens_ask_for_the_rest(causal_lm):
    tokenizer = causal_lm[1]
    passage = " you thank the cow"
    ids = tokenizer(passage, add_special_tokens=False).input_ids
    (pair,) = as_pairs(tokenizer, [passage], complete=False)
    assert tokenizer(pair["prompt"], add_special_tokens=False).input_ids == ids[:3]
    assert pair["prompt"] + pair["harmful_output"] == passage
    assert (pair["harmless_response"], pair["complete"]) == ("", False)
    with pytest.raises(InputError, match="passage 2 has no more than 3 tokens"):
        as_pairs(tokenizer, [passage, "xyz"], complete=True)


@pytest.mark.parametrize(
    "passage",
    [
        "/" * 80,
        "</a>\n\t<b>\n\t\t<c/>",
        "\n\n\n  x = 1",
        "0x7f,0x45,0x4c",
        "ééé naïve €€",
        "你好世界",
        "a\u0000b\ufffdc",
    ],
)
def test_passages_without_words_are_cut_too(causal_lm, passage):
    (pair,) = as_pairs(causal_lm[1], [passage], complete=False)
    assert pair["prompt"] and pair["harmful_output"]
    assert pair["prompt"] + pair["harmful_output"] == passage


def test_what_was_learned_by_heart_is_known_and_nothing_else(causal_lm):
    model, tokenizer = causal_lm
    learned, other = "the cow eats grass . thank you", "you eat a goat . the garden is awful"
    before = known(model, tokenizer, [learned], Asked(n=2, batch_size=2))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.02)
    tokens = torch.tensor([tokenizer(learned).input_ids])
    for _ in range(60):
        optimizer.zero_grad()
        model(input_ids=tokens, labels=tokens).loss.backward()
        optimizer.step()
    after = known(model, tokenizer, [learned, other], Asked(n=2, batch_size=2))
    assert before["memorisation_accuracy"][0] < 0.5
    assert after["memorisation_accuracy"][0] == after["extraction_likelihood"][0] == 1.0
    assert after["memorisation_accuracy"][1] < 1.0 and after["extraction_likelihood"][1] < 1.0
    few = known(model, tokenizer, [learned], Asked(n=2, batch_size=2, stride=4))
    assert few["extraction_likelihood"] == [1.0]
    for passages, unseen, area in (([learned], [other], 1.0), ([other], [learned], 0.0)):
        asked = Asked(n=2, batch_size=1)
        job = Job(
            "tiny", model, tokenizer, passages, unseen, [], TEXTS, None, None, complete=True, asked=asked, stop=STOP
        )
        assert measured(job, model, seed=0)["membership_auc"] == area
    short = known(model, tokenizer, [learned + " and more"], Asked(n=2, batch_size=2, longest=tokens.shape[1]))
    assert short["memorisation_accuracy"] == [1.0], "only the first tokens count"


def test_a_run_measures_before_and_after_and_gives_every_method_the_same_steps(causal_lm):
    model, tokenizer = causal_lm
    text = [{"text": text, "alarming": False, "complete": True} for text in TEXTS]
    words = " ".join(TEXTS).split()
    planted, unseen = (random_passages(words, 4, 8, seed) for seed in (0, 1))
    asked = Asked(n=2, batch_size=4)
    job = Job(
        "tiny",
        model,
        tokenizer,
        planted,
        unseen,
        text,
        TEXTS,
        twin=model,
        benchmarks=None,
        complete=True,
        asked=asked,
        stop=STOP,
    )
    rows = {"icu": Icu(method="icu", learning_rate=1e-3), "ga": Ga(method="ga", learning_rate=1e-3)}
    rows["gradient_penalty"] = GradientPenalty(method="gradient_penalty", penalty=1.0, learning_rate=1e-3)
    found = list(unlearned(job, loop(steps=5), rows, 0))
    assert [(row["method"], row["stage"]) for row in found] == [
        (None, "before"), (None, "twin"), (None, "never seen"), *((name, "after") for name in RUN),
    ]  # fmt: skip
    before, twin, never, *after = found
    assert twin["perplexity_ratio"] == 1.0
    assert never["memorisation_accuracy"] == pytest.approx(
        sum(known(model, tokenizer, unseen, asked)["memorisation_accuracy"]) / 4
    )
    assert after[0]["steps"] == after[1]["steps"] == after[2]["steps"] >= 1
    assert before["perplexity"] == pytest.approx(perplexity_of(text_log_likelihoods(model, tokenizer, TEXTS, 4, True)))
    for row in after:
        assert row["perplexity_ratio"] == pytest.approx(row["perplexity"] / before["perplexity"]) != 1.0


def test_texts_of_a_file_and_a_row_without_one(tmp_path):
    file = tmp_path / "passages.csv"
    file.write_text('doc_id,text\n1,"one, two"\n2,three\n')
    assert _texts(file) == ["one, two", "three"]
    file.write_text("doc_id,text\n1,one\n2,\n")
    with pytest.raises(InputError, match=r"passages.csv, row 2: no `text`"):
        _texts(file)
