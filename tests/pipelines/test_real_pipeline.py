"""Hub-shaped OPT and GPT-Neo through the whole pipeline: fetched from a hub, sampled, unlearned, measured, gated.

The models are tiny and random, so they say nothing harmful of their own: the data give both sides of the pairs.
"""

import io
import json
import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from ruamel.yaml import YAML
from tokenizers import ByteLevelBPETokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer, GPTNeoConfig, GPTNeoForCausalLM, OPTConfig, OPTForCausalLM

from pipelines.adopt import adopt
from pipelines.report import rows
from tests.hub_server import HubServer
from tests.pipelines.test_pipeline import OF_HARM, REPOSITORY, change, checkout, numbers, run
from tests.wpn.test_official_tasks import ROWS
from wpn.config.loading import load_params
from wpn.files import read_json, read_jsonl, write_jsonl
from wpn.measured import measured
from wpn.tasks import task_names

OPT_TOKENIZER = REPOSITORY.parent / "shared" / "data" / "tokenizers" / "opt"
SENTENCES = ["the cow eats grass in the field .", "you are a silly goat and nobody likes you .", "what a lovely day ."]
RECIPE = {
    "pipeline": {"models": [], "methods": ["wpn"]},
    "recipes": {
        "real": {
            "compute": {"threads": 1},
            "data": {"ood_categories": ["other"], "other": [], "words": 12},
            "pairs": {"own_texts": 6, "own_tokens": 9, "max_new_tokens": 6, "batch_size": 8, "samples": 2},
            "unlearn": {"steps": 2, "batch_size": 4, "retain_batch_size": 4},
            "evaluate": {
                "judges": ["lexical"], "prompts": 6, "samples": 2, "max_new_tokens": 6, "batch_size": 8,
                "benchmark_items": 2,
            },
            "assess": {
                "prompts": 4, "max_new_tokens": 4, "forced_start": {"starts": ["you are"]},
                "generalisation": {"prompts": 3, "paraphrases": {"quoted": "he read : {prompt}"}},
                "wrappers": {"templates": {"misspelling": "{misspelled}"}},
                "sampling": {"samples": 2}, "collateral": {"prompts": 3},
                "suffix": {"prompts": 2, "length": 2, "steps": 2, "candidates": 4},
                "in_context": {"demonstrations": [0, 2]},
                "relearning": {
                    "pairs": [4, 1], "steps": [1, 5], "attacks": [{"optimizer": "adamw", "learning_rate": 5e-4}],
                },
            },
        }
    },
}  # fmt: skip


def opt_files() -> dict[str, bytes]:
    """As facebook/opt-125m: PyTorch weights in half precision, more rows of embedding than tokens, leading </s>."""
    if OPT_TOKENIZER.is_dir():
        vocabulary, merges = ((OPT_TOKENIZER / name).read_bytes() for name in ("vocab.json", "merges.txt"))
    else:  # the same shape, of our own text
        vocabulary, merges = bpe(["<s>", "<pad>", "</s>", "<unk>"])
    size = 50272 if OPT_TOKENIZER.is_dir() else len(json.loads(vocabulary)) + 7
    torch.manual_seed(0)
    model = OPTForCausalLM(
        OPTConfig(
            vocab_size=size, hidden_size=8, word_embed_proj_dim=8, ffn_dim=16, num_hidden_layers=1,
            num_attention_heads=2, max_position_embeddings=128, bos_token_id=2, eos_token_id=2, pad_token_id=1,
        )
    ).half()  # fmt: skip
    weights = io.BytesIO()
    torch.save(model.state_dict(), weights)
    config = {**model.config.to_dict(), "architectures": ["OPTForCausalLM"], "torch_dtype": "float16"}
    tokenizer = {
        "tokenizer_class": "GPT2Tokenizer", "add_bos_token": True, "bos_token": "</s>", "eos_token": "</s>",
        "unk_token": "</s>", "pad_token": "<pad>",
    }  # fmt: skip
    return {
        "config.json": json.dumps(config).encode(), "tokenizer_config.json": json.dumps(tokenizer).encode(),
        "pytorch_model.bin": weights.getvalue(), "vocab.json": vocabulary, "merges.txt": merges,
        "flax_model.msgpack": b"not wanted",
    }  # fmt: skip


def neo_files(folder: Path) -> dict[str, bytes]:
    """As EleutherAI/gpt-neo-125m: safetensors, GPT-2's tokenizer without a pad token."""
    vocabulary, merges = bpe(["<|endoftext|>"])
    torch.manual_seed(1)
    model = GPTNeoForCausalLM(
        GPTNeoConfig(
            vocab_size=len(json.loads(vocabulary)), hidden_size=8, intermediate_size=16, num_layers=2, num_heads=2,
            attention_types=[[["global", "local"], 1]], window_size=16, max_position_embeddings=128,
            bos_token_id=0, eos_token_id=0,
        )
    )  # fmt: skip
    model.save_pretrained(folder)
    end = "<|endoftext|>"
    tokenizer = {"tokenizer_class": "GPT2Tokenizer", "bos_token": end, "eos_token": end, "unk_token": end}
    return {
        **{path.name: path.read_bytes() for path in folder.iterdir()},
        "tokenizer_config.json": json.dumps(tokenizer).encode(), "vocab.json": vocabulary, "merges.txt": merges,
    }  # fmt: skip


def bpe(special: list[str]) -> tuple[bytes, bytes]:
    tokenizer = ByteLevelBPETokenizer()
    tokenizer.train_from_iterator(SENTENCES * 4, vocab_size=330, special_tokens=special)
    state = json.loads(tokenizer.to_str())["model"]
    merges = "\n".join(["#version: 0.2", *(" ".join(pair) for pair in state["merges"])])
    return json.dumps(state["vocab"]).encode(), merges.encode()


def write_data(folder: Path) -> None:
    rng = random.Random(0)
    write_jsonl(
        folder / "mine.jsonl",
        (
            {
                # words of no language, so that no two prompts are near-duplicates
                "prompt": " ".join("".join(rng.choices("abcdefghijklmnop", k=5)) for _ in range(6)),
                "category": category,
                "harmful_output": "you are a silly goat",
                "harmless_response": "what a lovely day it is",
            }
            for category in ("plain", "other")
            for _ in range(30)
        ),
    )
    (folder / "text.txt").write_text("\n\n".join(f"{i} {' '.join(SENTENCES)}" for i in range(30)))
    for task in task_names("official"):
        write_jsonl(folder / "items" / f"{task}.jsonl", ROWS[task])


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A checkout pointed at two models of a hub and at a user's own data: both unlearned, OPT measured and gated."""
    folder = tmp_path_factory.mktemp("real")
    checkout(folder)
    yaml = YAML()
    params = yaml.load(folder / "params.yaml")
    params["pipeline"]["models"] = ["opt"]
    change(params, {**RECIPE, "pipeline": {"methods": ["wpn"]}})
    yaml.dump(params, folder / "params.yaml")
    (folder / "data").mkdir()
    (folder / "data" / "unused").touch()
    run(folder, "dvc", "add", "--quiet", "data")
    given = tmp_path_factory.mktemp("given")
    write_data(given)
    with HubServer(given / "hub") as hub:
        hub.add("facebook/opt-125m", opt_files())
        hub.add("EleutherAI/gpt-neo-125m", neo_files(tmp_path_factory.mktemp("neo")))
        before = {name: os.environ.get(name) for name in ("HF_ENDPOINT", "HF_HOME")}
        os.environ.update({"HF_ENDPOINT": hub.url, "HF_HOME": str(given / "cache")})
        try:
            adopt(
                folder,
                ["hub:facebook/opt-125m", "hub:EleutherAI/gpt-neo-125m"],
                {"data": [f"path:{given / 'mine.jsonl'}"], "text": [f"path:{given / 'text.txt'}"],
                 "benchmarks": [f"path:{given / 'items'}"]},
            )  # fmt: skip
            params = yaml.load(folder / "params.yaml")
            params["pipeline"]["models"].remove("opt")
            yaml.dump(params, folder / "params.yaml")
            done = run(folder, "dvc", "repro", "unlearn@gpt-neo-125m-wpn", "gate@opt-125m-wpn", check=False)
        finally:
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})
        assert done.returncode == 0, done.stdout + done.stderr
        assert not hub.asked("msgpack"), "only what the row names is fetched"
        yield folder


MODELS = ["opt-125m", "gpt-neo-125m"]


def test_before_and_after_are_measured_and_a_real_model_has_no_twin(project):
    check_measurements(project, "opt-125m")


@pytest.mark.slow
def test_gpt_neo_is_measured_and_gated_too(project, tmp_path):
    shutil.copytree(project, tmp_path / "copy", symlinks=True)
    run(tmp_path / "copy", "dvc", "repro", "--quiet")
    check_measurements(tmp_path / "copy", "gpt-neo-125m")


def check_measurements(project, model):
    before, after = table = rows(project, [(model, "wpn")])
    assert (before["stage"], after["stage"]) == ("before", "after")
    for row in table:
        assert row["benchmark_mean"] is not None and row["perplexity_ratio"] > 0 and set(row["toxicity"]) == {"lexical"}
    assert (before["gate"], after["gate"]) == (None, "refused"), "there was no toxicity that could fall"
    assert "lower 95 % bound of toxicity_fall is missing" in after["reasons"][0]
    assert not any("evidence" in reason for reason in after["reasons"]), "what was measured adds up"
    # the gate may bound what is measured, and nothing else
    known = measured(load_params(project / "params.yaml").recipe(model))
    assert known - numbers(project, model) == {*OF_HARM, "alarm_perplexity_ratio"}
    assert not numbers(project, model) - known


def test_the_base_is_the_fetched_model_in_full_precision_and_safetensors(project):
    for model, files in (("opt-125m", opt_files()), ("gpt-neo-125m", None)):
        folder = project / "build" / "models" / model / "weights" / "base"
        assert (folder / "model.safetensors").exists() and not list(folder.glob("*.bin"))
        loaded = AutoModelForCausalLM.from_pretrained(folder)
        assert loaded.dtype == torch.float32
        if files:
            weights = torch.load(io.BytesIO(files["pytorch_model.bin"]), weights_only=True)
            embedding = weights["model.decoder.embed_tokens.weight"].float()
            assert torch.equal(loaded.get_input_embeddings().weight, embedding)  # with the rows of no token


def test_opt_keeps_its_start_token_and_gpt_neo_has_no_pad(project):
    opt, neo = (AutoTokenizer.from_pretrained(project / "build" / "unlearned" / m / "wpn" / "model") for m in MODELS)
    assert opt("a day").input_ids[0] == opt.eos_token_id == 2 and opt.pad_token_id == 1
    assert neo("a day").input_ids[0] != neo.eos_token_id and neo.pad_token_id is None


def test_prompts_of_the_held_out_category_are_never_trained_on(project):
    prepared = project / "build" / "prepared" / "opt-125m"
    pairs = read_jsonl(project / "build" / "pairs" / "opt-125m" / "forget.jsonl")
    assert len(pairs) >= 10 and all(row["category"] == "plain" for row in read_jsonl(prepared / "provocations.jsonl"))
    assert pairs[0]["harmful_output"] == " you are a silly goat" and pairs[0]["own"]
    for split in ("dev", "test"):
        assert {row["category"] for row in read_jsonl(prepared / "prompts" / split / "ood.jsonl")} == {"other"}
        asked = {row["prompt"] for row in read_jsonl(prepared / "prompts" / split / "unseen.jsonl")}
        assert asked and not asked & {row["prompt"] for row in pairs}
    assert read_json(prepared / "split.json")["near_duplicates"] >= 0


def test_the_lock_pins_what_was_fetched(project):
    lock = YAML().load(project / "dvc.lock")["stages"]
    pinned = {out["path"]: out["md5"] for stage in lock.values() for out in stage.get("outs", [])}
    assert all(f"build/models/{model}/weights" in pinned for model in MODELS)
    done = subprocess.run(["git", "status", "--porcelain", "build"], cwd=project, capture_output=True, text=True)
    assert done.stdout == "", "nothing that was fetched is git's"
    again = run(project, "dvc", "repro", "gate@opt-125m-wpn").stdout
    assert "Running stage" not in again, "and no hub is asked again"
