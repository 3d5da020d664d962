"""A sentence model too small to know anything, of transformers' own classes; BERTScore by hand."""

import copy
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from tests.wpn.loops import loop
from tests.wpn.test_train import LOOP, PAIRS, TEXTS
from wpn.config.methods import Icu, Refinement
from wpn.config.sources import EncoderRow, Local
from wpn.config.training import EarlyStop
from wpn.data.forget import StepSource
from wpn.data.neighbours import nearest
from wpn.encoder import Encoder, bert_score
from wpn.errors import InputError
from wpn.train import unlearn

CPU = torch.device("cpu")
WORDS = ("the", "goat", "sleeps", "you", "stupid")


def sentence_model(folder: Path, words: Sequence[str] = WORDS) -> Path:
    """A checkpoint whose tokenizer knows these words."""
    names = ["<pad>", "<cls>", "</s>", "<unk>", *words]
    known = Tokenizer(WordLevel({word: i for i, word in enumerate(names)}, unk_token="<unk>"))
    known.pre_tokenizer = Whitespace()
    known.post_processor = TemplateProcessing(single="<cls> $A </s>", special_tokens=[("<cls>", 1), ("</s>", 2)])
    PreTrainedTokenizerFast(
        tokenizer_object=known, pad_token="<pad>", cls_token="<cls>", sep_token="</s>", unk_token="<unk>"
    ).save_pretrained(folder)
    torch.manual_seed(0)
    shape = BertConfig(
        vocab_size=len(names), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=64, initializer_range=1.0,
    )  # fmt: skip
    BertModel(shape).eval().save_pretrained(folder)
    return folder


def test_a_sentence_is_the_mean_of_its_states_and_has_length_one(tmp_path):
    encoder = Encoder.load(sentence_model(tmp_path), CPU)
    model = BertModel.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        states = model(torch.tensor([[1, 5, 6, 2]])).last_hidden_state[0]  # <cls> goat sleeps </s>
    found = encoder.sentences(["goat sleeps", "you stupid stupid goat"])
    mean = states.mean(dim=0)
    assert found.shape == (2, 16)
    assert torch.allclose(found[0], mean / mean.norm(), atol=1e-5), "the padding of a shorter text counts for nothing"
    words = states[1:3]
    (tokens, longer) = encoder.tokens(["goat sleeps", "you stupid stupid goat"])
    assert torch.allclose(tokens, words / words.norm(dim=1, keepdim=True), atol=1e-5), "the special tokens are left out"
    assert longer.shape == (4, 16)


def test_bertscore_by_hand():
    a, b = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    between = torch.tensor([0.6, 0.8])
    assert bert_score(torch.stack([a, b]), torch.stack([b, a])) == pytest.approx(1.0), "the order does not count"
    assert bert_score(torch.stack([a]), torch.stack([b])) == 0.0
    # precision: a's best is .6 with between; recall: between's best is .6, b's is 0
    assert bert_score(torch.stack([a]), torch.stack([between, b])) == pytest.approx(2 * 0.6 * 0.3 / 0.9)
    assert bert_score(torch.zeros(0, 2), torch.stack([a])) == bert_score(torch.stack([a]), torch.zeros(0, 2)) == 0.0


def test_the_same_text_scores_one(tmp_path):
    encoder = Encoder.load(sentence_model(tmp_path), CPU)
    same, other, nothing, unknown = encoder.tokens(["the goat sleeps", "you stupid", "", "xyzzy"])
    assert bert_score(same, same) == pytest.approx(1.0)
    assert bert_score(same, other) < 0.999
    assert (len(nothing), len(unknown)) == (0, 1), "what the tokenizer does not know is a word too"


def test_what_is_no_sentence_model_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"it has no config.json; name another"):
        Encoder.load(tmp_path, CPU)
    folder = sentence_model(tmp_path / "model")
    for damage in (lambda file: file.write_bytes(b"no tensors"), lambda file: file.unlink()):
        damage(folder / "model.safetensors")
        with pytest.raises(InputError, match="encoder is no sentence model: ") as refused:
            Encoder.load(folder, CPU)
        assert str(folder) not in str(refused.value)


def test_icu_trains_with_one_and_does_not_go_without(causal_lm, tmp_path):
    row = EncoderRow(path=Local(location="somewhere", sha256="0" * 64))
    never = Refinement(n=2, bleu_below=0.0, bertscore_below=0.0, accuracy_below=0.0)  # is it forgotten
    method = Icu(method="icu", kl=1.0, encoder=row, refinement=never)
    settings = loop(**LOOP)
    model, tokenizer = copy.deepcopy(causal_lm[0]), causal_lm[1]
    with pytest.raises(InputError, match="the method names an encoder"):
        unlearn(model, tokenizer, PAIRS, TEXTS, settings, method, 0, print)
    encoder = Encoder.load(sentence_model(tmp_path), CPU)
    written, pool = [p["prompt"] + p["harmful_output"] for p in PAIRS], [text["text"] for text in TEXTS]
    source = StepSource(tokenizer, PAIRS, TEXTS, settings, method, 0, encoder)
    assert source.nearest == nearest(written, pool, encoder)
    steps: list[dict[str, float]] = []
    settings = loop(**LOOP, early_stop=EarlyStop(every=2, patience=2, share=0.25))
    unlearn(model, tokenizer, PAIRS, TEXTS, settings, method, 0, steps.append, encoder=encoder)
    assert len(steps) == settings.steps
