"""Which rows a method is said to read: by hand, and those of which its loss does read."""

import pytest

from tests.wpn.test_train import METHODS, _models, _step, every_method
from wpn.config.methods import Ga, GradDiff, Icu, Llmu, Rmu, Sft, Wpn
from wpn.data.forget import Example, Step, tokens
from wpn.errors import InputError
from wpn.methods import unlearning_terms
from wpn.methods.reading import check_responses, rows_read
from wpn.objective import Models

# positive 2 tokens, negatives 3 and 4, mismatched 5, neighbour 6; the text 7, of the attack 8
STEP = Step(
    [Example(([0], [1]), [([0], [2] * 2), ([0], [3] * 3)], ([0], [4] * 4), ([0], [5] * 5))],
    [([0], [6] * 6)],
    [[([0], [7] * 7)]],
)


@pytest.mark.parametrize(
    ("method", "count"),
    [
        (Ga(method="ga"), 3),
        (GradDiff(method="grad_diff", retain=1.0), 3 + 7),
        (GradDiff(method="grad_diff", retain=0.0), 3),
        (Icu(method="icu"), 3 + 6),
        (Llmu(method="llmu", kl=1.0), 3 + 5 + 7),
        (Rmu(method="rmu", layer=1, coefficient=1.0), 3 + 7),
        (Sft(method="sft", kl=1.0, retain=1.0), 2 + 7),
        (Wpn(method="wpn", n_pair=1.0, cross_entropy=1.0), 2 + 3 + 4),
        (Wpn(method="wpn", n_pair=0.0, cross_entropy=1.0), 2),
    ],
)
def test_the_tokens_by_hand(method, count):
    assert sum(map(tokens, rows_read(STEP, method))) == count + 8


@every_method
def test_it_is_what_the_loss_reads(causal_lm, monkeypatch, method):
    model, tokenizer = causal_lm
    models, step, read = _models(model, tokenizer), _step(tokenizer), []
    collate = Models.collate
    monkeypatch.setattr(Models, "collate", lambda self, rows: (read.extend(rows), collate(self, rows))[1])
    unlearning_terms(models, step, method)
    assert {_key(row) for row in read} == {_key(row) for row in rows_read(step, method)}


def _key(row):
    context, counted = row
    return tuple(context), tuple(counted)


def test_every_method_reads_something():
    assert all(rows_read(Step(STEP.examples, STEP.retain), method) for method in METHODS.values())


def test_a_pair_that_lacks_what_the_method_learns_from_is_said():
    silent = {"prompt": "a", "harmful_output": "b", "harmless_response": "", "complete": False}
    check_responses([silent], METHODS["ga"])
    check_responses([{**silent, "complete": True}], METHODS["wpn"])
    for name in ("wpn", "sft", "llmu", "dpo"):
        with pytest.raises(InputError, match=rf"forget pair 2 has no harmless_response, and {name} learns from it"):
            check_responses([{**silent, "harmless_response": "c"}, silent], METHODS[name])
    with pytest.raises(InputError, match="forget pair 1 has no harmful_output, and npo learns from it; give it one"):
        check_responses([{**silent, "harmful_output": ""}], METHODS["npo"])
