import copy
import math

import pytest
import torch

from wpn.assess.divergence import divergences
from wpn.assess.membership import scores
from wpn.data.batches import collate, encode_pair, encode_text
from wpn.likelihood import (
    forward,
    response_log_likelihoods,
    row_log_likelihoods,
    text_log_likelihoods,
    token_log_likelihoods,
)
from wpn.memorisation import memorisation_accuracy
from wpn.perplexity import MOST_NATS, perplexity_of, perplexity_ratio

PAIRS = [("user : your garden is awful .\nbot :", " thank you ."), ("user : hello\nbot :", " the cow eats grass .")]


def test_padding_on_either_side_changes_nothing(causal_lm):
    model, tokenizer = causal_lm
    rows = [encode_pair(tokenizer, *pair) for pair in PAIRS]
    sums = []
    for side, fill in (("left", 0), ("right", 0), ("right", 7), ("both", 0)):
        batch = collate(rows, fill, side)
        sums.append(token_log_likelihoods(forward(model, batch).logits, batch)[0].sum(1))
    assert torch.allclose(sums[0], sums[1], atol=1e-9)
    assert torch.allclose(sums[1], sums[2], atol=1e-9)
    assert torch.allclose(sums[1], sums[3], atol=1e-9)


def test_logits_are_made_only_where_they_predict_what_counts(causal_lm):
    model, tokenizer = causal_lm
    rows = [encode_pair(tokenizer, *pair) for pair in PAIRS]
    batch = collate(rows, 0, side="both")
    longest = max(len(counted) for _, counted in rows)
    assert forward(model, batch).logits.shape[1] == batch.predicting == longest + 1 < batch.ids.shape[1]
    whole = model(input_ids=batch.ids, attention_mask=batch.attention,
                  position_ids=(batch.attention.cumsum(1) - 1).clamp(min=0)).logits  # fmt: skip
    values, mask = token_log_likelihoods(forward(model, batch).logits, batch)
    all_values, all_mask = token_log_likelihoods(whole, batch)
    assert torch.allclose(values.sum(1), all_values.sum(1)) and mask.sum() == all_mask.sum() == batch.response.sum()


def test_rows_come_back_in_order_whatever_the_batch_size(causal_lm):
    model, tokenizer = causal_lm
    rows = [encode_pair(tokenizer, *pair) for pair in PAIRS * 2]
    one = row_log_likelihoods(model, tokenizer, rows, 1)
    assert [count for _, count in one] == [len(counted) for _, counted in rows]
    assert [total for total, _ in row_log_likelihoods(model, tokenizer, rows, 3)] == pytest.approx([t for t, _ in one])


def measured(model, tokenizer, pairs, size):
    """What the measures say of the pairs, in batches of `size`."""
    prompts, responses = zip(*pairs, strict=True)
    rows = [{"prompt": prompt, "harmful_output": response, "complete": True} for prompt, response in pairs]
    changed = copy.deepcopy(model)
    changed.get_input_embeddings().weight.data *= 2
    return [
        *response_log_likelihoods(model, tokenizer, prompts, responses, size),
        memorisation_accuracy(model, tokenizer, [encode_pair(tokenizer, *pair) for pair in pairs], size),
        divergences((model, tokenizer), changed, prompts, responses, size),
        *scores(model, tokenizer, rows, size, k=0.5),
    ]


def test_rows_that_fit_are_measured_though_padded_to_one_length_they_do_not(causal_lm):
    # footgun: GPT-Neo breaks where padding passes its last position
    model, tokenizer = causal_lm
    long, short = "the cow eats grass . you are a silly goat . " * 3, "hello"
    pairs = [(long, short), (short, long)]
    rows = [encode_pair(tokenizer, *pair) for pair in pairs]
    assert all(len(context) + len(counted) <= 64 for context, counted in rows)
    assert collate(rows, 0, side="both").ids.shape[1] > 64 == model.config.max_position_embeddings
    alone, together = (measured(model, tokenizer, pairs, size) for size in (1, 2))
    for found, expected in zip(together, alone, strict=True):
        assert found == pytest.approx(expected)


def test_likelihood_agrees_with_transformers_own_loss(causal_lm):
    model, tokenizer = causal_lm
    context, counted = encode_text(tokenizer, "the cow eats grass .")
    ids = torch.tensor([context + counted])
    with torch.no_grad():
        loss = model(input_ids=ids, labels=ids).loss.item()
    found = text_log_likelihoods(model, tokenizer, ["the cow eats grass ."], 4)
    assert found == [(pytest.approx(-loss * (len(context + counted) - 1)), len(context + counted) - 1)]
    assert perplexity_of(found) == pytest.approx(math.exp(loss))


def test_the_perplexity_of_a_destroyed_model_is_a_number_and_of_no_tokens_infinite():
    assert perplexity_of([(-5000.0, 2)]) == math.exp(MOST_NATS)
    assert perplexity_of([(0.0, 0)]) == math.inf
    assert perplexity_ratio([-2.0], [-5000.0], [2]).value == pytest.approx(math.exp(MOST_NATS))


def test_the_likelihood_of_a_response_leaves_out_the_prompt(causal_lm):
    model, tokenizer = causal_lm
    prompt, response = encode_pair(tokenizer, *PAIRS[0])
    found = response_log_likelihoods(model, tokenizer, [PAIRS[0][0]], [PAIRS[0][1]], 1)
    assert found == row_log_likelihoods(model, tokenizer, [(prompt, response)], 1)
    assert found[0][1] == len(response)
