"""Two processes over gloo, by accelerate's own launcher, train as one does: every method, every way of the loop."""

import copy
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.wpn.loops import loop
from tests.wpn.test_train import LOOP, METHODS, PAIRS, TEXTS
from tests.wpn.together import AWARE, CASES, DROPPED, HANDED_BACK, HANDED_OVER, begin, train
from wpn.data.forget import Example, Step
from wpn.errors import InputError
from wpn.parallel import Processes
from wpn.train import unlearn

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("causal_lm, way", [("opt", "ddp"), ("gpt_neo", "fsdp")], indirect=["causal_lm"])
def test_two_processes_train_as_one_does(causal_lm, tokenizer_file, tmp_path, way):
    model, tokenizer = causal_lm
    for name in HANDED_OVER:
        begin(model, tokenizer, name, tmp_path / "checkpoints")
    config = ROOT / "pipelines" / "devices" / f"{way}-cpu.yaml"
    launched = ["accelerate.commands.launch", "--config_file", config, "--main_process_port", "0"]
    architecture = model.config.model_type
    command = [
        sys.executable,
        "-m",
        *launched,
        "--module",
        "tests.wpn.together",
        tokenizer_file,
        architecture,
        tmp_path,
    ]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for name in CASES:
        alone = train(model, tokenizer, name, tmp_path / "alone")
        for rank in (0, 1):
            _same(load_file(tmp_path / f"{name}.{rank}.safetensors"), alone, (name, rank))
    for name in HANDED_BACK:
        taken_up, alone = (train(model, tokenizer, name, tmp_path / folder) for folder in ("checkpoints", "alone"))
        _same(taken_up, alone, name)
    undisturbed, resumed = ([load_file(tmp_path / f"{name}.{rank}.safetensors") for rank in (0, 1)] for name in DROPPED)
    for rank in (0, 1):
        assert undisturbed[rank].keys() == resumed[rank].keys()
        for key, weights in undisturbed[rank].items():
            assert torch.equal(resumed[rank][key], weights), (key, rank)
    plain = train(model, tokenizer, "wpn", tmp_path / "alone")
    assert not torch.allclose(undisturbed[0]["logged.loss"], plain["logged.loss"]), "and something was dropped"


def _same(found, expected, what):
    assert found.keys() == expected.keys()
    for key, weights in expected.items():
        assert torch.allclose(found[key], weights, rtol=0.0, atol=1e-6), (what, key)


def test_the_shares_of_a_step_are_the_whole_step():
    rows = [([0], [1] * length) for length in (5, 2, 4, 1, 3)]
    step = Step([Example(row, [row], row) for row in rows], rows[:3], [rows])
    shares = [step.share(rank, 2) for rank in (0, 1)]
    lengths = [[len(example.positive[1]) for example in share.examples] for share in shares]
    assert lengths == [[1, 3, 5], [2, 4]]  # rows of all lengths in both
    assert [[len(counted) for _, counted in share.retain] for share in shares] == [[2, 5], [4]]
    assert all(share.foreseen == [rows] for share in shares)
    assert step.share(0, 1) is step


class Elsewhere(Processes):
    """What it spreads lies on the meta device, as what FSDP spreads lies on the cards."""

    def spread(self, model):
        return copy.deepcopy(model).to("meta")


@pytest.mark.parametrize("rank", [0, 1])
def test_each_process_drops_units_of_its_own_and_the_precision_is_that_of_the_place_of_the_spread_model(
    causal_lm, monkeypatch, rank
):
    class Asked(Exception):
        pass

    def ask(precision, model):
        raise Asked(precision, model.device.type, torch.initial_seed())

    monkeypatch.setattr("wpn.train.uses_bf16", ask)
    settings = loop(**LOOP | {"precision": "bf16"})
    with pytest.raises(Asked) as asked:
        processes = Elsewhere(count=2, rank=rank, sharded=True)
        unlearn(*causal_lm, PAIRS, TEXTS, settings, METHODS["wpn"], 5, print, processes=processes)
    assert asked.value.args == ("bf16", "meta", 5 + rank)


def test_an_attack_on_layers_that_only_it_would_train_is_refused(causal_lm):
    method = METHODS["rmu"].model_copy(update={"relearning_aware": AWARE})
    with pytest.raises(InputError, match="rmu leaves layers as they are, which an attacker that is foreseen would not"):
        unlearn(*causal_lm, PAIRS, TEXTS, loop(**LOOP), method, 0, print, processes=Processes(count=2))


def test_a_step_with_too_few_rows_for_the_processes_is_refused(causal_lm):
    settings = loop(batch_size=5, retain_batch_size=8, accumulation=3)
    with pytest.raises(InputError, match="batch_size is 5, and 2 processes with 3 micro-batches each need 6 rows"):
        unlearn(*causal_lm, PAIRS, TEXTS, settings, METHODS["sft"], 0, print, processes=Processes(count=2))
