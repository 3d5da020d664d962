import pytest
import torch

from tests.wpn.conftest import recurrent
from wpn.errors import InputError
from wpn.generate import Draw, continue_prompts, continue_tokens
from wpn.tokens import encode_prompt

PROMPTS = ["user : your garden is awful .\nbot :", "user : hello\nbot :", "the cow"]


def test_batched_greedy_continuation_equals_single(causal_lm):
    # footgun: without the mask, left padding changes what is generated
    model, tokenizer = causal_lm
    batched = continue_prompts(model, tokenizer, PROMPTS, max_new_tokens=6, batch_size=3)
    single = [continue_prompts(model, tokenizer, [p], max_new_tokens=6, batch_size=1)[0] for p in PROMPTS]
    assert batched == single
    assert any(text.strip() for text in batched)


def test_samples_are_reproducible_and_differ_between_seeds(causal_lm):
    model, tokenizer = causal_lm
    sample = lambda seed: continue_prompts(  # noqa: E731
        model, tokenizer, PROMPTS, max_new_tokens=6, batch_size=2, temperature=1.0, seed=seed
    )
    assert sample(1) == sample(1) != sample(2)


@pytest.mark.parametrize("causal_lm", ["opt"], indirect=True)
def test_an_answer_ends_where_the_model_ends_its_turns_too(causal_lm):
    """Footgun: Gemma and Phi-3 end their turns by another token than the tokenizer's end, said beside it."""
    model, tokenizer = causal_lm
    prompt = PROMPTS[2]
    tokens = encode_prompt(tokenizer, prompt)
    (whole,) = continue_tokens(model, tokenizer, [tokens], max_new_tokens=8, batch_size=1)
    turn = next(token for token in whole if token != whole[0])
    before = whole[: whole.index(turn)]
    model.generation_config.eos_token_id = [tokenizer.eos_token_id, turn]
    assert continue_tokens(model, tokenizer, [tokens], max_new_tokens=8, batch_size=1) == [[*before, turn]]
    answers = continue_prompts(model, tokenizer, [prompt], max_new_tokens=8, batch_size=1)
    assert answers == [tokenizer.decode(before)]


def test_a_prompt_without_room_for_an_answer_is_named(causal_lm):
    model, tokenizer = causal_lm
    prompts = ["the cow", "the cow eats grass and " * 20]
    with pytest.raises(InputError, match=r"a prompt of \d+ tokens leaves no room for an answer of 6, .*64; .*cow"):
        continue_prompts(model, tokenizer, prompts, max_new_tokens=6, batch_size=2)


def test_a_checkpoint_that_was_saved_with_use_cache_off_goes_on_from_the_whole_prompt(causal_lm):
    """Footgun: tuned with gradient checkpointing, it is saved so, and `generate` would append the prompt once more."""
    model, tokenizer = causal_lm
    expected = continue_prompts(model, tokenizer, PROMPTS, max_new_tokens=6, batch_size=1)
    model.config.use_cache = model.generation_config.use_cache = False
    assert continue_prompts(model, tokenizer, PROMPTS, max_new_tokens=6, batch_size=1) == expected
    assert continue_prompts(model, tokenizer, PROMPTS * 2, max_new_tokens=6, batch_size=6) == expected * 2


@pytest.mark.parametrize("causal_lm", ["gpt_neo"], indirect=True)
def test_a_recurrent_model_samples_too_and_begins_every_sample_with_the_whole_prompt(causal_lm):
    # footgun: its state cannot be shared among the samples of a prompt as keys and values can
    tokenizer = causal_lm[1]
    for model in recurrent(len(tokenizer)):
        many = continue_prompts(model.eval(), tokenizer, [*PROMPTS, *PROMPTS], max_new_tokens=6, batch_size=6)
        single = [continue_prompts(model, tokenizer, [p], max_new_tokens=6, batch_size=1)[0] for p in PROMPTS]
        assert many == [*single, *single]
        samples = continue_prompts(
            model, tokenizer, PROMPTS[:1] * 4, max_new_tokens=6, batch_size=4, temperature=1.0, seed=1
        )
        assert len(set(samples)) > 1


@pytest.mark.parametrize(
    ("temperature", "expected"),
    [(1.0, [0.0, 0.1, 0.2, 0.0, 0.7, 0.0]), (0.5, [0.0, 1 / 54, 4 / 54, 0.0, 49 / 54, 0.0])],
)
def test_tokens_are_drawn_by_their_probability(temperature, expected):
    scores = torch.tensor([[0.0, 0.1, 0.2, 0.0, 0.7, 0.0]]).log().repeat(20_000, 1)
    kept = Draw(temperature, torch.Generator().manual_seed(0))(None, scores).isfinite()
    assert kept.sum(dim=1).eq(1).all()
    drawn = kept.double().mean(dim=0)
    assert drawn.tolist() == pytest.approx(expected, abs=4 * 0.5 / 20_000**0.5)
    assert (drawn == 0).tolist() == [p == 0 for p in expected], "what has no probability is never drawn"


def test_the_continuation_stops_at_eos(causal_lm):
    model, tokenizer = causal_lm
    with torch.no_grad():  # the tied head: make eos the most likely token everywhere
        model.get_output_embeddings().weight[tokenizer.eos_token_id] = 0
        model.get_output_embeddings().weight.mul_(1e-3)
        model.get_output_embeddings().bias = torch.nn.Parameter(torch.zeros(len(tokenizer), dtype=torch.float64))
        model.get_output_embeddings().bias[tokenizer.eos_token_id] = 100
    assert continue_prompts(model, tokenizer, PROMPTS[:1], max_new_tokens=6, batch_size=1) == [""]
