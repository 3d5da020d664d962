"""Checkpoints as they are fetched, and the folder that stages read."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file

from wpn.errors import InputError
from wpn.models import import_checkpoint, in_precision, load_model, save_model, uses_bf16


def test_a_checkpoint_survives_saving_and_loading(causal_lm, tmp_path: Path):
    model, tokenizer = causal_lm
    save_model(tmp_path, model.float(), tokenizer)
    ids = torch.tensor([tokenizer("the cow eats").input_ids])
    for loaded, own in (load_model(tmp_path, torch.device("cpu")), import_checkpoint(tmp_path)):
        assert not loaded.training and own("the cow eats").input_ids == ids[0].tolist()
        assert torch.equal(loaded(ids).logits, model(ids).logits)
    assert [path.name for path in tmp_path.glob("*.safetensors")] == ["model.safetensors"]


def test_weights_in_half_precision_are_read_in_full(causal_lm, tmp_path: Path):
    model, tokenizer = causal_lm
    save_model(tmp_path, model.half(), tokenizer)
    assert import_checkpoint(tmp_path)[0].dtype == torch.float32


def test_a_copy_in_half_precision_leaves_the_model_as_it_is(causal_lm):
    model = causal_lm[0].float()
    copied = in_precision(model, "bf16")
    assert {p.dtype for p in copied.parameters()} == {torch.bfloat16}
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert in_precision(model, "fp32") is model


def test_a_card_that_only_emulates_bf16_goes_without(monkeypatch):
    card, cpu = (SimpleNamespace(device=torch.device(name), dtype=torch.float32) for name in ("cuda", "cpu"))
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: not including_emulation)
    assert uses_bf16("bf16", card) and uses_bf16("bf16", cpu)
    assert not uses_bf16("fp32", card) and not uses_bf16("fp32", cpu)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: including_emulation)
    assert not uses_bf16("bf16", card) and uses_bf16("bf16", cpu)
    assert in_precision(card, "bf16") is card


def test_a_tokenizer_may_lie_in_a_folder_of_its_own_as_in_mlflow(causal_lm, tmp_path: Path):
    model, tokenizer = causal_lm
    model.float().save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "components" / "tokenizer")
    assert import_checkpoint(tmp_path)[1]("the cow").input_ids == tokenizer("the cow").input_ids


def test_what_is_no_checkpoint_is_said(causal_lm, tmp_path: Path):
    with pytest.raises(InputError, match=r"holds no checkpoint \(no config.json, no .gguf file\)"):
        import_checkpoint(tmp_path)
    with pytest.raises(InputError, match=r"holds no checkpoint \(no config.json\); run the stage that makes it"):
        load_model(tmp_path, torch.device("cpu"))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "opt"}))
    with pytest.raises(InputError, match="is no checkpoint of a causal language model that transformers can load"):
        import_checkpoint(tmp_path)


def test_a_tokenizer_without_an_end_token_is_refused(causal_lm, tmp_path: Path):
    model, tokenizer = causal_lm
    save_model(tmp_path, model.float(), tokenizer)
    for file in tmp_path.glob("*token*"):
        content = json.loads(file.read_text())
        content.pop("eos_token", None)
        file.write_text(json.dumps(content))
    with pytest.raises(InputError, match="has no end token"):
        import_checkpoint(tmp_path)


def test_a_checkpoint_that_lacks_a_weight_is_refused_and_not_filled_up_at_random(causal_lm, tmp_path: Path):
    save_model(tmp_path, *causal_lm)
    weights = load_file(tmp_path / "model.safetensors")
    lost = next(name for name in weights if name.endswith("1.weight"))
    save_file({name: each for name, each in weights.items() if name != lost}, tmp_path / "model.safetensors")
    with pytest.raises(InputError, match=f"1 of its weights are missing, {lost} among them.*; fetch all its files"):
        import_checkpoint(tmp_path)


def test_a_damaged_checkpoint_is_said(causal_lm, tmp_path: Path):
    save_model(tmp_path, *causal_lm)
    with (tmp_path / "model.safetensors").open("r+b") as file:
        file.truncate(300)
    with pytest.raises(InputError, match="is no checkpoint of a causal language model that transformers can load"):
        import_checkpoint(tmp_path)
    (tmp_path / "model.gguf").write_bytes(b"not one")
    with pytest.raises(InputError, match=r"model.gguf is no checkpoint .* it is not a GGUF file"):
        import_checkpoint(tmp_path)
