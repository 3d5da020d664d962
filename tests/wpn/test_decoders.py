"""What measuring and unlearning take for granted of a model, of one of each of transformers' widespread families."""

import copy
import itertools
from pathlib import Path

import pytest
import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerBase

from wpn.config.methods import Wpn
from wpn.data.batches import encode_pair
from wpn.data.forget import Example, Step
from wpn.generate import continue_prompts
from wpn.importing import import_checkpoint
from wpn.likelihood import response_log_likelihoods
from wpn.methods import total_loss, unlearning_terms
from wpn.models import pad_id, save_model
from wpn.objective import Models

PAIRS = [("user : your garden is awful .\nbot :", " thank you ."), ("user : hello\nbot :", " the cow eats grass .")]
WIDTHS = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 128,
}  # fmt: skip
# as GPT-2 calls them, and those after it
SHORT = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128}
EXPERTS = {"num_experts_per_tok": 2, "moe_intermediate_size": 32}
LATENT = {"kv_lora_rank": 16, "q_lora_rank": 16, "num_key_value_heads": 4}
STATES = {"mamba_d_state": 4, "attn_layer_period": 2, "attn_layer_offset": 1, "use_mamba_kernels": False}
FAMILIES = {
    "llama": WIDTHS,
    "mistral": {**WIDTHS, "sliding_window": 8},
    "qwen2": WIDTHS,
    "qwen3": {**WIDTHS, "head_dim": 8},
    "gemma": {**WIDTHS, "head_dim": 8},
    "gemma2": {**WIDTHS, "head_dim": 8, "sliding_window": 8},
    "gemma3_text": {**WIDTHS, "head_dim": 8, "sliding_window": 8},
    "phi": WIDTHS,
    "phi3": WIDTHS,
    "stablelm": WIDTHS,
    "starcoder2": WIDTHS,
    "olmo2": WIDTHS,
    "granite": WIDTHS,
    "cohere": WIDTHS,
    "smollm3": WIDTHS,
    "gpt2": SHORT,
    "gptj": {**SHORT, "rotary_dim": 4},
    "codegen": {**SHORT, "rotary_dim": 4},
    "gpt_neox": WIDTHS,
    "bloom": {"hidden_size": 32, "n_layer": 2, "n_head": 4},
    "falcon": WIDTHS,
    "mpt": {"d_model": 32, "n_heads": 4, "n_layers": 2},
    "biogpt": WIDTHS,
    "xglm": {"d_model": 32, "ffn_dim": 64, "num_layers": 2, "attention_heads": 4, "max_position_embeddings": 128},
    "mixtral": {**WIDTHS, "num_local_experts": 4, "num_experts_per_tok": 2},
    "qwen3_moe": {**WIDTHS, **EXPERTS, "head_dim": 8, "num_experts": 4},
    "deepseek_v3": {**WIDTHS, **EXPERTS, **LATENT, "n_routed_experts": 4, "n_group": 1, "topk_group": 1},
    "mamba": {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 4},
    "jamba": {**WIDTHS, **STATES, "num_experts": 1, "num_experts_per_tok": 1},
}


@pytest.fixture(params=FAMILIES)
def decoder(request, tmp_path: Path, causal_lm) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """As it is imported from a checkpoint: in fp32."""
    tokenizer = causal_lm[1]
    torch.manual_seed(0)
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": None}
    config = CONFIG_MAPPING[request.param](**{"vocab_size": len(tokenizer), **ends, **FAMILIES[request.param]})
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))  # many begin as all but uniform
    save_model(tmp_path, model, tokenizer)
    return import_checkpoint(tmp_path)


@pytest.mark.parametrize("causal_lm", ["gpt_neo"], indirect=True)
def test_a_decoder_is_measured_and_unlearns_in_batches_as_by_itself(decoder):
    model, tokenizer = decoder
    prompts, responses = zip(*PAIRS, strict=True)
    alone, together = (response_log_likelihoods(model, tokenizer, prompts, responses, size) for size in (1, 2))
    for (found, counted), (expected, all_of_it) in zip(together, alone, strict=True):
        assert found == pytest.approx(expected, rel=1e-4) and counted == all_of_it
    answers = [continue_prompts(model, tokenizer, prompts, max_new_tokens=6, batch_size=size) for size in (1, 2)]
    assert answers[0] == answers[1]
    again = continue_prompts(model, tokenizer, prompts * 2, max_new_tokens=6, batch_size=4)
    assert again == answers[0] * 2, "what a prompt's answers share is run once"
    first, *_, last = losses(model, tokenizer)
    assert last < first


def losses(model, tokenizer):
    """Of five steps of `wpn`."""
    rows = [encode_pair(tokenizer, *pair) for pair in PAIRS]
    (one, harmless), (other, harmful) = rows
    step = Step([Example((one, harmless), [(one, harmful)]), Example((other, harmless), [(other, harmful)])], rows)
    models = Models(copy.deepcopy(model), model, pad_id(tokenizer))
    optimizer = torch.optim.AdamW(models.trained.parameters(), lr=1e-3)
    method = Wpn(method="wpn", n_pair=1.0, cross_entropy=1.0, kl=1.0)
    found = []
    for _ in itertools.repeat(None, 5):
        loss = total_loss(unlearning_terms(models, step, method), method)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        found.append(loss.item())
    return found
