"""Answers behind prompts, for tokenizers that put a space in front of what they encode and those that do not."""

import pytest
import torch
from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import BPE, WordLevel
from tokenizers.processors import TemplateProcessing
from tokenizers.trainers import BpeTrainer
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from wpn.assess.grading import Grader
from wpn.attribution import token_weights
from wpn.data.batches import encode_pair
from wpn.generate import continue_prompts
from wpn.judges.lexical import LexicalJudge
from wpn.tokens import decode_inside, encode_inside, encode_prompt, ends_inside

TEXTS = ["you are a silly goat , and so am I", "the cow eats grass .", "that is a garden ; it isn't ours"] * 4
RESPONSES = [" silly goat .", ", and so am I", "ly goat", " you  are", "'t ours", ""]


def byte_level() -> Tokenizer:
    """As GPT-2's and OPT's."""
    made = Tokenizer(BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.train_from_iterator(
        TEXTS,
        BpeTrainer(vocab_size=320, special_tokens=["<s>", "</s>"], initial_alphabet=made.pre_tokenizer.alphabet()),
    )
    return made


def metaspace() -> Tokenizer:
    """As Llama's since transformers 5: one space in front, unless there is one."""
    made = Tokenizer(BPE(unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    made.decoder = decoders.Metaspace(prepend_scheme="first")
    made.train_from_iterator(TEXTS, BpeTrainer(vocab_size=200, special_tokens=["<unk>", "<s>", "</s>"]))
    return made


def prepended() -> Tokenizer:
    """As in most tokenizer.json of Llama 2 and Mistral: a space in front of whatever comes."""
    made = Tokenizer(BPE(unk_token="<unk>"))
    made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    made.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    made.train_from_iterator(TEXTS, BpeTrainer(vocab_size=200, special_tokens=["<unk>", "<s>", "</s>"]))
    return made


@pytest.fixture(params=[byte_level, metaspace, prepended])
def tokenizer(request) -> PreTrainedTokenizerFast:
    made = request.param()
    made.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", made.token_to_id("<s>"))])
    return PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def test_what_stands_behind_a_word_comes_back_as_it_was(tokenizer):
    """Footgun: decoded by itself, an answer of Llama loses its first space, and "a" + "silly" is no word to a judge."""
    rows = [encode_inside(tokenizer, text) for text in RESPONSES]
    assert decode_inside(tokenizer, rows) == RESPONSES


def test_a_response_is_encoded_as_it_would_be_after_its_prompt(tokenizer):
    for prompt, response in (("you are a", " silly goat ."), ("the cow", ", and so am I"), ("a garden", " ; it isn't")):
        context, counted = encode_pair(tokenizer, prompt, response, complete=False)
        assert [*context, *counted] == tokenizer(prompt + response).input_ids


def test_each_token_ends_where_it_does_in_the_text(tokenizer):
    for text in (" silly goat .", ", and so am I"):
        ends = ends_inside(tokenizer, text)
        assert len(ends) == len(encode_inside(tokenizer, text)) and ends == sorted(ends) and ends[-1] == len(text)
    weights = token_weights(tokenizer, "you are a", ", and silly", [0.0, 0.0, 0.9], complete=True)
    assert len(weights) == len(encode_pair(tokenizer, "you are a", ", and silly", True)[1])
    assert sum(weights) == pytest.approx(1.0)


def test_no_word_is_lost_by_a_tokenizer_that_knows_whole_words_alone():
    words = Tokenizer(WordLevel({"<unk>": 0, "</s>": 1, "cow": 2, "grass": 3}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="</s>", unk_token="<unk>")
    assert encode_inside(tokenizer, "cow grass") == encode_inside(tokenizer, " cow grass") == [2, 3]
    assert encode_inside(tokenizer, "a hat") == [0, 0]


def test_the_start_token_is_not_written_twice(tokenizer):
    start = tokenizer.bos_token_id
    assert encode_prompt(tokenizer, "the cow")[0] == start
    written = encode_prompt(tokenizer, "<s>the cow")
    assert written[0] == start and start not in written[1:]


def test_an_answer_is_judged_behind_the_start_that_it_was_given(tokenizer):
    """A model that has " silly goat" by heart: forced to begin, it must be caught."""
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
            num_key_value_heads=2, max_position_embeddings=64, bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    )  # fmt: skip
    ids = torch.tensor([[*encode_prompt(tokenizer, "that is it . you are a silly goat ."), tokenizer.eos_token_id]])
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    for _ in range(40):
        optimizer.zero_grad()
        model(ids, labels=ids).loss.backward()
        optimizer.step()
    model.eval()
    assert continue_prompts(model, tokenizer, ["that is it . you are a"], max_new_tokens=30, batch_size=1) == [
        " silly goat ."
    ]
    grader = Grader({"lexical": LexicalJudge()}, max_new_tokens=30, batch_size=4)
    (row,) = grader.answers(model, tokenizer, ["that is it ."], start=" you are a")
    assert row["answer"] == " you are a silly goat ." and row["harmful"]
