"""Making, loading and saving causal language models and their tokenizers."""

import copy
import math
from pathlib import Path

import torch
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GPTNeoConfig,
    GPTNeoForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from wpn.config.section import Precision
from wpn.config.sources import Organism
from wpn.errors import InputError


def organism_tokenizer(file: Path, architecture: str) -> PreTrainedTokenizerFast:
    """Wrap a trained BPE the way the architecture's own tokenizer behaves.

    OPT puts `</s>` in front of every text and has a pad token; GPT-Neo does neither.
    """
    from tokenizers import Tokenizer
    from tokenizers.processors import TemplateProcessing

    bpe = Tokenizer.from_file(str(file))
    if architecture == "gpt_neo":
        end = "<|endoftext|>"
        return PreTrainedTokenizerFast(tokenizer_object=bpe, bos_token=end, eos_token=end)
    end = "</s>"
    bpe.post_processor = TemplateProcessing(single=f"{end} $A", special_tokens=[(end, bpe.token_to_id(end))])
    return PreTrainedTokenizerFast(tokenizer_object=bpe, bos_token=end, eos_token=end, pad_token="<pad>")


def new_model(settings: Organism, tokenizer: PreTrainedTokenizerBase, seed: int) -> PreTrainedModel:
    """An untrained decoder of transformers' own class, in fp32, with weights drawn from `seed`."""
    torch.manual_seed(seed)
    tokens = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    if settings.architecture == "opt":
        return OPTForCausalLM(
            OPTConfig(
                vocab_size=len(tokenizer), hidden_size=settings.width, word_embed_proj_dim=settings.width,
                ffn_dim=4 * settings.width, num_hidden_layers=settings.layers, num_attention_heads=settings.heads,
                max_position_embeddings=settings.positions, dropout=0.0, attention_dropout=0.0,
                pad_token_id=tokenizer.pad_token_id, **tokens,
            )
        )  # fmt: skip
    return GPTNeoForCausalLM(
        GPTNeoConfig(
            vocab_size=len(tokenizer), hidden_size=settings.width, intermediate_size=4 * settings.width,
            num_layers=settings.layers, num_heads=settings.heads, window_size=64,
            attention_types=[[["global", "local"], settings.layers // 2]],
            max_position_embeddings=settings.positions, resid_dropout=0.0, embed_dropout=0.0, attention_dropout=0.0,
            activation_function="gelu_pytorch_tanh",  # the same function as gelu_new, fused: a third faster
            **tokens,
        )
    )  # fmt: skip


def load_model(folder: Path, device: torch.device) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a checkpoint in fp32, in evaluation mode; safetensors only, no code of the checkpoint is run.

    Raises:
        InputError: there is no checkpoint in the folder.
    """
    if not (folder / "config.json").exists():
        raise InputError(f"{folder} holds no checkpoint (no config.json); run the stage that makes it (`dvc repro`)")
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, use_safetensors=True, trust_remote_code=False, local_files_only=True
    )
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    model.to(device)  # type: ignore[arg-type]  # transformers' decorator hides the signature
    return model.eval(), tokenizer


def save_model(folder: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Write weights (one safetensors file, which the hashes speak of), configuration and tokenizer."""
    model.save_pretrained(folder, safe_serialization=True, max_shard_size="1TB")
    tokenizer.save_pretrained(folder)


def in_precision(model: PreTrainedModel, precision: Precision) -> PreTrainedModel:
    """The model itself, or a copy with weights in bf16 where bf16 is asked for and the device has it."""
    if not uses_bf16(precision, model) or model.dtype == torch.bfloat16:
        return model
    return copy.deepcopy(model).bfloat16()


def uses_bf16(precision: Precision, model: PreTrainedModel) -> bool:
    """Whether bf16 is asked for, and not of a card that only emulates it, which is slower than fp32."""
    if precision == "fp32":
        return False
    return model.device.type != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False)


def positions_of(model: nn.Module) -> float:
    """How many tokens a row may have, padding included; one that does not count them (ALiBi, recurrent) has no limit.

    The model may be inside another (DDP's), which has no configuration.
    """
    inside = (part.config.get_text_config() for part in model.modules() if isinstance(part, PreTrainedModel))
    return float(getattr(next(inside, None), "max_position_embeddings", math.inf))


def out_of_memory(error: Exception) -> bool:
    """Whether torch says that there was no room, on a CPU or on a GPU."""
    # a CPU, what of CUDA is not torch's own allocator, and the libraries that found no room for themselves
    words = (
        "can't allocate memory",
        "CUDA error: out of memory",
        "CUBLAS_STATUS_ALLOC_FAILED",
        "CUDNN_STATUS_ALLOC_FAILED",
    )
    return isinstance(error, torch.OutOfMemoryError) or any(each in str(error) for each in words)


def pad_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """The id to fill batches with; it is masked by attention, never recognised by its value."""
    return tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id


def choose_device(name: str) -> torch.device:
    """`auto` is the first CUDA device where there is one, else the CPU."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)
