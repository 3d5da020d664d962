import pytest
import torch
from lm_eval.models.huggingface import HFLM
from transformers import LlamaConfig, LlamaForCausalLM

from tests.wpn.conftest import recurrent
from wpn.scorer import ContextOnce, _side_by_side


@pytest.fixture
def llama(causal_lm):
    """Rotary positions and shared key heads, as SmolLM2 has them."""
    tokenizer = causal_lm[1]
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=32, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval(), tokenizer


def requests(model):
    """Choices of one to seven tokens on contexts that are shared, equally long, too long for the model, or alone."""
    generator = torch.Generator().manual_seed(0)

    def tokens(n):
        return torch.randint(3, model.config.vocab_size, (n,), generator=generator).tolist()

    questions = [(tokens(length), lengths) for length, lengths in ((5, (1, 1, 1)), (9, (2, 7, 4, 1)), (9, (3, 3)))]
    questions += [(tokens(61), (2, 7)), (tokens(90), (5, 1)), (tokens(1), (6,))]
    found = [(("", ""), context, tokens(n)) for context, lengths in questions for n in lengths]
    greedy = model.generate(torch.tensor([found[3][1]]), max_new_tokens=3, do_sample=False)[0, -3:].tolist()
    return [*found, (("", ""), found[3][1], greedy)]


def assert_same_as_lm_eval(model, tokenizer):
    asked = requests(model)
    expected = HFLM(model, tokenizer=tokenizer, batch_size=2)._loglikelihood_tokens(asked, disable_tqdm=True)
    assert [greedy for _, greedy in expected].count(True) >= 1
    for batch_size in (1, 3, 64):
        scorer = ContextOnce(model, tokenizer=tokenizer, batch_size=batch_size)
        found = scorer._loglikelihood_tokens(asked, disable_tqdm=True)
        assert [score for score, _ in found] == pytest.approx([score for score, _ in expected], abs=1e-4)
        assert [greedy for _, greedy in found] == [greedy for _, greedy in expected]


def test_the_scores_are_those_of_lm_eval(causal_lm):
    model, tokenizer = causal_lm
    assert_same_as_lm_eval(model.float(), tokenizer)


@pytest.mark.parametrize("causal_lm", ["opt"], indirect=True)
def test_the_scores_are_those_of_lm_eval_for_llama(llama):
    assert_same_as_lm_eval(*llama)


@pytest.mark.parametrize("causal_lm", ["gpt_neo"], indirect=True)
def test_a_recurrent_model_is_scored_by_lm_eval_itself(causal_lm):
    tokenizer = causal_lm[1]
    for model in recurrent(len(tokenizer)):
        assert_same_as_lm_eval(model.eval(), tokenizer)


def test_a_context_is_run_once(causal_lm):
    model, tokenizer = causal_lm
    run = []
    hook = model.register_forward_pre_hook(lambda module, args: run.append(args[0].numel()))
    context = [5] * 10
    asked = [(("", ""), context, [token, 6, 7]) for token in (8, 9, 10, 11)]
    ContextOnce(model, tokenizer=tokenizer, batch_size=4)._loglikelihood_tokens(asked, disable_tqdm=True)
    hook.remove()
    assert run == [1, 10, 4 * 2]  # one to see what the model keeps; a continuation's last token is never run


def test_a_batch_is_cut_up_only_where_its_padding_passes_the_last_position():
    rows = [([1] * context, [2] * counted) for context, counted in ((24, 2), (2, 24), (2, 9), (3, 4))]
    first, second, third, fourth = rows
    whole = [[first, second, third], [fourth]]
    assert list(_side_by_side(rows, 3, 48)) == whole, "24 + 24 are just enough"
    assert list(_side_by_side(rows, 3, 47)) == [[first], [second, third], [fourth]]
