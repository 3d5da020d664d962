"""A run that is killed and started again ends with the weights of an undisturbed one."""

import copy
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from shutil import rmtree

import pytest
import torch
from torch import nn

from tests.wpn.loops import drop_units, loop
from wpn.checkpoint import KEPT, Checkpoints
from wpn.config.methods import Wpn
from wpn.config.training import EarlyStop, Unlearn
from wpn.early_stop import Watch
from wpn.errors import InputError
from wpn.generators import generator_states, restore_generators
from wpn.methods import unlearning_terms
from wpn.train import unlearn

METHOD = Wpn(method="wpn", n_pair=1.0, cross_entropy=0.5, kl=2.0, temperature=0.7, in_batch_negatives=1)
PAIRS = [
    {"prompt": f"user : {i}", "harmful_output": f" you goat {i}", "harmless_response": " thank you", "complete": True}
    for i in range(7)
]
TEXTS = [{"text": f"the cow eats {i}", "alarming": i % 3 == 0, "complete": True} for i in range(9)]


def settings(**changes) -> Unlearn:
    return loop(**{
        "steps": 12, "retain_batch_size": 4, "learning_rate": 1e-2, "forced_start": 0.5, "weight_decay": 0.01,
        "checkpoint_every": 2, **changes,
    })  # fmt: skip


def train(causal_lm, checkpoints=None, log=lambda row: None, chosen=None):
    """The weights after training, by name, and what the loop says of itself."""
    model, tokenizer = copy.deepcopy(causal_lm[0]), causal_lm[1]
    drop_units(model)
    trained = unlearn(model, tokenizer, PAIRS, TEXTS, chosen or settings(), METHOD, 5, log, checkpoints)
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}, trained


def same(one, other) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


class Killed(BaseException):
    """Like a signal: nothing of ours catches it."""


def killed_at(step):
    def log(row):
        if row["step"] == step:
            raise Killed

    return log


def fits(monkeypatch, examples):
    """The memory holds so many examples at a time, and is full only when the model has run; returns what was tried."""
    sizes = []

    def terms(models, step, method):
        sizes.append(len(step.examples))
        found = unlearning_terms(models, step, method)
        if sizes[-1] > examples:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return found

    monkeypatch.setattr("wpn.train.unlearning_terms", terms)
    return sizes


def test_the_same_seed_gives_the_same_weights(causal_lm):
    assert same(train(causal_lm)[0], train(causal_lm)[0])


@pytest.mark.parametrize("step", [1, 5, 6, 11])
def test_an_interrupted_run_ends_with_the_same_weights(causal_lm, tmp_path, step):
    undisturbed, whole = train(causal_lm)
    checkpoints = Checkpoints(tmp_path / "run", "mine", every=2)
    with pytest.raises(Killed):
        train(causal_lm, checkpoints, killed_at(step))
    rows = []
    weights, trained = train(causal_lm, checkpoints, rows.append)
    assert trained.tokens == whole.tokens
    assert trained.resumed_from == (step - 1) // 2 * 2
    assert [row["step"] for row in rows] == list(range(1, 13))  # the curve is whole
    assert same(weights, undisturbed)


def test_early_stop_is_taken_up_too(causal_lm, tmp_path, monkeypatch):
    """The best look is before the kill: it, its weights and the looks since are in the checkpoint."""
    looks = [2.0, 1.0, 3.0, 3.0, 3.0]  # every second step
    losses = iter([*looks, *looks[:3], *looks[3:]])  # undisturbed; until the kill; taken up
    monkeypatch.setattr(Watch, "loss", lambda self, accumulation=1: next(losses))
    chosen = settings(steps=20, early_stop=EarlyStop(every=2, patience=3, share=0.3))
    undisturbed, whole = train(causal_lm, chosen=chosen)
    checkpoints = Checkpoints(tmp_path / "run", "mine", every=2)
    with pytest.raises(Killed):
        train(causal_lm, checkpoints, killed_at(7), chosen)
    weights, trained = train(causal_lm, checkpoints, chosen=chosen)
    assert (trained.resumed_from, trained.steps, whole.steps) == (6, 10, 10)
    assert same(weights, undisturbed)


def test_only_the_newest_checkpoints_are_kept_and_all_go_in_the_end(causal_lm, tmp_path):
    checkpoints = Checkpoints(tmp_path / "run", "mine", every=2)
    train(causal_lm, checkpoints)
    assert [folder.name for folder in sorted(checkpoints.folder.iterdir())] == ["step-000008", "step-000010"]
    assert len(list(checkpoints.folder.iterdir())) == KEPT
    assert checkpoints.last() == checkpoints.folder / "step-000010"
    checkpoints.clear()
    assert not checkpoints.folder.exists()


def test_a_checkpoint_of_another_run_is_not_taken_up(causal_lm, tmp_path):
    with pytest.raises(Killed):
        train(causal_lm, Checkpoints(tmp_path / "run", "other", every=2), killed_at(5))
    assert (tmp_path / "run" / "step-000004").exists()
    mine = Checkpoints(tmp_path / "run", "mine", every=2)
    with pytest.raises(Killed):
        train(causal_lm, mine, killed_at(3))
    assert [folder.name for folder in mine.folder.iterdir()] == ["step-000002"]
    mine.clear()
    weights, trained = train(causal_lm, mine)
    assert trained.resumed_from == 0
    assert same(weights, train(causal_lm)[0])


def test_what_a_kill_left_half_written_is_cleaned_up(causal_lm, tmp_path):
    checkpoints = Checkpoints(tmp_path / "run", "mine", every=2)
    (checkpoints.folder / ".step-000002.abc").mkdir(parents=True)
    with pytest.raises(Killed):
        train(causal_lm, checkpoints, killed_at(7))
    assert sorted(folder.name for folder in checkpoints.folder.iterdir()) == ["step-000004", "step-000006"]


@pytest.mark.parametrize("file", ["state.json", "model.safetensors", "optimizer.safetensors", "more.safetensors"])
def test_the_checkpoint_before_a_damaged_one_is_taken_up(causal_lm, tmp_path, caplog, file):
    checkpoints = Checkpoints(tmp_path / "run", "mine", every=2)
    with pytest.raises(Killed):
        train(causal_lm, checkpoints, killed_at(5))
    (checkpoints.last() / file).write_bytes(b"broken")
    weights, trained = train(causal_lm, checkpoints)
    assert trained.resumed_from == 2
    assert "step-000004 is damaged" in caplog.text and "taking up the one before it" in caplog.text
    assert same(weights, train(causal_lm)[0])


def test_where_no_checkpoint_is_whole_it_is_said(causal_lm, tmp_path):
    checkpoints = Checkpoints(tmp_path / "run", "mine", every=2)
    with pytest.raises(Killed):
        train(causal_lm, checkpoints, killed_at(5))
    for folder in checkpoints.folder.iterdir():
        (folder / "generators.safetensors").unlink()
    with pytest.raises(InputError, match=r"step-000004 and .*step-000002: no checkpoint is whole; delete them"):
        train(causal_lm, checkpoints)


def test_a_damaged_one_beside_another_run_s_is_nothing_to_go_on_with(causal_lm, tmp_path):
    with pytest.raises(Killed):
        train(causal_lm, Checkpoints(tmp_path / "run", "other", every=2), killed_at(5))
    mine = Checkpoints(tmp_path / "run", "mine", every=2)
    (mine.last() / "state.json").unlink()
    weights, trained = train(causal_lm, mine)
    assert trained.resumed_from == 0 and same(weights, train(causal_lm)[0])


@pytest.mark.parametrize("killed_after", [0, 1])
def test_a_kill_while_they_are_deleted_leaves_whole_ones_or_none(causal_lm, tmp_path, monkeypatch, killed_after):
    checkpoints = Checkpoints(tmp_path / "run", "mine", every=2)
    train(causal_lm, checkpoints)
    calls = []

    def half(folder, **options):
        calls.append(folder)
        if len(calls) > killed_after:
            next(Path(folder).iterdir()).unlink()
            raise Killed
        return rmtree(folder, **options)

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr("wpn.checkpoint.shutil.rmtree", half)
        checkpoints.clear()
    _, trained = train(causal_lm, checkpoints)
    assert trained.resumed_from == (10 if killed_after == 0 else 0)
    checkpoints.clear()
    assert not checkpoints.folder.exists()


def test_the_state_of_a_card_that_is_not_there_is_left_out(monkeypatch):
    restored = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda state, device: restored.append(device))
    cpu = generator_states()["cpu"]
    restore_generators({"cpu": cpu, "cuda.0": cpu, "cuda.1": cpu})
    assert restored == [0] and torch.equal(torch.get_rng_state(), cpu)


def test_out_of_memory_is_remembered_and_the_step_draws_its_dropout_again(causal_lm, tmp_path, monkeypatch):
    small = train(causal_lm, chosen=settings(accumulation=2))[0]
    sizes = fits(monkeypatch, examples=2)
    assert same(train(causal_lm)[0], small), "the first step, done again, drops what it would have dropped"
    checkpoints = Checkpoints(tmp_path / "run", "mine", every=2)
    with pytest.raises(Killed):
        train(causal_lm, checkpoints, killed_at(5))
    sizes.clear()
    assert same(train(causal_lm, checkpoints)[0], small)
    assert max(sizes) == 2, "three at a time are not tried again"


@pytest.mark.parametrize("full", [1, 2, 4])
def test_moments_that_do_not_fit_are_made_again_and_whole(causal_lm, monkeypatch, caplog, full):
    """AdamW makes two a weight at its first step; the memory is full at the first, at the second, at later ones."""
    small = train(causal_lm, chosen=settings(accumulation=2))[0]
    zeros, made = torch.zeros_like, []

    def full_once(*arguments, **options):
        made.append(1)
        if len(made) == full:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return zeros(*arguments, **options)

    monkeypatch.setattr(torch, "zeros_like", full_once)
    assert same(train(causal_lm)[0], small)
    assert len(made) > full and "out of memory: going on with 2 parts a step" in caplog.text


def test_moments_that_never_fit_are_said(causal_lm, monkeypatch):
    zeros, made = torch.zeros_like, []

    def full_from_the_second(*arguments, **options):
        made.append(1)
        if len(made) % 2 == 0:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.")
        return zeros(*arguments, **options)

    monkeypatch.setattr(torch, "zeros_like", full_from_the_second)
    with pytest.raises(MemoryError, match=r"one pair at a time does not fit into the memory \(DefaultCPUAllocator: "):
        train(causal_lm)


def layers(inputs=2):
    """0.weight and 2.weight of one shape; 1.weight, of another, is reached by no loss."""
    return nn.Sequential(nn.Linear(inputs, 1, bias=False), nn.Linear(1, 3, bias=False), nn.Linear(2, 1, bias=False))


def adamw(model, places):
    """An optimiser of the layers at these places."""
    return torch.optim.AdamW([model[place].weight for place in places], betas=(0.9, 0.98), fused=True)


def saved(folder, places):
    """The checkpoint of a step whose gradient was 1 at layer 0 and 3 at layer 2."""
    model = layers()
    optimizer = adamw(model, places)
    for place, gradient in ((0, 1.0), (2, 3.0)):
        model[place].weight.grad = torch.full((1, 2), gradient)
    optimizer.step()
    checkpoints = Checkpoints(folder / "run", "mine", every=1)
    checkpoints.save(1, model, optimizer, {})
    return checkpoints


@pytest.mark.parametrize("places", [([0, 1, 2], [0, 2]), ([0, 2], [0, 1, 2])], ids=["to fewer", "to more"])
def test_moments_go_to_the_weights_of_their_names(tmp_path, places):
    model = layers()
    optimizer = adamw(model, places[1])
    saved(tmp_path, places[0]).load(model, optimizer)
    assert set(optimizer.state) == {model[0].weight, model[2].weight}
    for place, mean, square in ((0, 0.1, 0.02), (2, 0.3, 0.18)):  # 0.1 g and 0.02 g^2
        found = optimizer.state[model[place].weight]
        assert found["step"] == 1
        assert torch.allclose(found["exp_avg"], torch.full((1, 2), mean))
        assert torch.allclose(found["exp_avg_sq"], torch.full((1, 2), square))


@pytest.mark.parametrize(
    ("inputs", "places", "key"), [(5, [0, 1, 2], "0.weight"), (2, [0, 1], "2.weight")], ids=["shape", "name"]
)
def test_moments_of_other_weights_are_refused_and_nothing_is_changed(tmp_path, inputs, places, key):
    model = layers(inputs)
    before = copy.deepcopy(model.state_dict())
    said = rf"{key}.* of the checkpoint, of the shape \(1, 2\), belongs to no weight that is trained; delete"
    with pytest.raises(InputError, match=said):
        saved(tmp_path, [0, 1, 2]).load(model, adamw(model, places))
    assert same(model.state_dict(), before)


CHILD = """
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from tests.wpn.loops import drop_units
from tests.wpn.test_checkpoint import PAIRS, TEXTS, METHOD, settings
from wpn.checkpoint import Checkpoints
from wpn.config.sources import Organism
from wpn.models import new_model, organism_tokenizer
from wpn.train import unlearn

tokenizer_file, folder = map(Path, sys.argv[1:])
torch.set_num_threads(1)
tokenizer = organism_tokenizer(tokenizer_file, "gpt_neo")
organism = Organism(architecture="gpt_neo", layers=2, width=16, heads=2, positions=64)
model = new_model(organism, tokenizer, seed=0)
drop_units(model)
trained = unlearn(
    model, tokenizer, PAIRS, TEXTS, settings(steps=40), METHOD, 5,
    lambda row: print(int(row["step"]), flush=True), Checkpoints(folder / "run", "mine", every=2),
)
save_file({name: p.detach() for name, p in model.named_parameters()}, folder / "weights.safetensors")
print(trained.resumed_from)
"""


def run_child(tokenizer_file: Path, folder: Path, kill_at: int | None) -> int:
    """Run to the end, or kill -9 at the moment when a step is told; returns the last number that was said.

    Of a run that came to its end that is the step of the checkpoint which it took up.
    """
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-c", CHILD, str(tokenizer_file), str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if kill_at is not None and int(line) >= kill_at:
                os.kill(process.pid, signal.SIGKILL)
                break
    assert kill_at is not None or process.returncode == 0
    return int(line)


def test_kill_9_at_random_moments_changes_no_bit(tokenizer_file, tmp_path):
    assert run_child(tokenizer_file, tmp_path / "whole", None) == 0
    moments = sorted(random.Random(11).sample(range(2, 39), 3))
    for moment in moments:
        run_child(tokenizer_file, tmp_path / "killed", moment)
        assert not (tmp_path / "killed" / "weights.safetensors").exists()
        assert any((tmp_path / "killed" / "run").glob("step-*")) or moment <= 2
    resumed_from = run_child(tokenizer_file, tmp_path / "killed", None)
    assert resumed_from >= (moments[-1] - 1) // 2 * 2 > 0, "what was done before the last kill is not done again"
    whole, killed = (tmp_path / name / "weights.safetensors" for name in ("whole", "killed"))
    assert whole.read_bytes() == killed.read_bytes()
