import pytest

from tests.wpn.assess.subjects import PROMPTS, lexical, pairs, subject_of, taught
from wpn.assess.memorisation import memorisation
from wpn.config.probes import Memorisation
from wpn.errors import InputError


def test_what_is_known_by_heart_can_be_drawn_out(causal_lm):
    model, tokenizer = causal_lm
    learned, unseen = pairs(PROMPTS[:2]), pairs(PROMPTS[2:], " hen duck pig cow .")
    knows = taught(model, tokenizer, learned)
    subject = subject_of(knows, tokenizer, lexical(), forgotten=learned, never_seen=unseen)
    summary, rows = memorisation(subject, Memorisation(pairs=10, n=2))
    found = {name: one["value"] for name, one in summary["estimates"].items()}
    assert found["memorisation_accuracy"] == found["extraction_likelihood"] == 1.0
    assert found["memorisation_accuracy_unseen"] < 1.0 and found["extraction_likelihood_unseen"] < 1.0
    assert [row["side"] for row in rows] == ["forgotten"] * 2 + ["never_seen"]
    with pytest.raises(InputError, match=r"no harmful output has 99 tokens; lower assess\.memorisation\.n"):
        memorisation(subject, Memorisation(pairs=10, n=99))
