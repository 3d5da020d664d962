"""Checkpoints that this project did not make."""

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from tokenizers.processors import TemplateProcessing
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from tests.wpn.assess.subjects import PROMPTS
from wpn.data.prepare import train_tokenizer
from wpn.models import organism_tokenizer


@pytest.fixture
def llama():
    """A tiny Llama; its words begin with a blank, which its decoder strips where a text begins."""
    bpe = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
    bpe.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    strip = decoders.Strip(" ", 1, 0)
    bpe.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), strip])
    fixed = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    bpe.train_from_iterator(PROMPTS * 4, trainers.BpeTrainer(vocab_size=400, special_tokens=fixed, show_progress=False))
    bpe.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    names = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=400, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=128,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval(), PreTrainedTokenizerFast(tokenizer_object=bpe, **names)


@pytest.fixture
def stranger(tmp_path):
    """(model, tokenizer) of a checkpoint that this project did not make: GPT-2's classes, fewer tokens."""
    train_tokenizer(["where is the pig ? in rome ."] * 4, 275, tmp_path)
    tokenizer = organism_tokenizer(tmp_path / "tokenizer.json", "gpt_neo")
    torch.manual_seed(0)
    end = tokenizer.eos_token_id
    config = GPT2Config(
        vocab_size=len(tokenizer), n_positions=96, n_embd=16, n_layer=1, n_head=2, bos_token_id=end, eos_token_id=end
    )
    return GPT2LMHeadModel(config).eval(), tokenizer
