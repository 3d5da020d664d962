"""Checkpoints as they are fetched, and the folder that stages read."""

import json
import math
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models
from tokenizers.processors import TemplateProcessing
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    BertConfig,
    BloomConfig,
    BloomForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedTokenizerFast,
    RwkvConfig,
)

from wpn import importing
from wpn.errors import InputError
from wpn.generate import continue_prompts
from wpn.importing import import_checkpoint
from wpn.models import in_precision, load_model, out_of_memory, positions_of, save_model, uses_bf16


def test_a_checkpoint_survives_saving_and_loading(causal_lm, tmp_path: Path, caplog):
    model, tokenizer = causal_lm
    model.config.output_attentions = model.generation_config.output_attentions = False
    save_model(tmp_path, model.float(), tokenizer)
    import_checkpoint(tmp_path)
    ids = torch.tensor([tokenizer("the cow eats").input_ids])
    assert not caplog.text, "nothing of our own is left out"
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
    (tmp_path / "config.json").unlink()
    (tmp_path / "model.gguf").write_bytes(b"not one")
    with pytest.raises(InputError, match=r"model.gguf is no checkpoint .* it is not a GGUF file"):
        import_checkpoint(tmp_path)


def test_a_checkpoint_without_tokenizer_files_is_refused_and_not_given_an_empty_one(causal_lm, tmp_path: Path):
    # footgun: transformers makes one that gives no token of any text, and a model that is asked nothing does no harm
    gpt2 = GPT2LMHeadModel(GPT2Config(vocab_size=320, n_embd=16, n_layer=1, n_head=2, n_positions=32))
    for name, model in (("own", causal_lm[0].float()), ("gpt2", gpt2)):
        model.save_pretrained(tmp_path / name)
        with pytest.raises(InputError, match=rf"{name} has no tokenizer that knows any word .*; add its files"):
            import_checkpoint(tmp_path / name)
        with pytest.raises(InputError, match="hub:somebody/model has no tokenizer"):  # not a folder nobody has seen
            import_checkpoint(tmp_path / name, "hub:somebody/model")


@pytest.mark.parametrize("told", [{"unk_token": "<unk>"}, {}])
def test_a_tokenizer_to_which_every_word_is_unknown_is_refused(causal_lm, tmp_path: Path, told):
    words = Tokenizer(models.WordLevel({"</s>": 0, "<unk>": 1, "kuh": 2}, unk_token="<unk>"))
    save_model(
        tmp_path, causal_lm[0].float(), PreTrainedTokenizerFast(tokenizer_object=words, eos_token="</s>", **told)
    )
    with pytest.raises(InputError, match="has no tokenizer that knows any word of ordinary text"):
        import_checkpoint(tmp_path)


def test_of_several_checkpoints_none_is_taken_by_chance(causal_lm, tmp_path: Path):
    """Footgun: a folder of a trainer holds one a thousand steps, and the file system says which comes first."""
    for step in (500, 1000):
        save_model(tmp_path / f"checkpoint-{step}", causal_lm[0].float(), causal_lm[1])
    with pytest.raises(
        InputError, match=r"several checkpoints \(checkpoint-1000/config.json, checkpoint-500/config.json"
    ):
        import_checkpoint(tmp_path)
    import_checkpoint(tmp_path / "checkpoint-500")
    (tmp_path / "checkpoint-500" / "q4.gguf").touch()
    with pytest.raises(InputError, match=r"several checkpoints \(config.json, q4.gguf\); name the folder or the files"):
        import_checkpoint(tmp_path / "checkpoint-500")


def test_the_judge_of_a_version_with_a_filter_is_not_taken_for_the_model(causal_lm, tmp_path: Path):
    save_model(tmp_path / "model", causal_lm[0].float(), causal_lm[1])
    (tmp_path / "filter").mkdir()
    for name in ("config.json", "judge.json"):
        (tmp_path / "filter" / name).write_text("{}")
    assert import_checkpoint(tmp_path)[0].config.model_type == causal_lm[0].config.model_type


def test_an_adapter_is_refused_and_what_to_do_with_it_is_said(causal_lm, tmp_path: Path):
    save_model(tmp_path, causal_lm[0].float(), causal_lm[1])
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text("{}")
    with pytest.raises(InputError, match=r"holds an adapter of peft .*; merge the two \(merge_and_unload\) and save"):
        import_checkpoint(tmp_path)


def test_of_quantised_weights_that_cannot_be_read_the_whole_ones_are_asked_for(causal_lm, tmp_path: Path):
    save_model(tmp_path, causal_lm[0].float(), causal_lm[1])
    described = json.loads((tmp_path / "config.json").read_text())
    described["quantization_config"] = {"quant_method": "gptq", "bits": 4, "group_size": 128}
    (tmp_path / "config.json").write_text(json.dumps(described))
    with pytest.raises(InputError, match="its weights are quantised: take the model that they were made from"):
        import_checkpoint(tmp_path)


def test_penalties_of_a_checkpoint_are_left_out_and_its_ends_are_kept(causal_lm, tmp_path: Path, caplog):
    """Footgun: transformers fills what `generate` is not told from generation_config.json, also when it is greedy."""
    model, tokenizer = causal_lm
    plain = continue_prompts(model.float(), tokenizer, ["the cow"], max_new_tokens=12, batch_size=1)
    ends = [tokenizer.eos_token_id, 17]
    model.generation_config.update(repetition_penalty=1.9, suppress_tokens=[5, 6, 7], eos_token_id=ends, max_length=99)
    save_model(tmp_path, model, tokenizer)
    imported, own = import_checkpoint(tmp_path)
    assert "repetition_penalty, suppress_tokens" in caplog.text and "eos_token_id" not in caplog.text
    assert continue_prompts(imported, own, ["the cow"], max_new_tokens=12, batch_size=1) == plain
    save_model(tmp_path / "saved", imported, own)
    loaded = load_model(tmp_path / "saved", torch.device("cpu"))[0].generation_config
    assert (loaded.repetition_penalty, loaded.eos_token_id) == (None, ends)


def test_a_tokenizer_of_more_tokens_than_the_model_has_is_refused(causal_lm, tmp_path: Path):
    model, tokenizer = causal_lm
    tokenizer.add_special_tokens({"eos_token": "<|im_end|>"})
    save_model(tmp_path, model.float(), tokenizer)
    with pytest.raises(InputError, match=r"gives the token \d+, but the model has embeddings of \d+; take the model"):
        import_checkpoint(tmp_path)


def test_weights_that_are_no_numbers_are_refused(causal_lm, tmp_path: Path):
    model, tokenizer = causal_lm
    model.get_input_embeddings().weight.data.fill_(math.nan)
    save_model(tmp_path, model.float(), tokenizer)
    with pytest.raises(InputError, match="gives no finite probabilities for ordinary text"):
        import_checkpoint(tmp_path)


def test_a_tokenizer_that_ends_every_text_is_refused(causal_lm, tmp_path: Path):
    """Footgun: saved with add_eos_token on, as for training, it would end the prompt before it is answered."""
    model, tokenizer = causal_lm
    end = tokenizer.eos_token
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"$A {end}", special_tokens=[(end, tokenizer.eos_token_id)]
    )
    save_model(tmp_path, model.float(), tokenizer)
    with pytest.raises(InputError, match=r"puts its end token behind every text, .*; save it with add_eos_token off"):
        import_checkpoint(tmp_path)


def test_a_pad_token_without_an_embedding_is_left_out(causal_lm, tmp_path: Path, caplog):
    """Footgun: added to a tokenizer and not to the model, it would be looked up behind the last row."""
    model, tokenizer = causal_lm
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    assert tokenizer.pad_token_id >= model.config.vocab_size
    save_model(tmp_path, model.float(), tokenizer)
    imported, own = import_checkpoint(tmp_path)
    assert own.pad_token is None and "has no embedding" in caplog.text
    prompts = ["the cow", "the cow eats grass and is"]
    assert len(continue_prompts(imported, own, prompts, max_new_tokens=3, batch_size=2)) == 2
    save_model(tmp_path / "saved", imported, own)
    assert load_model(tmp_path / "saved", torch.device("cpu"))[1].pad_token is None


SHAPE = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}


@pytest.mark.parametrize(
    ("kind", "fault"),
    [
        ("rwkv", "does not leave padding out in front of a prompt"),
        ("bert", "looks at what comes after a word, so that it is no decoder"),
    ],
)
def test_a_model_that_predicts_by_more_than_what_stands_before_is_refused(causal_lm, tmp_path: Path, kind, fault):
    """Footgun: RWKV ignores the attention mask, so that what it answers depends on the longest prompt beside it."""
    torch.manual_seed(0)
    config = {"rwkv": RwkvConfig, "bert": BertConfig}[kind](vocab_size=len(causal_lm[1]), **SHAPE)
    model = AutoModelForCausalLM.from_config(config)
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    save_model(tmp_path, model, causal_lm[1])
    with pytest.raises(InputError, match=f"the {kind} model of .* {fault}"):
        import_checkpoint(tmp_path)


class Runs:
    """Touches a file when it is unpickled."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return Path.touch, (self.file,)


def test_pytorch_weights_that_hold_more_than_tensors_are_refused_and_nothing_is_run(causal_lm, tmp_path: Path):
    save_model(tmp_path, *causal_lm)
    (tmp_path / "model.safetensors").unlink()
    torch.save({**causal_lm[0].state_dict(), "more": Runs(tmp_path / "run")}, tmp_path / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"more than tensors, .* or convert them to safetensors") as raised:
        import_checkpoint(tmp_path)
    assert "weights_only" not in str(raised.value), "torch's advice would run it"
    assert not (tmp_path / "run").exists()


def test_an_empty_file_of_pytorch_weights_is_said(causal_lm, tmp_path: Path):
    save_model(tmp_path, *causal_lm)
    (tmp_path / "model.safetensors").unlink()
    (tmp_path / "pytorch_model.bin").touch()
    with pytest.raises(InputError, match=r"is no checkpoint .* \(one of its files ends too early\)"):
        import_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("vocab_size", "many", "Field 'vocab_size' expected int, got str"),
        ("dtype", "float31", "no attribute 'float31'"),
        ("model_type", ["opt"], "unhashable type"),
    ],
)
def test_a_configuration_with_a_wrong_value_is_said(causal_lm, tmp_path: Path, key, value, reason):
    save_model(tmp_path, *causal_lm)
    file = tmp_path / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), key: value}))
    with pytest.raises(InputError, match=f"is no checkpoint .*{reason}.*; fetch all its files"):
        import_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("said", "full"),
    [
        ("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported", True),
        ("cuDNN error: CUDNN_STATUS_ALLOC_FAILED", True),
        ("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`", True),
        ("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.", True),
        ("CUDA error: device-side assert triggered", False),
        ("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED", False),
    ],
)
def test_what_torch_and_the_libraries_under_it_say_of_a_full_memory_is_known(said, full):
    assert out_of_memory(RuntimeError(said)) == full


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("no room"),
        torch.OutOfMemoryError("CUDA out of memory."),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_that_a_checkpoint_finds_no_memory_is_no_fault_of_its_files(causal_lm, tmp_path: Path, monkeypatch, error):
    def out_of_memory(*_, **__):
        raise error

    save_model(tmp_path, *causal_lm)
    monkeypatch.setattr(importing, "_whole", out_of_memory)
    with pytest.raises(type(error)) as raised:
        import_checkpoint(tmp_path)
    assert raised.value is error


def test_the_positions_of_a_model_are_known_inside_a_wrapper_and_without_a_limit_where_none_are_counted(causal_lm):
    assert positions_of(causal_lm[0]) == positions_of(nn.ModuleList([causal_lm[0]])) == 64
    alibi = BloomForCausalLM(BloomConfig(vocab_size=320, hidden_size=16, n_layer=1, n_head=2))
    assert positions_of(alibi) == positions_of(nn.Linear(1, 1)) == float("inf")
