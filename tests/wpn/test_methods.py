"""The losses of the methods against numbers made by hand, in float64."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from wpn.config.methods import Dpo, Ga, GradDiff, GradientPenalty, Icu, Llmu, Npo, Rmu, SafeUnlearning, Sft, SimNpo, Wpn
from wpn.data.forget import Example, Step
from wpn.errors import InputError
from wpn.losses.n_pair import n_pair_loss
from wpn.methods import rmu, total_loss, unlearning_terms
from wpn.methods.dpo import dpo_loss
from wpn.methods.gradient_penalty import pooled_norm
from wpn.methods.npo import npo_loss
from wpn.methods.rmu import direction, squared_distance
from wpn.methods.safe_unlearning import unlikelihood_loss
from wpn.methods.simnpo import simnpo_loss
from wpn.objective import Models

LOG2, LOG3 = math.log(2), math.log(3)


def values(*numbers):
    return torch.tensor(numbers, dtype=torch.float64)


class Bigram(nn.Module):
    """A language model one can do by hand: token i is followed by j with probability `table[i][j]`."""

    def __init__(self, table, scale=2.0):
        super().__init__()
        self.scale = scale  # of the states after layer 1
        self.head = nn.Parameter(torch.tensor(table, dtype=torch.float64).log())
        self.device = torch.device("cpu")

    def forward(self, input_ids, **_):
        states = nn.functional.one_hot(input_ids, len(self.head)).double().requires_grad_()
        return SimpleNamespace(logits=states @ self.head, hidden_states=[states, self.scale * states, states])


UNIFORM = [[1 / 4] * 4] * 4
TILTED = [[1 / 8, 5 / 8, 1 / 8, 1 / 8], [1 / 4] * 4, [1 / 4] * 4, [1 / 4] * 4]
# after prompt 0 the harmless response is 1, the harmful output 2, another prompt's answer 3; the text is 0 1 2
STEP = Step([Example(([0], [1]), [([0], [2])], ([0], [3]), ([0], [3, 1]))], [([0], [1, 2])])


def found(method, trained=TILTED, frozen=UNIFORM, step=STEP):
    """The terms by name, as numbers: p(1|0) went from 1/4 to 5/8, all others after 0 from 1/4 to 1/8."""
    terms = unlearning_terms(Models(Bigram(trained), Bigram(frozen), fill=0), step, method)
    return {name: term.item() for name, term in (terms.forget | terms.retain).items()}


CASES = [
    (Sft(method="sft", retain=1.0), {"cross_entropy": -math.log(5 / 8), "retain": (math.log(8 / 5) + math.log(4)) / 2}),
    # KL(uniform || tilted) after 0 is 1/4 log(2/5) + 3/4 log 2, and 0 after 1
    (Sft(method="sft", kl=1.0), {"cross_entropy": math.log(8 / 5), "kl": (0.25 * math.log(0.4) + 0.75 * LOG2) / 2}),
    (Ga(method="ga"), {"ascent": math.log(1 / 8)}),
    (
        GradDiff(method="grad_diff", retain=1.0),
        {"ascent": math.log(1 / 8), "retain": (math.log(8 / 5) + math.log(4)) / 2},
    ),
    (Llmu(method="llmu", kl=0.0), {"ascent": math.log(1 / 8), "mismatch": math.log(8)}),
    # the harmful output's ratio is 1/2, the harmless one's 5/2
    (Npo(method="npo", beta=1.0), {"npo": 2 * math.log(1 + 1 / 2)}),
    (SimNpo(method="simnpo", beta=1.0), {"simnpo": 2 * math.log(1 + 1 / 8)}),
    (Dpo(method="dpo", beta=1.0), {"dpo": math.log(1 + 1 / 5)}),
    (
        SafeUnlearning(method="safe_unlearning", retain=0.0),
        {"cross_entropy": math.log(8 / 5), "unlikelihood": math.log(3 / 2)},
    ),
    (
        Icu(method="icu", retain=0.5, kl=1.0),  # its neighbour is 0 3 1
        {
            "ascent": math.log(1 / 8),
            "retain": (math.log(8) + math.log(4)) / 2,
            "kl": (0.25 * math.log(0.4) + 0.75 * LOG2) / 2,
        },
    ),
    (
        Wpn(method="wpn", n_pair=1.0, cross_entropy=1.0),
        {"cross_entropy": math.log(8 / 5), "n_pair": math.log(1 + 1 / 5)},
    ),
    # the frozen model gave both the same, so counted from it nothing changes here
    (Wpn(method="wpn", n_pair=1.0, cross_entropy=0.0, reference=True), {"n_pair": math.log(1 + 1 / 5)}),
]  # fmt: skip


@pytest.mark.parametrize(("method", "expected"), CASES, ids=[f"{m.method}-{'-'.join(e)}" for m, e in CASES])
def test_the_terms_by_hand(method, expected):
    assert found(method) == pytest.approx(expected, abs=1e-12)


# After 0 the harmful output 2 2 has 1/8 and 1/2, under the frozen model 1/2 and 1/2; the harmless response 1 has 5/8,
# under the frozen model 1/4. Summed over the tokens the harmful output's ratio is 1/4, averaged 1/2.
LONG = Step([Example(([0], [1]), [([0], [2, 2])])], [])
LONGER = [TILTED[0], UNIFORM[1], [1 / 6, 1 / 6, 1 / 2, 1 / 6], UNIFORM[3]]
FROZEN = [[1 / 8, 1 / 4, 1 / 2, 1 / 8], *LONGER[1:]]
LONG_CASES = [
    (Npo(method="npo", beta=1.0), {"npo": 2 * math.log(1 + 1 / 4)}),
    (Dpo(method="dpo", beta=1.0), {"dpo": math.log(1 + (1 / 4) / (5 / 2))}),
    (
        SafeUnlearning(method="safe_unlearning", retain=0.0),
        {"cross_entropy": math.log(8 / 5), "unlikelihood": math.log(1 + 1 / 2)},
    ),
    # the geometric mean of 1/8 and 1/2 is 1/4; beta 2 squares it
    (SimNpo(method="simnpo", beta=2.0), {"simnpo": math.log(1 + 1 / 16)}),
    (Ga(method="ga"), {"ascent": math.log(1 / 4)}),
]  # fmt: skip


@pytest.mark.parametrize(("method", "expected"), LONG_CASES, ids=[m.method for m, _ in LONG_CASES])
def test_sums_and_means_over_the_tokens_by_hand(method, expected):
    assert found(method, LONGER, FROZEN, LONG) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        (Llmu(method="llmu", mismatch=0.0, kl=0.0), {"ascent": math.log(1 / 8)}),
        (
            SafeUnlearning(method="safe_unlearning", cross_entropy=0.0, retain=0.0),
            {"unlikelihood": math.log(1 + 1 / 2)},
        ),
    ],
    ids=["llmu", "safe_unlearning"],
)
def test_what_has_no_weight_is_not_read_where_a_response_has_no_tokens(method, expected):
    """Footgun: the mean over no tokens is not a number, and 0 times it is none either."""
    step = Step([Example(([0], []), [([0], [2])], ([0], []))], [])
    assert found(method, step=step) == pytest.approx(expected, abs=1e-12)
    models = Models(Bigram(TILTED), Bigram(UNIFORM), fill=0)
    assert total_loss(unlearning_terms(models, step, method), method).isfinite()


def test_the_unlikelihood_of_safe_unlearning_is_half_of_npo_of_means():
    log_ratios = values(0.3, -2.0)
    assert unlikelihood_loss(log_ratios).item() == pytest.approx(npo_loss(log_ratios, 1.0).item() / 2, abs=1e-12)


def test_the_n_pair_term_of_one_negative_is_beta_times_dpo():
    positive, negative = values(0.3, -2.0), values(-0.5, 1.0)
    n_pair = n_pair_loss(positive, negative[:, None], temperature=0.25).item()
    assert n_pair == pytest.approx(4.0 * dpo_loss(positive, negative, 4.0).item(), abs=1e-12)


def test_with_reference_scores_a_margin_is_what_has_changed():
    # frozen: harmful 3/4, harmless 1/8; trained: 1/4 and 5/8. The margin has changed by log 5 - log(1/3) = log 15
    frozen, trained = ([row, *UNIFORM[1:]] for row in ([1 / 16, 1 / 8, 3 / 4, 1 / 16], [1 / 16, 5 / 8, 1 / 4, 1 / 16]))
    method = Wpn(method="wpn", n_pair=1.0, cross_entropy=0.0, reference=True)
    assert found(method, frozen, frozen)["n_pair"] == pytest.approx(LOG2, abs=1e-12)
    assert found(method, trained, frozen)["n_pair"] == pytest.approx(math.log(1 + 1 / 15), abs=1e-12)


# Minus log2 of the likelihoods: after 0 the tokens of 1 1 have 4 1, of 2 2 3 6 and of 3 3 5 2; after 3 the tokens of
# 1 1 have 1 1, of 3 3 2 2 and of 2 2 3 6. Position weights are of single precision, hence 1e-6.
HALVES = [
    [25 / 32, 1 / 16, 1 / 8, 1 / 32],
    [1 / 6, 1 / 2, 1 / 6, 1 / 6],
    [21 / 64, 21 / 64, 1 / 64, 21 / 64],
    [1 / 8, 1 / 2, 1 / 8, 1 / 4],
]
PAIR = Step([Example(([0], [1, 1]), [([0], [2, 2])])], [])
POSITION_CASES = [
    ("linear", 1 / 8),  # harmful (3 + 2 * 6) / 3 = 5, harmless (4 + 2 * 1) / 3 = 2
    ("uniform", 1 / 4),  # 9 / 2 and 5 / 2
    ("reversed", 1 / 2),  # (2 * 3 + 6) / 3 = 4 and (2 * 4 + 1) / 3 = 3
]


@pytest.mark.parametrize(("weights", "ratio"), POSITION_CASES, ids=[w for w, _ in POSITION_CASES])
def test_wpn_weighs_log_likelihoods_by_position_by_hand(weights, ratio):
    method = Wpn(method="wpn", n_pair=1.0, cross_entropy=0.0, position_weights=weights)
    assert found(method, HALVES, step=PAIR) == pytest.approx({"n_pair": math.log(1 + ratio)}, abs=1e-6)


REFERENCE_CASES = [
    ("linear", 1 / 64),  # harmful 5 - 2 = 3, harmless 2 - 5 = -3
    ("uniform", 1 / 16),  # 9 / 2 - 5 / 2 = 2 and 5 / 2 - 9 / 2 = -2
    ("reversed", 1 / 4),  # 4 - 3 = 1 and 3 - 4 = -1
]


@pytest.mark.parametrize(("weights", "ratio"), REFERENCE_CASES, ids=[w for w, _ in REFERENCE_CASES])
def test_wpn_weighs_what_has_changed_by_position_by_hand(weights, ratio):
    # the frozen model has them exchanged: 1 1 has 3 6, 2 2 has 4 1; the cross-entropy does not count from it
    frozen = [[13 / 32, 1 / 8, 1 / 16, 13 / 32], [21 / 64, 1 / 64, 21 / 64, 21 / 64], [1 / 6, 1 / 6, 1 / 2, 1 / 6]]
    frozen += UNIFORM[3:]
    method = Wpn(method="wpn", n_pair=1.0, cross_entropy=1.0, position_weights=weights, reference=True)
    expected = {"cross_entropy": (4 + 1) / 2 * LOG2, "n_pair": math.log(1 + ratio)}
    assert found(method, HALVES, frozen, PAIR) == pytest.approx(expected, abs=1e-6)


def test_wpn_sums_over_the_own_and_the_in_batch_negative_by_hand():
    examples = [
        Example(([0], [1, 1]), [([0], [2, 2]), ([0], [3, 3])]),  # 2 against 5 and (5 + 2 * 2) / 3 = 3
        Example(([3], [1, 1]), [([3], [3, 3]), ([3], [2, 2])]),  # 1 against 2 and 5
    ]
    method = Wpn(method="wpn", n_pair=1.0, cross_entropy=0.0, temperature=0.5, in_batch_negatives=1)
    # temperature 1/2 doubles the margins -3 -1 and -1 -4
    expected = (math.log(1 + 1 / 64 + 1 / 4) + math.log(1 + 1 / 4 + 1 / 256)) / 2
    assert found(method, HALVES, step=Step(examples, [])) == pytest.approx({"n_pair": expected}, abs=1e-6)


# The state of token k is e_k. A pooled pair a b points to e_a + 2 e_b (linear) or 2 e_a + e_b (reversed), of length
# sqrt 5, and the prompt 2 3 2 to 2 e_2 + e_3 both ways: so all cosines are fifths, which the temperature makes whole.
HIDDEN = Step(
    [
        # linear: (1 2 0 0) with (0 2 1 0), (1 0 0 2), (0 2 0 1): 4 against 1 and 4
        # reversed: (2 1 0 0) with (0 1 2 0), (2 0 0 1), (0 1 0 2): 1 against 4 and 1
        Example(([0, 1], [2, 1]), [([0, 1], [0, 3]), ([0, 1], [3, 1])]),
        # linear: (0 0 2 1) with (0 0 2 1), (0 2 0 1), (1 0 0 2): 5 against 1 and 2
        # reversed: (0 0 2 1) with (0 0 1 2), (0 1 0 2), (2 0 0 1): 4 against 2 and 1
        Example(([2, 3, 2], [3, 2]), [([2, 3, 2], [3, 1]), ([2, 3, 2], [0, 3])]),
    ],
    [],
)
HIDDEN_CASES = [("linear", (-3, 0), (-4, -3)), ("reversed", (3, 0), (-2, -3))]


@pytest.mark.parametrize(("weights", "first", "second"), HIDDEN_CASES, ids=[w for w, *_ in HIDDEN_CASES])
def test_wpn_compares_pooled_prompt_and_response_by_hand(weights, first, second):
    method = Wpn(
        method="wpn", n_pair=1.0, cross_entropy=0.0, reading="hidden", position_weights=weights, temperature=1 / 5
    )
    expected = sum(math.log(1 + math.exp(own) + math.exp(other)) for own, other in (first, second)) / 2
    assert found(method, UNIFORM, step=HIDDEN) == pytest.approx({"n_pair": expected}, abs=1e-6)


def test_the_loss_is_the_weighted_sum_of_the_terms():
    method = Llmu(method="llmu", ascent=0.5, mismatch=2.0, kl=0.0)
    terms = unlearning_terms(Models(Bigram(TILTED), Bigram(UNIFORM), fill=0), STEP, method)
    assert total_loss(terms, method).item() == pytest.approx(-0.5 * math.log(8) + 2 * math.log(8), abs=1e-12)


def test_gradient_penalty_by_hand():
    # the state of token 0 is e0, so the logits are its row of the table, and d loss / d state_k = (head (p - e2))_k:
    # with all rows but the first the same, p - e2 sums to 0 there. Row 0: sum_j log p_j (p_j - [j = 2]).
    p = TILTED[0]
    first = sum(math.log(p_j) * (p_j - (j == 2)) for j, p_j in enumerate(p))
    assert found(GradientPenalty(method="gradient_penalty"))["penalty"] == pytest.approx(first**2, abs=1e-12)
    assert found(GradientPenalty(method="gradient_penalty"), UNIFORM)["penalty"] == pytest.approx(0.0, abs=1e-12)


def test_the_penalty_is_of_the_mean_over_tokens_and_weighs_the_states_by_position():
    # Output 2 2: the states of tokens 0 and 2 weigh 1/3 and 2/3, and the mean halves both gradients. Row 2 is uniform,
    # so there p - e2 is 1/4 - [j = 2]; both states point the same way in the head, whose other rows are the same.
    p = TILTED[0]
    first = sum(math.log(p_j) * (p_j - (j == 2)) for j, p_j in enumerate(p))
    second = sum(math.log(p_j) * (1 / 4 - (j == 2)) for j, p_j in enumerate(p))
    step = Step([Example(([0], [1]), [([0], [2, 2])])], [])
    penalty = found(GradientPenalty(method="gradient_penalty"), step=step)["penalty"]
    assert penalty == pytest.approx(((first + 2 * second) / 6) ** 2, abs=1e-7)


def test_the_penalty_is_the_gradient_of_a_shift_of_the_states_that_predict():
    """The states of 0 and of the first 2 predict the output 2 2: h_t + w_t d; the last state predicts nothing."""
    weights = values(1 / 3, 2 / 3)[:, None]
    head, states = torch.tensor(TILTED, dtype=torch.float64).log(), torch.eye(4, dtype=torch.float64)[[0, 2]]

    def nll(shift):
        return -((states + weights * shift) @ head).log_softmax(1)[:, 2].mean()

    gradient = torch.autograd.functional.jacobian(nll, torch.zeros(4, dtype=torch.float64))
    step = Step([Example(([0], [1]), [([0], [2, 2])])], [])
    penalty = found(GradientPenalty(method="gradient_penalty"), step=step)["penalty"]
    assert penalty == pytest.approx(gradient.square().sum().item(), abs=1e-7)


def test_the_gradient_is_pooled_by_position():
    # weights 1/3, 2/3: (1, 2) / 3 -> squared norm 5/9; the masked state does not count
    gradient = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [9.0, 9.0]]])
    assert pooled_norm(gradient, torch.tensor([[1, 1, 0]])).item() == pytest.approx(5 / 9)


def test_rmu_by_hand():
    # States after layer 1 are 2 e_token. The harmful output is token 2 and token 0 predicts it; u has length 1 and c is
    # 3. ||2 e_k - 3 u||^2 = 4 - 12 u_k + 9, and the mean is over both tokens and 4 dimensions.
    u = direction(4).double()
    terms = found(Rmu(method="rmu", layer=1, coefficient=3.0))
    assert terms["misdirection"] == pytest.approx((13 - 6 * (u[0] + u[2]).item()) / 4, abs=1e-6)
    assert terms["anchor"] == 0.0
    assert u.norm().item() == pytest.approx(1.0)
    assert torch.equal(rmu.direction(4), direction(4))


def test_the_anchor_of_rmu_by_hand():
    # benign states were 5 e_token and are 2 e_token: 3^2 over 4 dimensions, at each of the tokens 0 1 2
    models = Models(Bigram(UNIFORM), Bigram(UNIFORM, scale=5.0), fill=0)
    terms = unlearning_terms(models, STEP, Rmu(method="rmu", layer=1, coefficient=3.0))
    assert terms.retain["anchor"].item() == pytest.approx(9 / 4, abs=1e-12)


def test_rmu_misdirects_the_state_before_the_output_and_no_earlier_one_wherever_the_padding_is():
    rows = [([3, 3, 1], [2]), ([1], [2, 2, 2])]  # u differs in its components, so each token tells in the mean
    step = Step([Example(row, [row]) for row in rows], [])
    u = direction(4).double()
    of = [(13 - 12 * u[token].item()) / 4 for token in range(4)]
    terms = unlearning_terms(
        Models(Bigram(UNIFORM), Bigram(UNIFORM), fill=0), step, Rmu(method="rmu", layer=1, coefficient=3.0)
    )
    expected = ((of[1] + of[2]) / 2 + (of[1] + 3 * of[2]) / 4) / 2
    assert terms.forget["misdirection"].item() == pytest.approx(expected, abs=1e-6)


def test_rmu_refuses_a_layer_that_the_model_has_not():
    with pytest.raises(InputError, match="the method's layer is 3, and the model has 2; lower it"):
        found(Rmu(method="rmu", layer=3, coefficient=3.0))


def test_squared_distance_averages_dimensions_then_tokens_then_sequences():
    states = torch.tensor([[[3.0, 1.0], [1.0, 1.0]], [[1.0, 1.0], [7.0, 7.0]]])
    # row 0: (4 + 0) / 2 = 2 and 0 -> 1; row 1: only its first token counts -> 0
    assert squared_distance(states, torch.tensor([1.0, 1.0]), torch.tensor([[1, 1], [1, 0]])).item() == 0.5


def test_npo_starts_at_its_constant_and_forgotten_pairs_pull_no_more():
    assert npo_loss(values(0.0), 0.1).item() == pytest.approx(20 * LOG2)
    gradients = []
    for ratio in (0.0, -100.0):
        log_ratio = values(ratio).requires_grad_()
        npo_loss(log_ratio, 0.1).backward()
        gradients.append(log_ratio.grad.item())
    assert gradients[0] == pytest.approx(1.0)  # that of gradient ascent
    assert gradients[1] < 1e-3


def test_simnpo_by_hand():
    # sigmoid(-2 * -log(3) / 2 ...): beta 2, gamma log 2: log sigmoid(2 * log 3 - log 2) = log(4.5 / 5.5)
    assert simnpo_loss(values(-LOG3), 2.0, LOG2).item() == pytest.approx(math.log(5.5 / 4.5))


def test_dpo_by_hand():
    # margin log 3 at beta 2: log(1 + 1/9) / 2
    assert dpo_loss(values(LOG3), values(0.0), 2.0).item() == pytest.approx(math.log(10 / 9) / 2)
    assert dpo_loss(values(5.0), values(5.0), 0.5).item() == pytest.approx(2 * LOG2)


def test_unlikelihood_by_hand():
    assert unlikelihood_loss(values(0.0, LOG3)).item() == pytest.approx((LOG2 + math.log(4)) / 2)
