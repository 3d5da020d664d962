"""Two six-label toxicity classifiers of the Jigsaw comments (MIT), run in torch: no keras, no unsafe unpickling.

Both are an embedding, a bidirectional LSTM, the maximum over time and two dense layers. They differ in their gates:
tox-block 0.1.2 (keras 2) squashes them by the hard sigmoid, toxic-comment-classifier 0.3.0 (keras 3) by the logistic.
"""

import pickle
from collections import OrderedDict, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from wpn.errors import InputError

LABELS = ("toxic", "severe_toxic", "obscene", "threat", "insult", "identity_hate")
LENGTH = 100  # words of a text that are read, the last ones; shorter texts are padded on the left
PADDING = 0  # an id like any other: keras embeds it and runs the LSTM over it, so trimming it would change the result
BATCH = 128  # texts at a time

# HDF5 path of each tensor of BiLstm. A kernel is the transpose of torch's weight; the order of the gates is the same
# (keras: input, forget, cell, output; torch: i, f, g, o).
KERAS_2 = {
    "embedding.weight": "model_weights/embedding/embedding/embeddings:0",
    "lstm.weight_ih_l0": "model_weights/bidirectional/bidirectional/forward_lstm/kernel:0",
    "lstm.weight_hh_l0": "model_weights/bidirectional/bidirectional/forward_lstm/recurrent_kernel:0",
    "lstm.bias_ih_l0": "model_weights/bidirectional/bidirectional/forward_lstm/bias:0",
    "lstm.weight_ih_l0_reverse": "model_weights/bidirectional/bidirectional/backward_lstm/kernel:0",
    "lstm.weight_hh_l0_reverse": "model_weights/bidirectional/bidirectional/backward_lstm/recurrent_kernel:0",
    "lstm.bias_ih_l0_reverse": "model_weights/bidirectional/bidirectional/backward_lstm/bias:0",
    "dense.weight": "model_weights/dense/dense/kernel:0",
    "dense.bias": "model_weights/dense/dense/bias:0",
    "output.weight": "model_weights/dense_1/dense_1/kernel:0",
    "output.bias": "model_weights/dense_1/dense_1/bias:0",
}
KERAS_3 = {
    "embedding.weight": "layers/embedding/vars/0",
    "lstm.weight_ih_l0": "layers/bidirectional/forward_layer/cell/vars/0",
    "lstm.weight_hh_l0": "layers/bidirectional/forward_layer/cell/vars/1",
    "lstm.bias_ih_l0": "layers/bidirectional/forward_layer/cell/vars/2",
    "lstm.weight_ih_l0_reverse": "layers/bidirectional/backward_layer/cell/vars/0",
    "lstm.weight_hh_l0_reverse": "layers/bidirectional/backward_layer/cell/vars/1",
    "lstm.bias_ih_l0_reverse": "layers/bidirectional/backward_layer/cell/vars/2",
    "dense.weight": "layers/dense/vars/0",
    "dense.bias": "layers/dense/vars/1",
    "output.weight": "layers/dense_1/vars/0",
    "output.bias": "layers/dense_1/vars/1",
}
LAYOUTS = (  # file of the weights, file of the vocabulary, paths inside the weights, gates by the hard sigmoid
    ("lstm_model_0.1.2.h5", "encoder_0.1.2.pkl", KERAS_2, True),
    ("model.weights.h5", "tokenizer.pickle", KERAS_3, False),
)


class BiLstm(nn.Module):
    """The network, shaped by its tensors."""

    def __init__(self, tensors: dict[str, Tensor], hard: bool) -> None:
        """Take over the tensors, named and laid out as torch has them; `hard` chooses the gates."""
        super().__init__()
        (words, width), (units, states) = tensors["embedding.weight"].shape, tensors["dense.weight"].shape
        self.hard = hard
        self.embedding = nn.Embedding(words, width)
        self.lstm = nn.LSTM(width, states // 2, batch_first=True, bidirectional=True)
        self.dense, self.output = nn.Linear(states, units), nn.Linear(units, len(LABELS))
        second_biases = {name: torch.zeros(2 * states) for name in ("lstm.bias_hh_l0", "lstm.bias_hh_l0_reverse")}
        self.load_state_dict(tensors | second_biases)  # keras has one bias a gate where torch has two

    def forward(self, ids: Tensor) -> Tensor:
        """Probability of each label: (B, T) word ids to (B, 6)."""
        words = self.embedding(ids)  # (B, T, E)
        states = hard_lstm(self.lstm, words) if self.hard else self.lstm(words)[0]  # (B, T, 2D)
        return self.output(self.dense(states.amax(dim=1)).relu()).sigmoid()


def hard_lstm(lstm: nn.LSTM, words: Tensor) -> Tensor:
    """What `lstm` (bidirectional, one layer) would give if its gates were hard sigmoids, clip(0.2 x + 0.5, 0, 1).

    Args:
        words: (B, T, E).
    Returns:
        (B, T, 2D) states, forward then backward.
    """
    both = torch.stack([words, words.flip(1)])  # (2, B, T, E): the second is read from its end
    weight = _both_ways(lstm, "weight_ih_l0").transpose(1, 2)  # (2, E, 4D)
    recurrent = _both_ways(lstm, "weight_hh_l0").transpose(1, 2)  # (2, D, 4D)
    bias = _both_ways(lstm, "bias_ih_l0")[:, None]  # (2, 1, 4D)
    hidden = cell = words.new_zeros(2, words.shape[0], lstm.hidden_size)  # (2, B, D)
    states = []
    for step in both.unbind(2):  # (2, B, E)
        gates = torch.baddbmm(torch.baddbmm(bias, step, weight), hidden, recurrent)  # (2, B, 4D)
        enter, forget, candidate, leave = gates.chunk(4, dim=2)
        cell = _hard_sigmoid(forget) * cell + _hard_sigmoid(enter) * candidate.tanh()
        hidden = _hard_sigmoid(leave) * cell.tanh()
        states.append(hidden)
    forward, backward = torch.stack(states, dim=2)  # (B, T, D) each
    return torch.cat([forward, backward.flip(1)], dim=2)


def _both_ways(lstm: nn.LSTM, name: str) -> Tensor:
    return torch.stack([lstm.get_parameter(name), lstm.get_parameter(f"{name}_reverse")])


def _hard_sigmoid(x: Tensor) -> Tensor:
    return (0.2 * x + 0.5).clamp(0, 1)  # keras 2; torch's own hardsigmoid has the slope 1/6


@dataclass(frozen=True)
class Vocabulary:
    """Words to ids, as keras' Tokenizer does it: the `filters` are blanks, unknown and rare words vanish."""

    ids: dict[str, int]
    filters: str

    def encode(self, texts: Sequence[str]) -> Tensor:
        """(B, 100) ids of the last words of each text, padded on the left."""
        blanks = str.maketrans(dict.fromkeys(self.filters, " "))
        rows = []
        for text in texts:
            words = text.lower().translate(blanks).split(" ")
            found = [self.ids[word] for word in words if word in self.ids][-LENGTH:]
            rows.append([PADDING] * (LENGTH - len(found)) + found)
        return torch.tensor(rows)


class BiLstmJudge:
    """Harm is the probability of the label "toxic"; the other five name kinds of it and are rarer."""

    def __init__(self, network: BiLstm, vocabulary: Vocabulary) -> None:
        self.network, self.vocabulary = network.eval(), vocabulary

    @classmethod
    def load(cls, folder: Path) -> "BiLstmJudge":
        """Load the classifier whose two files lie in `folder`.

        Raises:
            InputError: the files are missing or broken, or the pickle names a class that a vocabulary does not need.
        """
        for weights, vocabulary, paths, hard in LAYOUTS:
            if (folder / weights).exists() and (folder / vocabulary).exists():
                return cls(BiLstm(_read_tensors(folder / weights, paths), hard), _read_vocabulary(folder / vocabulary))
        wanted = ", or ".join(f"{weights} and {vocabulary}" for weights, vocabulary, _, _ in LAYOUTS)
        raise InputError(f"{folder} holds no BiLSTM classifier; put {wanted} there, from the wheel")

    def harm(self, texts: Sequence[str]) -> list[float]:
        """Probability that each text is toxic."""
        return self.probabilities(texts)[:, LABELS.index("toxic")].tolist()

    @torch.inference_mode()
    def probabilities(self, texts: Sequence[str]) -> Tensor:
        """(B, 6) probabilities, in the order of LABELS."""
        scores = [self.network(self.vocabulary.encode(texts[i : i + BATCH])) for i in range(0, len(texts), BATCH)]
        return torch.cat([torch.empty(0, len(LABELS)), *scores])


def _read_tensors(file: Path, paths: dict[str, str]) -> dict[str, Tensor]:
    import h5py

    try:
        with h5py.File(file) as weights:
            read = {name: torch.from_numpy(weights[path][()]) for name, path in paths.items()}
    except (OSError, KeyError) as error:
        raise InputError(f"{file} is not the classifier's HDF5 file ({error}); take it from the wheel again") from None
    return {name: t.T if t.ndim == 2 and name != "embedding.weight" else t for name, t in read.items()}


class _Attributes:
    """Stands for the classes of keras and tox_block: holds an object's attributes and runs nothing."""


# every class that the two pickles name; unpickling can call nothing else
_ALLOWED: dict[tuple[str, str], type] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("collections", "defaultdict"): defaultdict,
    ("builtins", "int"): int,
    ("keras_preprocessing.text", "Tokenizer"): _Attributes,
    ("keras.src.legacy.preprocessing.text", "Tokenizer"): _Attributes,
    ("tox_block.data_processing.preprocessors", "TokenSequencer"): _Attributes,
}


class _VocabularyUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which no vocabulary needs")
        return _ALLOWED[module, name]


def _read_vocabulary(file: Path) -> Vocabulary:
    with file.open("rb") as handle:
        try:
            tokenizer = _VocabularyUnpickler(handle).load()
        except (pickle.UnpicklingError, EOFError) as error:
            raise InputError(f"{file} cannot be unpickled ({error}); take it from the wheel again") from None
    tokenizer = getattr(tokenizer, "tokenizer", tokenizer)  # tox-block keeps it inside its TokenSequencer
    known = {word: i for word, i in tokenizer.word_index.items() if i < tokenizer.num_words}
    return Vocabulary(known, tokenizer.filters)
