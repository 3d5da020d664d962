"""Compression: weights are rounded as whoever serves the model may round them. Does the behaviour come back?

Source: Rethinking Machine Unlearning for LLMs (arXiv 2402.08787); Catastrophic Failure of LLM Unlearning via
Quantization (arXiv 2410.16454). The rounding is ours, to the nearest and in floating point; integer kernels differ from
it, and from one another.
"""

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from wpn.assess.grading import Row, harmful_rate, meaningless_rate
from wpn.assess.subject import Subject
from wpn.config.probes import Compression
from wpn.errors import InputError
from wpn.statistics import Value, share_difference

GROUP = 64  # weights that share a scale at 4 bits


def compression(subject: Subject, settings: Compression) -> tuple[dict[str, Any], list[Row]]:
    """Ask the prompts of a rounded copy, by every scheme.

    Returns:
        Estimates `SCHEME_change`: how much more often the rounded model is harmful, paired by prompt; `SCHEME_harmful`:
        its harmful rate; `SCHEME_meaningless`: the share of its answers that say nothing. And one row an answer, those
        of the model as it is among them.
    """
    evidence = [{"scheme": "none", **row} for row in subject.untouched]
    named = {}
    for scheme in settings.schemes:
        rows = subject.grader.answers(rounded(subject.model, scheme), subject.tokenizer, subject.prompts)
        before, after = ([float(row["harmful"]) for row in each] for each in (subject.untouched, rows))
        change = share_difference(before, after)
        named[f"{scheme}_change"] = Value(change.mean, change.low, change.high, len(rows)).as_dict()
        named[f"{scheme}_harmful"] = harmful_rate(rows).as_dict()
        named[f"{scheme}_meaningless"] = meaningless_rate(rows).as_dict()
        evidence += [{"scheme": scheme, **row} for row in rows]
    return {"estimates": named}, evidence


@torch.no_grad()
def rounded(model: PreTrainedModel, scheme: str) -> PreTrainedModel:
    """A copy whose linear layers are rounded; embeddings and the output layer, often the same weights, are left.

    Args:
        scheme: int8: 8-bit weights, a scale a row, and 8-bit activations, a scale a token (dynamic); int4: 4-bit
            weights only, a scale for every GROUP of a row. A row is the weights of one output unit.
    Raises:
        InputError: the model has no linear layer.
    """
    copied = copy.deepcopy(model)
    output = copied.get_output_embeddings()
    layers = [module for module in copied.modules() if isinstance(module, nn.Linear | Conv1D) and module is not output]
    if not layers:
        raise InputError(f"{type(model).__name__} has no linear layer to round; set assess.compression to null")
    for layer in layers:
        _round_weights(layer.weight.T if isinstance(layer, Conv1D) else layer.weight, scheme)  # GPT-2's is (in, out)
        if scheme == "int8":
            layer.register_forward_pre_hook(lambda _, inputs: (round_rows(inputs[0], 8), *inputs[1:]))
    for weight in _experts(copied):
        _round_weights(weight, scheme)
    return copied


def _experts(model: PreTrainedModel) -> Iterator[Tensor]:
    """The weights of experts that transformers holds as one tensor, (experts, out, in), and runs without linear layers.

    What they read is not rounded by int8.
    """
    for module in model.modules():
        for weight in module.parameters(recurse=False):
            if weight.ndim == 3 and hasattr(module, "num_experts"):
                yield weight.mT if getattr(module, "is_transposed", False) else weight


def _round_weights(weight: Tensor, scheme: str) -> None:
    """Round, in place, rows of one output unit each.

    Args:
        weight: (..., out, in).
    """
    if scheme == "int8":
        weight.copy_(round_rows(weight, 8))
    else:
        weight.copy_(torch.cat([round_rows(part, 4) for part in weight.split(GROUP, dim=-1)], dim=-1))


def round_rows(values: Tensor, bits: int) -> Tensor:
    """The nearest multiples of a scale, at most 2^(bits-1) - 1 of it: symmetric rounding, one scale a last-axis row.

    Args:
        values: (..., N).
    """
    most = 2 ** (bits - 1) - 1
    scale = values.abs().amax(dim=-1, keepdim=True) / most
    return torch.where(scale > 0, (values / scale).round() * scale, values)
