import copy

import pytest
import torch
from tokenizers.processors import TemplateProcessing

from tests.wpn.assess.subjects import PROMPTS
from wpn.assess.divergence import divergences, incomparable
from wpn.data.batches import encode_pair
from wpn.models import positions_of


def test_the_divergence_is_none_from_itself_and_that_of_the_logits_from_another(causal_lm):
    model, tokenizer = causal_lm
    other = copy.deepcopy(model)
    with torch.no_grad():
        for weights in other.parameters():
            weights.mul_(1.2)
    answers = [" thank you .", " you goat ."]
    assert divergences(causal_lm, model, PROMPTS[:2], answers, 2) == pytest.approx([0, 0], abs=1e-9)
    together = divergences(causal_lm, other, PROMPTS[:2], answers, 2)
    alone = divergences(causal_lm, other, PROMPTS[1:2], answers[1:], 1)
    assert together[1] == pytest.approx(alone[0], rel=1e-6), "whatever it is padded with"
    prompt, response = encode_pair(tokenizer, PROMPTS[1], answers[1])
    ids = torch.tensor([[*prompt, *response]])
    with torch.inference_mode():
        p, q = (one(ids).logits[0, len(prompt) - 1 : -1].log_softmax(1) for one in (model, other))
    assert alone[0] == pytest.approx((p.exp() * (p - q)).sum(1).mean().item(), rel=1e-5)


def test_distributions_are_compared_over_the_same_tokens_alone(causal_lm, stranger):
    model, tokenizer = causal_lm
    assert incomparable(causal_lm, (copy.deepcopy(model), copy.deepcopy(tokenizer)), PROMPTS) is None
    assert incomparable(causal_lm, (model, stranger[1]), PROMPTS) == "its tokenizer gives other tokens"
    starting = copy.deepcopy(tokenizer)
    start = (tokenizer.eos_token, tokenizer.eos_token_id)
    starting.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{start[0]} {start[0]} $A", special_tokens=[start]
    )
    assert incomparable(causal_lm, (model, starting), PROMPTS) == "its tokenizer gives other tokens", "one vocabulary"
    padded = copy.deepcopy(model)
    padded.resize_token_embeddings(len(tokenizer) + 8)
    size = len(tokenizer)
    assert incomparable(causal_lm, (padded, tokenizer), PROMPTS) == f"its vocabulary has {size} entries, not {size + 8}"


def test_an_answer_that_ends_where_the_model_does_is_compared_without_its_end(causal_lm):
    model, tokenizer = causal_lm
    word = tokenizer.decode([tokenizer(" goat", add_special_tokens=False).input_ids[0]])
    room = positions_of(model) - len(encode_pair(tokenizer, PROMPTS[0], "")[0])
    answer = word * int(room)
    assert divergences(causal_lm, model, PROMPTS[:1], [answer], 1) == pytest.approx([0.0], abs=1e-9)
