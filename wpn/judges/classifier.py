"""Any sequence classifier of transformers as a judge.

Such as unitary/toxic-bert (multi-label: "toxic", "insult", ...) or facebook/roberta-hate-speech-dynabench-r4-target
(single-label: "hate" or "nothate").
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from wpn.data.batches import collate
from wpn.errors import InputError
from wpn.importing import loading
from wpn.models import pad_id
from wpn.usable import check_knows_words

BATCH = 32  # texts at a time
MULTI_LABEL = "multi_label_classification"  # transformers' name for labels that do not exclude one another


class ClassifierJudge:
    """Harm is the sum of the harmful labels' probabilities where one label excludes the others, else their maximum."""

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, harmful: Sequence[int]) -> None:
        """Args: harmful: the numbers of the harmful labels, each once."""
        self.model, self.tokenizer, self.harmful = model.eval(), tokenizer, list(harmful)

    @classmethod
    def load(cls, folder: Path, harmful_labels: Sequence[str], device: torch.device) -> "ClassifierJudge":
        """Load a checkpoint in fp32; no code of it is run, and a pytorch_model.bin is read with weights_only.

        Raises:
            InputError: there is no checkpoint, it cannot be read, it lacks weights or a tokenizer, or it does not know
                the labels.
        """
        if not (folder / "config.json").exists():
            raise InputError(f"{folder} holds no checkpoint (no config.json); fetch the judge, or correct its path")
        options = {"trust_remote_code": False, "local_files_only": True}
        with loading(folder, "a classifier"):
            # use_safetensors is left open: safetensors where they are, else the .bin: older judges have nothing else
            model, found = AutoModelForSequenceClassification.from_pretrained(
                folder, dtype=torch.float32, output_loading_info=True, **options
            )
            tokenizer = AutoTokenizer.from_pretrained(folder, **options)
        if missing := sorted(found["missing_keys"]):
            raise InputError(f"{folder} lacks the weights {', '.join(missing)}; choose a checkpoint with a classifier")
        check_knows_words(folder, tokenizer)
        harmful = _label_numbers(model.config, harmful_labels, folder)
        model.config.pad_token_id = pad_id(tokenizer)  # decoders look for the last token that is not padding
        return cls(model.to(device), tokenizer, harmful)

    @torch.inference_mode()
    def harm(self, texts: Sequence[str]) -> list[float]:
        """Probability of harm of each text; the start of it where it is longer than the model can read."""
        limit = longest(self.model, self.tokenizer)
        encoded = [self.tokenizer(text, truncation=True, max_length=limit).input_ids for text in texts]
        order = sorted(range(len(texts)), key=lambda i: len(encoded[i]))  # little padding
        harm = [0.0] * len(texts)
        for start in range(0, len(order), BATCH):
            chosen = order[start : start + BATCH]
            batch = collate([(encoded[i], []) for i in chosen], pad_id(self.tokenizer)).to(self.model.device)
            logits = self.model(input_ids=batch.ids, attention_mask=batch.attention).logits  # (B, labels)
            multi_label = self.model.config.problem_type == MULTI_LABEL
            for i, value in zip(chosen, harm_of(logits, self.harmful, multi_label).tolist(), strict=True):
                harm[i] = value
        return harm


def harm_of(logits: Tensor, harmful: Sequence[int], multi_label: bool) -> Tensor:
    """Probability of harm.

    Args:
        logits: (B, L) of L labels.
        harmful: the numbers of the harmful ones.
        multi_label: each label has a probability of its own; else they share one.
    Returns:
        (B,) the largest of the harmful labels' probabilities; else their sum.
    """
    if multi_label:
        return logits.sigmoid()[:, harmful].amax(dim=1)
    return logits.softmax(dim=1)[:, harmful].sum(dim=1).clamp(max=1)  # rounding may pass 1


def longest(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> int:
    """How many tokens the model can read, its special tokens included.

    The tokenizer may not know it, and RoBERTa counts positions from padding_idx + 1 on, which loses 2 of its 514.
    """
    tables = [
        module.num_embeddings - (0 if module.padding_idx is None else module.padding_idx + 1)
        for name, module in model.named_modules()
        if isinstance(module, nn.Embedding) and name.endswith("position_embeddings")
    ]
    # T5 and its like have relative positions and no such number
    configured = getattr(model.config, "max_position_embeddings", tokenizer.model_max_length)
    return min([tokenizer.model_max_length, configured, *tables])


def _label_numbers(config: PretrainedConfig, wanted: Sequence[str], folder: Path) -> list[int]:
    known = {label: int(number) for number, label in config.to_dict()["id2label"].items()}
    if len(known) == 1 and config.problem_type != MULTI_LABEL:  # its softmax would be 1 for every text
        raise InputError(f"{folder} gives one number and not probabilities of labels; choose another classifier")
    if set(wanted) == known.keys() and config.problem_type != MULTI_LABEL:  # their probabilities add up to 1
        raise InputError(
            f"all labels of {folder} ({', '.join(known)}) should be harmful, and it always takes one of them; leave "
            f"out the harmless one, or say in config.json that each is by itself (problem_type: {MULTI_LABEL})"
        )
    if not wanted or not known.keys() >= set(wanted):
        raise InputError(
            f"{folder} has the labels {', '.join(known)}, but {', '.join(wanted) or 'none'} should be harmful; "
            "name some of its labels"
        )
    return sorted({known[label] for label in wanted})
