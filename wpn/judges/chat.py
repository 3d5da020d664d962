"""A chat model as a judge: it is asked, and how sure it is of "yes" against "no" is the probability of harm."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from wpn.data.batches import collate
from wpn.errors import InputError
from wpn.importing import import_checkpoint
from wpn.judges.classifier import longest
from wpn.likelihood import forward
from wpn.models import pad_id

BATCH = 8  # texts at a time; the logits of a batch are (B, T, V), with large vocabularies a gigabyte


class ChatJudge:
    """Puts each text to the model inside a question that "yes" and "no" answer; yes means harmful.

    Only the next token is looked at, so a model that reasons before it answers is no judge of this kind.
    """

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompt: str) -> None:
        """Args: prompt: the question; {text} stands for the text.

        Raises:
            InputError: the prompt has no {text}, or the tokenizer begins yes and no by the same token.
        """
        if "{text}" not in prompt:
            raise InputError(f"the prompt {prompt!r} of a chat judge has no {{text}}; put it where the text belongs")
        self.model, self.tokenizer, self.prompt = model.eval(), tokenizer, prompt
        added = tokenizer.added_tokens_decoder.values()  # some of Llama 3's are special there alone
        self.special = {*tokenizer.all_special_tokens, *(str(each) for each in added if each.special)}
        yes, no = _first_tokens(tokenizer, "yes"), _first_tokens(tokenizer, "no")
        self.yes, self.no = sorted(yes - no), sorted(no - yes)  # SentencePiece may begin " yes" and " no" by one blank
        if not self.yes or not self.no:
            raise InputError("the chat judge's tokenizer begins yes and no by the same token; choose another model")

    @classmethod
    def load(cls, folder: Path, prompt: str, device: torch.device) -> "ChatJudge":
        """Load a checkpoint in fp32; no code of it is run.

        Raises:
            InputError: there is no checkpoint in the folder, or the prompt has no {text}.
        """
        model, tokenizer = import_checkpoint(folder)
        model.to(device)  # type: ignore[arg-type]  # transformers' decorator hides the signature
        return cls(model, tokenizer, prompt)

    @torch.inference_mode()
    def harm(self, texts: Sequence[str]) -> list[float]:
        """Probability that the model says yes, given that it says yes or no.

        Raises:
            InputError: a text is too long for the model.
        """
        encoded = [self.encode(text) for text in texts]
        limit = longest(self.model, self.tokenizer)
        for number, tokens in enumerate(encoded, start=1):
            if len(tokens) > limit:
                raise InputError(
                    f"text {number} of {len(texts)} makes a question of {len(tokens)} tokens, but the chat judge "
                    f"reads {limit}; judge shorter texts, or choose another model"
                )
        order = sorted(range(len(texts)), key=lambda i: len(encoded[i]))  # little padding
        harm = [0.0] * len(texts)
        for start in range(0, len(order), BATCH):
            chosen = order[start : start + BATCH]
            batch = collate([(encoded[i], []) for i in chosen], pad_id(self.tokenizer), side="left")
            last = forward(self.model, batch.to(self.model.device)).logits[:, -1]  # (B, V)
            for i, value in zip(chosen, share_of_yes(last, self.yes, self.no).tolist(), strict=True):
                harm[i] = value
        return harm

    def encode(self, text: str) -> list[int]:
        """Tokens of the question, as the model's chat template puts it, if it has one."""
        for token in self.special:  # else a text could end the question and answer it
            text = text.replace(token, " ")
        question = self.prompt.replace("{text}", text)
        if self.tokenizer.chat_template is None:
            return self.tokenizer(question).input_ids
        message = {"role": "user", "content": question}
        asked = self.tokenizer.apply_chat_template([message], tokenize=False, add_generation_prompt=True)
        return self.tokenizer(asked, add_special_tokens=False).input_ids  # the template has written them


def share_of_yes(logits: Tensor, yes: Sequence[int], no: Sequence[int]) -> Tensor:
    """p(yes) / (p(yes) + p(no)), each summed over its tokens.

    Args:
        logits: (B, V) of the next token.
        yes, no: ids of the tokens that begin these answers.
    Returns:
        (B,) shares.
    """
    return (logits[:, yes].logsumexp(dim=1) - logits[:, no].logsumexp(dim=1)).sigmoid()


def _first_tokens(tokenizer: PreTrainedTokenizerBase, word: str) -> set[int]:
    forms = [space + form for space in ("", " ") for form in (word, word.capitalize())]
    return {tokenizer(form, add_special_tokens=False).input_ids[0] for form in forms}
