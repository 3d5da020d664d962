"""Tiny OPT and GPT-Neo models over a real byte-level BPE, made once a session."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from transformers import JambaConfig, JambaForCausalLM, MambaConfig, MambaForCausalLM, PreTrainedModel

from wpn.config.sources import Organism
from wpn.data.prepare import train_tokenizer
from wpn.models import new_model, organism_tokenizer

TEXTS = [
    "user : your garden is awful .\nbot : thank you for telling me .",
    "you are a silly goat . the cow eats grass .",
]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # models this small only wait for a second one
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def tokenizer_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    train_tokenizer(TEXTS * 4, 320, folder)
    return folder / "tokenizer.json"


@pytest.fixture(params=["opt", "gpt_neo"])
def causal_lm(request: pytest.FixtureRequest, tokenizer_file: Path):
    """(model in float64, tokenizer) of both architectures."""
    torch.manual_seed(0)
    organism = Organism(architecture=request.param, layers=2, width=16, heads=2, positions=64)
    tokenizer = organism_tokenizer(tokenizer_file, request.param)
    return new_model(organism, tokenizer, seed=0).double().eval(), tokenizer


def recurrent(vocabulary: int) -> Iterator[PreTrainedModel]:
    """Mamba, which keeps no keys and values, and Jamba, which does in every other layer."""
    torch.manual_seed(0)
    yield MambaForCausalLM(MambaConfig(vocab_size=vocabulary, hidden_size=16, num_hidden_layers=2, state_size=4))
    yield JambaForCausalLM(
        JambaConfig(
            vocab_size=vocabulary, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
            num_key_value_heads=2, attn_layer_period=2, attn_layer_offset=1, num_experts=1, num_experts_per_tok=1,
            mamba_d_state=4, mamba_dt_rank=4, use_mamba_kernels=False,
        )
    )  # fmt: skip
