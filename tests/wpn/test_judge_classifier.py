"""Tiny random classifiers of transformers' own classes."""

import math
import os
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    LlamaConfig,
    LlamaForSequenceClassification,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from wpn.errors import InputError
from wpn.judges.classifier import BATCH, ClassifierJudge, harm_of, longest

WORDS = ["<pad>", "<cls>", "</s>", "<unk>", "the", "goat", "sleeps", "you", "stupid"]
TEXTS = ["you stupid goat", "the goat sleeps", "you", "the stupid goat sleeps you you you"]
CPU = torch.device("cpu")
SHAPE = {
    "vocab_size": len(WORDS), "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
    "intermediate_size": 32, "max_position_embeddings": 14, "initializer_range": 1.0,
}  # fmt: skip
MULTI_LABEL = {"problem_type": "multi_label_classification", "id2label": {0: "toxic", 1: "insult", 2: "spam"}}
SINGLE_LABEL = {"id2label": {0: "nothate", 1: "hate", 2: "slur"}}


def save(folder: Path, model: PreTrainedModel, pad: str | None = "<pad>") -> Path:
    words = Tokenizer(WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = Whitespace()
    words.post_processor = TemplateProcessing(single="<cls> $A </s>", special_tokens=[("<cls>", 1), ("</s>", 2)])
    model.eval().save_pretrained(folder)
    PreTrainedTokenizerFast(tokenizer_object=words, pad_token=pad, eos_token="</s>").save_pretrained(folder)
    return folder


def bert(folder: Path, **settings: object) -> Path:
    torch.manual_seed(0)
    return save(folder, BertForSequenceClassification(BertConfig(**SHAPE, **settings)))


def probabilities(folder: Path, text: str) -> torch.Tensor:
    """Logits of one text without padding, straight from transformers."""
    model = BertForSequenceClassification.from_pretrained(folder)
    ids = [1, *(WORDS.index(word) for word in text.split()), 2]
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0]
    return logits.sigmoid() if model.config.problem_type else logits.softmax(0)


def test_the_rule_by_hand():
    logits = torch.tensor([[0.0, math.log(3), -math.log(3)], [0.0, 0.0, 0.0]])  # odds 1, 3, 1/3
    assert harm_of(logits, [0, 2], multi_label=True).tolist() == pytest.approx([1 / 2, 1 / 2])
    assert harm_of(logits, [1, 2], multi_label=True).tolist() == pytest.approx([3 / 4, 1 / 2])
    assert harm_of(logits, [0, 2], multi_label=False).tolist() == pytest.approx([4 / 13, 2 / 3])


def test_a_multi_label_checkpoint_gives_the_likeliest_harmful_label(tmp_path):
    judge = ClassifierJudge.load(bert(tmp_path, **MULTI_LABEL), ["insult", "toxic"], CPU)
    expected = [probabilities(tmp_path, text)[:2].max().item() for text in TEXTS]
    assert judge.harm(TEXTS) == pytest.approx(expected, abs=1e-5)


def test_a_single_label_checkpoint_gives_the_sum_of_the_harmful_labels(tmp_path):
    judge = ClassifierJudge.load(bert(tmp_path, **SINGLE_LABEL), ["slur", "hate", "hate"], CPU)
    expected = [probabilities(tmp_path, text)[1:].sum().item() for text in TEXTS]
    assert judge.harm(TEXTS) == pytest.approx(expected, abs=1e-5)
    assert max(expected) - min(expected) > 1e-2  # the texts differ, so their order is tested


def test_neither_batch_nor_order_changes_a_score(tmp_path):
    judge = ClassifierJudge.load(bert(tmp_path, **SINGLE_LABEL), ["hate"], CPU)
    texts = (TEXTS * BATCH)[: BATCH + 3]  # two batches
    scores = judge.harm(texts)
    single = [judge.harm([text])[0] for text in TEXTS]
    assert scores == pytest.approx((single * BATCH)[: BATCH + 3], abs=1e-5)
    assert judge.harm(texts[::-1]) == pytest.approx(scores[::-1], abs=1e-5)


def test_a_decoder_without_a_pad_token_judges_batches_like_single_texts(tmp_path):
    # footgun: it refuses batches, because it looks for the last token that is not padding
    torch.manual_seed(0)
    config = LlamaConfig(**SHAPE, num_key_value_heads=2, **SINGLE_LABEL)
    save(tmp_path, LlamaForSequenceClassification(config), pad=None)
    judge = ClassifierJudge.load(tmp_path, ["hate"], CPU)
    scores = judge.harm(TEXTS)
    assert scores == pytest.approx([judge.harm([text])[0] for text in TEXTS], abs=1e-5)
    assert max(scores) - min(scores) > 1e-2


def test_a_long_text_is_judged_by_its_start(tmp_path):
    judge = ClassifierJudge.load(bert(tmp_path, **SINGLE_LABEL), ["hate"], CPU)
    start = "you stupid goat " * 4  # 12 words and 2 special tokens fill the 14 positions
    assert judge.harm([start + "the goat sleeps " * 50]) == judge.harm([start])


def test_roberta_reads_fewer_tokens_than_its_config_says(tmp_path):
    # footgun: its positions start at padding_idx + 1, and its tokenizer need not know
    torch.manual_seed(0)
    model = RobertaForSequenceClassification(RobertaConfig(**SHAPE, pad_token_id=0, **SINGLE_LABEL))
    judge = ClassifierJudge.load(save(tmp_path, model), ["hate"], CPU)
    assert longest(judge.model, judge.tokenizer) == 13
    assert 0 < judge.harm(["goat " * 50])[0] < 1


def test_a_checkpoint_that_has_only_a_bin_is_read(tmp_path):
    expected = ClassifierJudge.load(bert(tmp_path, **SINGLE_LABEL), ["hate"], CPU).harm(TEXTS)
    state = BertForSequenceClassification.from_pretrained(tmp_path).state_dict()
    (tmp_path / "model.safetensors").unlink()
    torch.save(state, tmp_path / "pytorch_model.bin")
    assert ClassifierJudge.load(tmp_path, ["hate"], CPU).harm(TEXTS) == expected


def test_a_bin_runs_nothing(tmp_path):
    class Payload:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'ran'}",)

    bert(tmp_path, **SINGLE_LABEL)
    (tmp_path / "model.safetensors").unlink()
    torch.save({"classifier.bias": Payload()}, tmp_path / "pytorch_model.bin")
    with pytest.raises(InputError, match="holds PyTorch weights that are damaged or more than tensors"):
        ClassifierJudge.load(tmp_path, ["hate"], CPU)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("labels", "wanted"), [(["hate", "toxic"], "hate, toxic"), (["LABEL_1"], "LABEL_1"), ([], "none")]
)
def test_unknown_labels_are_answered_by_the_known_ones(tmp_path, labels, wanted):
    bert(tmp_path, **SINGLE_LABEL)
    with pytest.raises(InputError, match=f"has the labels nothate, hate, slur, but {wanted} should be harmful"):
        ClassifierJudge.load(tmp_path, labels, CPU)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
@pytest.mark.parametrize("content", ["", "{", '{"model": {"type": "WordLevel", "vocab": 7}}'])
def test_a_damaged_checkpoint_is_said(tmp_path, name, content):
    bert(tmp_path, **SINGLE_LABEL)
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=r"is no checkpoint of a classifier that transformers can load \(.+\); fetch"):
        ClassifierJudge.load(tmp_path, ["hate"], CPU)


def test_a_judge_without_its_tokenizer_is_refused(tmp_path):
    """Footgun: transformers makes an empty one, and every text would be judged as the same nothing."""
    bert(tmp_path, **SINGLE_LABEL)
    for file in tmp_path.glob("tokenizer*"):
        file.unlink()
    with pytest.raises(InputError, match="has no tokenizer that knows any word of ordinary text"):
        ClassifierJudge.load(tmp_path, ["hate"], CPU)


def test_labels_of_which_one_is_always_taken_cannot_all_be_harmful(tmp_path):
    """Footgun: a multi-label judge that was saved without its problem_type would find 1.0 in every text."""
    bert(tmp_path, id2label=MULTI_LABEL["id2label"])
    with pytest.raises(InputError, match=r"all labels of .* \(toxic, insult, spam\) should be harmful, and it"):
        ClassifierJudge.load(tmp_path, ["spam", "insult", "toxic"], CPU)


def test_a_checkpoint_that_cannot_judge_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"holds no checkpoint \(no config.json\)"):
        ClassifierJudge.load(tmp_path / "nothing", ["hate"], CPU)
    # footgun: transformers would draw the missing classifier at random, and only warn
    headless = save(tmp_path / "headless", BertModel(BertConfig(**SHAPE, **SINGLE_LABEL)))
    with pytest.raises(InputError, match=r"lacks the weights classifier\.bias, classifier\.weight"):
        ClassifierJudge.load(headless, ["hate"], CPU)
    # footgun: the softmax of one number is 1, so every text would be harmful
    with pytest.raises(InputError, match="gives one number and not probabilities of labels"):
        ClassifierJudge.load(bert(tmp_path / "score", id2label={0: "score"}), ["score"], CPU)
