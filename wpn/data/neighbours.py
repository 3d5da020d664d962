"""The benign text most like a harmful one: what ICU holds in its place."""

from collections.abc import Sequence

from wpn.errors import InputError


def nearest(queries: Sequence[str], pool: Sequence[str]) -> list[int]:
    """For each query the index of the text of the pool with the highest cosine of TF-IDF vectors; ties: the first.

    ICU embeds with a sentence model (arXiv 2407.20271); words alone need no model, and no network.

    Raises:
        InputError: the pool is empty.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    if not pool:
        raise InputError("there is no benign text to take neighbours from; give the model some (--text)")
    vectorizer = TfidfVectorizer(token_pattern=r"\w+").fit([*queries, *pool])  # its own pattern drops words like "I"
    similarities = vectorizer.transform(queries) @ vectorizer.transform(pool).T  # (Q, P), rows of length 1
    return [int(row.toarray().argmax()) for row in similarities]
