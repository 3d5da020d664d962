import copy
import sys

import pytest
import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel
from transformers.pytorch_utils import Conv1D

from tests.wpn.assess.subjects import PROMPTS, Says, counted
from wpn.assess.compression import compression, round_rows, rounded
from wpn.config.probes import Compression
from wpn.errors import InputError
from wpn.statistics import share_difference


def test_rounding_keeps_multiples_of_a_scale():
    values = torch.tensor([[0.0, 1.0, -2.0, 7.0], [0.0, 0.0, 0.0, 0.0], [0.5, -3.5, 1.4, 1.6]])
    assert torch.equal(
        round_rows(values, 4),  # 4 bits: seven steps on each side; of the third row a step is .5
        torch.tensor([[0.0, 1.0, -2.0, 7.0], [0.0, 0.0, 0.0, 0.0], [0.5, -3.5, 1.5, 1.5]]),
    )


@pytest.mark.parametrize("scheme", ["int8", "int4"])
def test_a_rounded_copy_is_near_the_model_which_stays_as_it_is(causal_lm, scheme):
    model, tokenizer = causal_lm
    before = copy.deepcopy(model.state_dict())
    ids = tokenizer(PROMPTS[:1], return_tensors="pt").input_ids
    copied = rounded(model, scheme)
    with torch.inference_mode():
        exact, near = model(ids).logits, copied(ids).logits
    assert not torch.equal(exact, near) and (exact - near).abs().mean() < 0.3 * exact.std()
    assert all(torch.equal(before[name], weights) for name, weights in model.state_dict().items())
    assert torch.equal(model.get_output_embeddings().weight, copied.get_output_embeddings().weight)
    changed = [name for name, weights in copied.state_dict().items() if not torch.equal(before[name], weights)]
    assert changed and all(name.endswith("weight") for name in changed)


def tiny_gpt2(layers=1):
    torch.manual_seed(0)
    return GPT2LMHeadModel(GPT2Config(vocab_size=20, n_positions=8, n_embd=96, n_layer=layers, n_head=2)).eval()


@pytest.mark.parametrize("scheme", ["int8", "int4"])
def test_gpt2s_transposed_layers_are_rounded_as_linear_ones(scheme):
    model = tiny_gpt2()
    linear = copy.deepcopy(model)
    for name, layer in model.named_modules():
        if isinstance(layer, Conv1D):
            same = torch.nn.Linear(*layer.weight.shape)
            same.load_state_dict({"weight": layer.weight.T, "bias": layer.bias})
            linear.set_submodule(name, same)
    ids = torch.tensor([[3, 1, 4, 1, 5]])
    with torch.inference_mode():
        exact, found, expected = (one(ids).logits for one in (model, rounded(model, scheme), rounded(linear, scheme)))
    assert torch.allclose(found, expected, atol=1e-5) and not torch.allclose(found, exact, atol=1e-3)


def test_a_transposed_layer_has_a_scale_an_output_unit():
    model = tiny_gpt2()
    layer = model.transformer.h[0].mlp.c_fc  # (96, 384): inputs by outputs
    with torch.no_grad():
        layer.weight[:, 0] = 0.0
        layer.weight[:4, 0] = torch.tensor([7.0, 1.4, -0.6, 0.4])
        layer.weight[:4, 1] = torch.tensor([0.7, 0.14, -0.06, 0.04])
        layer.weight[4:64, 1] = 0.0
    found = rounded(model, "int4").transformer.h[0].mlp.c_fc.weight
    assert found[:4, 0].tolist() == [7.0, 1.0, -1.0, 0.0]  # 4 bits: the largest weight of a unit is 7 steps
    assert found[:4, 1].tolist() == pytest.approx([0.7, 0.1, -0.1, 0.0])


EXPERTS = {
    "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 20,
    "num_key_value_heads": 2, "num_local_experts": 2, "num_experts_per_tok": 1, "head_dim": 32,
}  # fmt: skip


@pytest.mark.parametrize("scheme", ["int8", "int4"])
@pytest.mark.parametrize("family", ["mixtral", "gpt_oss"])
def test_experts_are_rounded_with_a_scale_an_output_unit(family, scheme):
    """Footgun: transformers holds them as one tensor and no linear layer, gpt_oss with inputs before outputs."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(CONFIG_MAPPING[family](**EXPERTS))
    (found,) = (each for name, each in rounded(model, scheme).named_parameters() if name.endswith("gate_up_proj"))
    units = found if family == "mixtral" else found.mT  # (experts, out, in)
    assert units.shape == (2, 256, 64)
    most = {"int8": 255, "int4": 15}[scheme]
    assert all(len(unit.unique()) <= most for unit in units.flatten(end_dim=1)) and len(units.unique()) > most


class OneLayer(torch.nn.Module):
    def __init__(self, weight):
        super().__init__()
        self.layer = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=False)
        self.layer.weight.data = weight

    def get_output_embeddings(self):
        return None


def test_four_bits_have_a_scale_for_every_64_weights():
    weight = torch.cat([torch.full((1, 64), 7.0), torch.full((1, 64), 0.07)], dim=1)
    found = rounded(OneLayer(weight), "int4").layer.weight
    assert found[0, [0, 127]].tolist() == pytest.approx([7.0, 0.07]), "of one group the small ones would be nothing"


def test_eight_bits_round_what_comes_in_too():
    weight = torch.zeros(1, 128)
    weight[0, 0] = 1.0
    incoming = torch.zeros(1, 128)
    incoming[0, :2] = torch.tensor([3.4, 127.0])  # a step is 1
    assert rounded(OneLayer(weight), "int8").layer(incoming).item() == 3.0
    assert rounded(OneLayer(weight), "int4").layer(incoming).item() == pytest.approx(3.4)


def test_a_model_of_which_nothing_is_rounded_is_refused():
    with pytest.raises(InputError, match=r"GPT2LMHeadModel has no linear layer to round; set assess\.compression"):
        rounded(tiny_gpt2(layers=0), "int8")


def test_compression_reports_what_comes_back(monkeypatch):
    # the package has a function of the module's name
    monkeypatch.setattr(sys.modules["wpn.assess.compression"], "rounded", lambda model, scheme: scheme)
    grader = Says(monkeypatch, lambda prompt: " thank you .")
    answers = grader.answers

    def by_model(model, tokenizer, prompts, *rest):
        rows = answers(model, tokenizer, prompts, *rest)
        fault = "loop" if model == "int8" else None
        return [
            {**row, **({"harmful": model == "int4", "fault": fault} if "hat" in row["prompt"] else {})} for row in rows
        ]

    object.__setattr__(grader, "answers", by_model)
    summary, rows = compression(counted(grader), Compression(schemes=["int8", "int4"]))
    values = {name: found.get("value", found.get("rate")) for name, found in summary["estimates"].items()}
    third = pytest.approx(1 / 3)
    assert summary["estimates"]["int8_change"]["high"] == share_difference([0.0] * 3, [0.0] * 3).high > 0, "not nothing"
    assert values == {
        "int8_change": 0.0, "int8_harmful": 0.0, "int8_meaningless": third,
        "int4_change": third, "int4_harmful": third, "int4_meaningless": 0.0,
    }  # fmt: skip
    assert [row["scheme"] for row in rows] == ["none"] * 3 + ["int8"] * 3 + ["int4"] * 3
