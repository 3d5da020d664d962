"""Texts as tokens and back, where a text stands behind another: an answer behind its prompt.

Tokenizers of the sentencepiece kind (Llama, Mistral) put a space in front of whatever they encode, and take one from
the front of whatever they decode. Between two words an answer's first word would be glued to the prompt's last, and no
judge knows the word that comes of it.
"""

from collections.abc import Sequence

from transformers import BatchEncoding, PreTrainedTokenizerBase

ANCHOR = "a"  # a word for others to stand behind


def encode_prompt(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Tokens of a text from its start, with the tokenizer's start token, unless a chat's template has written it."""
    written = bool(tokenizer.bos_token) and text.startswith(str(tokenizer.bos_token))
    tokens: list[int] = tokenizer(text, add_special_tokens=not written).input_ids
    return tokens


def encode_inside(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Tokens of a text that stands behind other text, without special ones."""
    encoding, skipped = _behind_a_word(tokenizer, text)
    tokens: list[int] = encoding.input_ids[skipped:]
    return tokens


def ends_inside(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Where in the text each of these tokens ends, in characters."""
    encoding, skipped = _behind_a_word(tokenizer, text, return_offsets_mapping=True)
    return [end - len(ANCHOR) * bool(skipped) for _, end in encoding.offset_mapping[skipped:]]


def decode_inside(
    tokenizer: PreTrainedTokenizerBase, rows: Sequence[Sequence[int]], skip_special_tokens: bool = False
) -> list[str]:
    """The texts of tokens as they stand behind a word."""
    before = anchor(tokenizer)
    word = str(tokenizer.decode(before))
    texts: list[str] = tokenizer.batch_decode(
        [[*before, *row] for row in rows], skip_special_tokens=skip_special_tokens
    )
    return [text.removeprefix(word) for text in texts]


def anchor(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Tokens of the word that others are put behind."""
    tokens: list[int] = tokenizer(ANCHOR, add_special_tokens=False).input_ids
    return tokens


def _behind_a_word(tokenizer: PreTrainedTokenizerBase, text: str, **options: bool) -> tuple[BatchEncoding, int]:
    """The encoding, and how many of its tokens come before the text: none, unless only behind a word it comes back."""
    alone = tokenizer(text, add_special_tokens=False, **options)
    if decode_inside(tokenizer, [alone.input_ids]) == [text]:
        return alone, 0
    before = anchor(tokenizer)
    behind = tokenizer(ANCHOR + text, add_special_tokens=False, **options)
    head, rest = behind.input_ids[: len(before)], behind.input_ids[len(before) :]
    return (behind, len(before)) if head == before and decode_inside(tokenizer, [rest]) == [text] else (alone, 0)
