"""Making, loading and saving causal language models and their tokenizers."""

import copy
import logging
import math
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, cast

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from torch import Tensor, nn
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

from wpn.config import Organism, Precision
from wpn.data.batches import collate, positions
from wpn.errors import InputError

logger = logging.getLogger(__name__)

# what transformers and the libraries below it raise on files that are not what their names say
LOADING_ERRORS = (
    OSError, EOFError, ImportError, ValueError, TypeError, AttributeError, LookupError, ArithmeticError, RuntimeError,
    SafetensorError, StrictDataclassError, struct.error,
)  # fmt: skip
TOLERATED = 1e-3  # total variation between two runs of one model: rounding, and no more
ORDINARY = "user : is it you who has the cow ? bot : no , and I thank you for all that you said ."


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


def import_checkpoint(folder: Path, name: str = "") -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Read a checkpoint as it was fetched, in fp32: safetensors, PyTorch weights (tensors only), or one GGUF file.

    A model saved by MLflow keeps its tokenizer in another folder, components/tokenizer.

    Args:
        name: what the user calls it, for the errors; else they name the files.
    Raises:
        InputError: the files are no checkpoint of a causal language model, or lack some of its weights, which would
            be drawn at random; or their tokenizer knows no word or no end, or ends every text; or padding is text to
            the model.
    """
    gguf = sorted(folder.rglob("*.gguf"))
    if gguf:
        with loading(name or gguf[0], "a causal language model"):
            read = _from_gguf(gguf[0])
        return _usable(name or gguf[0], *read)
    configurations = sorted(folder.rglob("config.json"), key=lambda path: len(path.parts))
    if not configurations:
        raise InputError(f"{name or folder} holds no checkpoint (no config.json, no .gguf file); name the files of one")
    weights = configurations[0].parent
    apart = sorted(folder.rglob("components/tokenizer"))
    options: dict[str, Any] = {"trust_remote_code": False, "local_files_only": True}
    with loading(name or weights, "a causal language model"):
        # transformers reads PyTorch's format with weights_only=True: tensors, and nothing that is run
        model = _whole(weights, **options)
        tokenizer = AutoTokenizer.from_pretrained(apart[0] if apart else weights, **options)
    return _usable(name or weights, model, tokenizer)


@contextmanager
def loading(place: str | Path, kind: str) -> Iterator[None]:
    """What transformers raises where it cannot load, in one sentence; that there is no memory left stays as it is.

    Args:
        place: what is loaded, as the user knows it.
        kind: what it should be a checkpoint of.
    Raises:
        InputError: it cannot be loaded.
    """
    try:
        yield
    except UnpicklingError:  # whose text advises to run what the file holds
        raise InputError(
            f"{place} holds PyTorch weights that are damaged or more than tensors, of which nothing is run; fetch them "
            "again, or convert them to safetensors"
        ) from None
    except InputError:
        raise
    except Exception as error:
        known = isinstance(error, LOADING_ERRORS) or type(error) is Exception  # the latter by tokenizers, of its files
        if out_of_memory(error) or not known:
            raise
        raise InputError(
            f"{place} is no checkpoint of {kind} that transformers can load ({_reason(error)}); fetch all its files"
        ) from None


def _whole(folder: Path, **options: Any) -> PreTrainedModel:
    """The model in fp32, none of whose weights is missing."""
    loaded: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, output_loading_info=True, **options)
    model, found = loaded  # of which transformers' types know nothing
    if missing := sorted(found["missing_keys"]):
        raise ValueError(f"{len(missing)} of its weights are missing, {missing[0]} among them")
    return cast(PreTrainedModel, model)


def _from_gguf(file: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """transformers marks what it reads from GGUF as quantised, which can be neither saved nor trained: copy it."""
    options: dict[str, Any] = {"gguf_file": file.name, "local_files_only": True}
    read = _whole(file.parent, **options)
    described = read.config.to_dict()
    for key in ("quantization_config", "_name_or_path", "dtype", "transformers_version", "architectures"):
        described.pop(key, None)
    model = AutoModelForCausalLM.from_config(type(read.config)(**described))
    model.load_state_dict(read.state_dict())
    model.tie_weights()
    return model, AutoTokenizer.from_pretrained(file.parent, **options)


def _usable(
    place: str | Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    if tokenizer.eos_token_id is None:
        raise InputError(f"the tokenizer of {place} has no end token, which padding and whole responses need; set one")
    check_knows_words(place, tokenizer)
    if tokenizer(ORDINARY).input_ids[-1] == tokenizer.eos_token_id:
        raise InputError(
            f"the tokenizer of {place} puts its end token behind every text, so that a prompt would be over before it "
            "is answered; save it with add_eos_token off"
        )
    rows = len(cast(nn.Embedding, model.get_input_embeddings()).weight)
    if tokenizer.pad_token_id is not None and tokenizer.pad_token_id >= rows:
        logger.warning(
            "the pad token of %s has no embedding (%d, of %d): left out", place, tokenizer.pad_token_id, rows
        )
        tokenizer.pad_token = None
    _check_heeds_padding(place, model.eval(), tokenizer)
    return model, tokenizer


def check_knows_words(place: str | Path, tokenizer: PreTrainedTokenizerBase) -> None:
    """Refuse the empty tokenizer that transformers makes without its files, with which every text is the same nothing.

    Raises:
        InputError: it knows no word of ordinary text.
    """
    known = set(tokenizer(ORDINARY, add_special_tokens=False).input_ids) - set(tokenizer.all_special_ids)
    if len(known) < 2:  # one may stand for all that is unknown
        raise InputError(
            f"{place} has no tokenizer that knows any word of ordinary text; add its files (tokenizer.json), or name "
            "the folder that holds them too"
        )


@torch.inference_mode()
def _check_heeds_padding(place: str | Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Refuse a model to which padding is text, as it is to RWKV: what it says would depend on the rest of the batch."""
    tokens = tokenizer(ORDINARY).input_ids[:8]
    alone, beside = (_next_token(model, rows) for rows in ([tokens[:4]], [tokens, tokens[:4]]))  # (V,) each
    if (alone - beside).abs().sum() / 2 > TOLERATED:
        raise InputError(
            f"the {model.config.model_type} model of {place} does not leave padding out in front of a prompt, so that "
            "its answers in batches would not be its own; choose a model of another architecture"
        )


def _next_token(model: PreTrainedModel, rows: list[list[int]]) -> Tensor:
    """(V,) probabilities of what follows the last row."""
    batch = collate([(row, []) for row in rows], 0, side="left").to(model.device)
    output = model(batch.ids, attention_mask=batch.attention, position_ids=positions(batch.attention), use_cache=False)
    probabilities: Tensor = output.logits[-1, -1].float().softmax(dim=0)
    return probabilities


def _reason(error: BaseException) -> str:
    """The first sentence of what it says; the end of a file comes without a word."""
    return " ".join(str(error).split()).partition(". ")[0].rstrip(".") or "one of its files ends too early"


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
    inside = (part.config for part in model.modules() if isinstance(part, PreTrainedModel))
    return float(getattr(next(inside, None), "max_position_embeddings", math.inf))


def out_of_memory(error: Exception) -> bool:
    """Whether torch says that there was no room, on a CPU or on a GPU."""
    # cuBLAS says in its own words that it found no room for itself
    words = ("can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED")
    return isinstance(error, torch.OutOfMemoryError) or any(each in str(error) for each in words)


def pad_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """The id to fill batches with; it is masked by attention, never recognised by its value."""
    return tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id


def choose_device(name: str) -> torch.device:
    """`auto` is the first CUDA device where there is one, else the CPU."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)
