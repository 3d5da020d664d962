"""Low-rank adapters (LoRA, arXiv 2106.09685) through peft: train few weights, and merge them when done."""

from typing import Any, cast

from transformers import PreTrainedModel

from wpn.config.training import Lora


def add_adapters(model: PreTrainedModel, settings: Lora) -> PreTrainedModel:
    """The model, its linear layers wrapped in place by adapters, which alone are trained; the output layer is not."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    return cast(PreTrainedModel, get_peft_model(model, config))


def merge_adapters(wrapped: Any) -> None:
    """Add the adapters to the weights they stand beside, and take them off: the model is plain again, in place."""
    wrapped.merge_and_unload()
