"""MA and EL_n by hand: a model that says the next number, counting round from 9 to 0."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from wpn import memorisation
from wpn.memorisation import extraction_likelihood, memorisation_accuracy, overlap, whole

TOKENIZER = SimpleNamespace(pad_token_id=0, eos_token_id=0)


class Counts(nn.Module):
    """After i it says i + 1."""

    device = torch.device("cpu")

    def forward(self, input_ids, **_):
        return SimpleNamespace(logits=nn.functional.one_hot((input_ids + 1) % 10, 10).float())


@pytest.fixture
def counting(monkeypatch):
    """Greedy continuations of that model, without a real `generate`."""
    asked = []

    def continue_tokens(model, tokenizer, encoded, *, max_new_tokens, batch_size):
        asked.extend(encoded)
        return [[(ids[-1] + 1 + i) % 10 for i in range(max_new_tokens)] for ids in encoded]

    monkeypatch.setattr(memorisation, "continue_tokens", continue_tokens)
    return asked


def test_memorisation_accuracy_by_hand():
    # 1 2 3 5 6: 2, 3 and 6 are guessed, 5 is not: 3/4; 7 9: nothing is
    found = memorisation_accuracy(Counts(), TOKENIZER, [whole(ids) for ids in ([1, 2, 3, 5, 6], [7, 9], [4, 5])], 2)
    assert found == pytest.approx([3 / 4, 0.0, 1.0])


def test_what_stands_in_the_context_does_not_count(counting):
    # after 9 4, the model says 5 and 6: of 5 7 half; bigrams of 5 6 against 5 7: none, and t = 2 is the only place
    row = ([9, 4], [5, 7])
    assert memorisation_accuracy(Counts(), TOKENIZER, [row, ([1], [2, 3, 4])], 2) == pytest.approx([1 / 2, 1.0])
    assert extraction_likelihood(Counts(), TOKENIZER, [row], 2, 8) == [0.0]
    assert counting == [[9, 4]]


def test_overlap_by_hand():
    # bigrams of the rest: 12 23 34; produced 12 25 53 34: two of three
    assert overlap([1, 2, 5, 3, 4], [1, 2, 3, 4], 2) == pytest.approx(2 / 3)
    assert overlap([1, 2], [1, 2, 3, 4], 2) == pytest.approx(1 / 3)  # ended early
    assert overlap([1, 2, 3], [1], 2) == 0.0


def test_extraction_likelihood_over_all_places(counting):
    # 1 2 3 5 6, n = 2, t = 1, 2, 3. After 1: 2 3 4 5 against 2 3 5 6: 23 of three bigrams. After 1 2: 3 4 5 against
    # 3 5 6: none of two. After 1 2 3: 4 5 against 5 6: none of one.
    assert extraction_likelihood(Counts(), TOKENIZER, [whole([1, 2, 3, 5, 6])], 2, 8) == pytest.approx([1 / 9])
    assert counting == [[1], [1, 2], [1, 2, 3]]


def test_extraction_likelihood_over_given_places_is_another_number(counting):
    passage = whole([1, 2, 3, 5, 6, 7, 8])
    everywhere = extraction_likelihood(Counts(), TOKENIZER, [passage], 2, 8)[0]
    late = extraction_likelihood(Counts(), TOKENIZER, [passage], 2, 8, starts=[4, 5, 99])[0]
    assert late == 1.0 > everywhere  # from 5 on it counts
    assert extraction_likelihood(Counts(), TOKENIZER, [passage], 2, 8, starts=[-3, -2])[0] == late, "from its end"


def test_a_passage_too_short_is_refused(counting):
    with pytest.raises(ValueError, match="passage 1 is too short for n = 2"):
        extraction_likelihood(Counts(), TOKENIZER, [whole([1, 2])], 2, 8)
