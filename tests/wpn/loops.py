"""The unlearning loop's settings, small, for the tests of what it is made of."""

from typing import Any

from torch import nn
from transformers import PreTrainedModel

from wpn.config.training import Unlearn


def loop(**changes: Any) -> Unlearn:
    """One step of three pairs and eight texts, in fp32 and without any extra; `changes` are keys of `unlearn`."""
    base: dict[str, Any] = {
        "steps": 1, "batch_size": 3, "accumulation": 1, "retain_batch_size": 8, "alarming_share": 0.25,
        "near_share": 0.0, "learning_rate": 1e-3, "warmup": 0.1, "precision": "fp32", "forced_start": 0.0,
        "weight_decay": 0.0, "gradient_checkpointing": False, "weights": "all", "lora": None, "early_stop": None,
        "checkpoint_every": 1,
    }  # fmt: skip
    return Unlearn.model_validate({**base, **changes})


def drop_units(model: PreTrainedModel) -> None:
    """Give a model the dropout that real OPT checkpoints have, a tenth, in place."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.1
    if model.config.model_type == "opt":
        for layer in model.model.decoder.layers:
            layer.dropout = 0.1
