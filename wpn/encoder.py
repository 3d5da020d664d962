"""A sentence model of sentence-transformers: which texts are alike, and whether one says what another does.

ICU (arXiv 2407.20271) asks both; where no such model is at hand, TF-IDF and BLEU answer (wpn.data.neighbours,
wpn.refinement).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from safetensors import SafetensorError
from torch import Tensor
from torch.nn.functional import normalize

from wpn.errors import InputError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

BATCH = 32  # texts at a time


class Encoder:
    """Texts as vectors of length 1, so that a product of two is their cosine."""

    def __init__(self, model: "SentenceTransformer") -> None:
        """Args: model: whose tokenizer marks its special tokens."""
        self.model = model.eval()

    @classmethod
    def load(cls, folder: Path, device: torch.device) -> "Encoder":
        """Load a sentence model in fp32, or any encoder of transformers, whose states are then averaged.

        No code of it is run; the encoder itself must be safetensors.

        Raises:
            InputError: the folder holds no such model; the message does not name it, for it may be one that passes.
        """
        from sentence_transformers import SentenceTransformer

        if not (folder / "config.json").exists():
            raise InputError("the method's encoder is no sentence model: it has no config.json; name another")
        try:
            settings = {"use_safetensors": True, "dtype": torch.float32}
            model = SentenceTransformer(str(folder), device=str(device), local_files_only=True, model_kwargs=settings)
        except (OSError, ValueError, RuntimeError, ImportError, SafetensorError) as error:
            reason = str(error).partition("\n")[0].replace(str(folder), "its folder")
            raise InputError(f"the method's encoder is no sentence model: {reason}; name another") from None
        return cls(model)

    def sentences(self, texts: Sequence[str]) -> Tensor:
        """(N, D) one vector a text, on the CPU; the start of a text where it is longer than the model can read."""
        found = self.model.encode(
            list(texts), prompt="", batch_size=BATCH, convert_to_tensor=True, normalize_embeddings=True,
            show_progress_bar=False,
        )  # fmt: skip
        return found.float().cpu()

    def tokens(self, texts: Sequence[str]) -> list[Tensor]:
        """Of each text (T, D) one vector a token, on the CPU; the tokens that mark its ends are left out."""
        tokenizer = self.model.tokenizer
        # what the tokenizer does not know is a word all the same
        marks = torch.tensor([i for i in tokenizer.all_special_ids if i != tokenizer.unk_token_id])
        found = self.model.encode(list(texts), prompt="", batch_size=BATCH, output_value=None, show_progress_bar=False)
        vectors = []
        for text in cast("list[dict[str, Tensor]]", found):
            said = text["attention_mask"].cpu().bool() & ~torch.isin(text["input_ids"].cpu(), marks)
            vectors.append(normalize(text["token_embeddings"].float().cpu()[said], dim=1))
        return vectors


def bert_score(said: Tensor, reference: Tensor) -> float:
    """F1 of the greedy matching of two texts' tokens (BERTScore, arXiv 1904.09675), without idf weights or rescaling.

    Args:
        said: (S, D) vectors of length 1.
        reference: (R, D) the same.
    Returns:
        At most 1; 0 where a text has no tokens.
    """
    if not len(said) or not len(reference):
        return 0.0
    similarities = said @ reference.T  # (S, R)
    precision = float(similarities.amax(dim=1).mean())
    recall = float(similarities.amax(dim=0).mean())
    return 2 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0
