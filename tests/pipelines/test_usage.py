"""What a stage took: tokens counted by hand, the memory of a process that held some."""

import copy
import json
import subprocess
import sys

import pytest
import torch
from transformers import OPTConfig, OPTForCausalLM

from pipelines import usage
from pipelines.report import usage_rows
from wpn.files import write_json


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> OPTForCausalLM:
    monkeypatch.setattr(usage, "_tokens", 0)
    config = OPTConfig(
        vocab_size=16, hidden_size=8, ffn_dim=8, num_hidden_layers=1, num_attention_heads=1, max_position_embeddings=16,
        word_embed_proj_dim=8,
    )  # fmt: skip
    return usage.watched(OPTForCausalLM(config).eval())


def test_tokens_are_counted_of_a_model_and_of_its_copies(model: OPTForCausalLM) -> None:
    ids = torch.tensor([[2, 3, 4], [2, 5, 6]])
    model(input_ids=ids)
    assert usage.usage()["tokens"] == 6
    copy.deepcopy(model)(ids)
    assert usage.usage()["tokens"] == 12
    model(inputs_embeds=torch.zeros(1, 5, 8))
    assert usage.usage()["tokens"] == 17
    model.generate(ids[:1], max_new_tokens=3, min_new_tokens=3, do_sample=False)
    assert usage.usage()["tokens"] == 17 + 3 + 2, "a prompt of three, and each new token but the last"


def test_the_peak_stays_when_the_memory_is_given_back() -> None:
    code = "from pipelines.usage import usage; import json; b = bytearray(300 << 20); del b; print(json.dumps(usage()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert 300 <= found["peak_memory_mb"] < 600
    assert found["seconds"] > 0 and found["cpu_seconds"] > 0
    assert found["gpu_memory_mb"] is None and found["tokens"] == 0


def test_rows_are_of_the_models_and_methods_asked_for_the_longest_first(tmp_path) -> None:
    for names, seconds in (("opt", 1.0), ("opt/wpn", 3.0), ("opt/sft", 2.0), ("gpt-neo", 9.0)):
        write_json(tmp_path / "build" / "usage" / names / "stage.json", {"seconds": seconds})
    rows = usage_rows(tmp_path, [("opt", "wpn")])
    assert [(row["model"], row["method"], row["seconds"]) for row in rows] == [("opt", "wpn", 3.0), ("opt", None, 1.0)]
