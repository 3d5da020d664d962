"""Checkpoints as others made them: which files are one, and what transformers says of them."""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, cast

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from wpn.errors import InputError
from wpn.models import out_of_memory
from wpn.usable import make_usable

# what transformers and the libraries below it raise on files that are not what their names say
LOADING_ERRORS = (
    OSError, EOFError, ImportError, ValueError, TypeError, AttributeError, LookupError, ArithmeticError, RuntimeError,
    SafetensorError, StrictDataclassError, struct.error,
)  # fmt: skip


def import_checkpoint(folder: Path, name: str = "") -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Read a checkpoint as it was fetched, in fp32: safetensors, PyTorch weights (tensors only), or one GGUF file.

    A model saved by MLflow keeps its tokenizer in another folder, components/tokenizer.

    Args:
        name: what the user calls it, for the errors; else they name the files.
    Raises:
        InputError: the files are no checkpoint of a causal language model, or several, or an adapter, or lack some of
            its weights, which would be drawn at random; or as `wpn.usable.make_usable`.
    """
    weights = _the_only(folder, name)
    remedy = "fetch all its files"
    if weights.name == "config.json" and "quantization_config" in weights.read_text(encoding="utf-8", errors="replace"):
        remedy = "its weights are quantised: take the model that they were made from"
    with loading(name or weights, "a causal language model", remedy):
        model, tokenizer = _from_gguf(weights) if weights.suffix == ".gguf" else _from_folder(weights.parent, folder)
    make_usable(name or weights.parent, model, tokenizer)
    return model, tokenizer


def _the_only(folder: Path, name: str) -> Path:
    """The config.json or the GGUF file of the one checkpoint that a folder holds, at whatever depth."""
    if adapters := sorted(folder.rglob("adapter_config.json")):
        raise InputError(
            f"{name or adapters[0].parent} holds an adapter of peft ({adapters[0].name}), which speaks only through "
            "its base; merge the two (merge_and_unload) and save the result"
        )
    configurations = sorted(folder.rglob("config.json"), key=lambda path: (len(path.parts), path))
    # not the judge of a version that is served with a filter
    configurations = [path for path in configurations if not (path.parent / "judge.json").exists()]
    found = [path for path in configurations if len(path.parts) == len(configurations[0].parts)]
    found += sorted(folder.rglob("*.gguf"))
    if not found:
        raise InputError(f"{name or folder} holds no checkpoint (no config.json, no .gguf file); name the files of one")
    if len(found) > 1:
        told = ", ".join(path.relative_to(folder).as_posix() for path in found)
        raise InputError(f"{name or folder} holds several checkpoints ({told}); name the folder or the files of one")
    return found[0]


@contextmanager
def loading(place: str | Path, kind: str, remedy: str = "fetch all its files") -> Iterator[None]:
    """What transformers raises where it cannot load, in one sentence; that there is no memory left stays as it is.

    Args:
        place: what is loaded, as the user knows it.
        kind: what it should be a checkpoint of.
        remedy: what the sentence advises.
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
    except Exception as error:
        known = isinstance(error, LOADING_ERRORS) or type(error) is Exception  # the latter by tokenizers, of its files
        if out_of_memory(error) or not known:
            raise
        raise InputError(
            f"{place} is no checkpoint of {kind} that transformers can load ({_reason(error)}); {remedy}"
        ) from None


def _from_folder(folder: Path, fetched: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    options: dict[str, Any] = {"trust_remote_code": False, "local_files_only": True}
    apart = sorted(fetched.rglob("components/tokenizer"))
    # transformers reads PyTorch's format with weights_only=True: tensors, and nothing that is run
    model = _whole(folder, **options)
    return model, AutoTokenizer.from_pretrained(apart[0] if apart else folder, **options)


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


def _reason(error: BaseException) -> str:
    """The first sentence of what it says; the end of a file comes without a word."""
    return " ".join(str(error).split()).partition(". ")[0].rstrip(".") or "one of its files ends too early"
