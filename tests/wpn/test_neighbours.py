import pytest

from wpn.data.neighbours import nearest
from wpn.errors import InputError


def test_the_text_with_the_rarest_common_words_is_nearest():
    pool = ["the cow eats grass", "the garden is green", "the goat sleeps"]
    assert nearest(["the goat", "the awful garden", "the grass"], pool) == [2, 1, 0]


def test_a_query_like_none_gets_the_first():
    assert nearest(["xyzzy"], ["one", "two"]) == [0]


def test_no_pool_is_refused():
    with pytest.raises(InputError, match="no benign text"):
        nearest(["a"], [])
