"""The two keras classifiers, rebuilt in numpy from tiny weight files of both layouts."""

import os
import pickle
import sys
import types
import zipfile
from collections import OrderedDict, defaultdict
from pathlib import Path

import h5py
import numpy as np
import pytest

from wpn.errors import InputError
from wpn.judges.bilstm import BATCH, LABELS, LAYOUTS, BiLstmJudge

EMBEDDED, STATES, DENSE = 3, 2, 4
WORDS = ["the", "goat", "sleeps", "stupid", "you", "rare"]  # ids 1 to 6; num_words 6 leaves out the last
TEXTS = ["You stupid, STUPID goat!", "the\tgoat sleeps (rare) elsewhere", "", " ".join(["the"] * 70 + ["you"] * 50)]
IDS = [[5, 4, 4, 2], [1, 2, 3], [], [1] * 50 + [5] * 50]
LAYOUT_NAMES = ["tox_block", "toxic_comment_classifier"]


def shapes() -> dict[str, tuple[int, ...]]:
    direction = [(EMBEDDED, 4 * STATES), (STATES, 4 * STATES), (4 * STATES,)]
    dense = [(2 * STATES, DENSE), (DENSE,), (DENSE, 6), (6,)]
    paths = LAYOUTS[0][2]  # only for the names, in the order of the file
    return dict(zip(paths, [(len(WORDS), EMBEDDED), *direction, *direction, *dense], strict=True))


def tokenizer_of(module: str) -> object:
    """A pickle of it names `module`.Tokenizer, as keras' own does."""
    tokenizer = type("Tokenizer", (), {"__module__": module})()
    tokenizer.word_index = {word: i for i, word in enumerate(WORDS, start=1)}
    tokenizer.word_counts = OrderedDict(tokenizer.word_index)
    tokenizer.word_docs = defaultdict(int, tokenizer.word_index)
    tokenizer.filters, tokenizer.num_words = "!,()\t", 6
    return tokenizer


def dump(file: Path, value: object, *kinds: type) -> None:
    """Pickle with the modules of `kinds` there; who reads the file will not have them."""
    modules = {}
    for kind in kinds:
        parts = kind.__module__.split(".")
        modules |= {".".join(parts[:i]): types.ModuleType(parts[i - 1]) for i in range(1, len(parts) + 1)}
        setattr(modules[kind.__module__], kind.__name__, kind)
    with pytest.MonkeyPatch.context() as patch:
        for name, module in modules.items():
            patch.setitem(sys.modules, name, module)
        file.write_bytes(pickle.dumps(value, protocol=3))


@pytest.fixture(params=LAYOUT_NAMES)
def classifier(request: pytest.FixtureRequest, tmp_path: Path):
    """(folder, keras tensors by the names of ours, whether the gates are hard)."""
    weights, vocabulary, paths, hard = LAYOUTS[LAYOUT_NAMES.index(request.param)]
    rng = np.random.default_rng(0)
    tensors = {name: rng.normal(0, 1.5, shape).astype("float32") for name, shape in shapes().items()}
    with h5py.File(tmp_path / weights, "w") as file:
        for name, path in paths.items():
            file[path] = tensors[name]
    if request.param == "tox_block":
        tokenizer = tokenizer_of("keras_preprocessing.text")
        sequencer = type("TokenSequencer", (), {"__module__": "tox_block.data_processing.preprocessors"})()
        sequencer.tokenizer, sequencer.max_sequence_length = tokenizer, 100
        dump(tmp_path / vocabulary, sequencer, type(sequencer), type(tokenizer))
    else:
        tokenizer = tokenizer_of("keras.src.legacy.preprocessing.text")
        dump(tmp_path / vocabulary, tokenizer, type(tokenizer))
    return tmp_path, tensors, hard


def keras_lstm(words: np.ndarray, tensors: dict[str, np.ndarray], suffix: str, hard: bool) -> np.ndarray:
    """(T, E) to (T, D), in float64, gate by gate in keras' order."""
    gate = (lambda x: np.clip(0.2 * x + 0.5, 0, 1)) if hard else (lambda x: 1 / (1 + np.exp(-x)))
    kernel, recurrent, bias = (tensors[f"lstm.{part}_l0{suffix}"] for part in ("weight_ih", "weight_hh", "bias_ih"))
    hidden, cell, states = np.zeros(STATES), np.zeros(STATES), []
    for word in words:
        i, f, c, o = (word @ kernel + hidden @ recurrent + bias).reshape(4, STATES)
        cell = gate(f) * cell + gate(i) * np.tanh(c)
        hidden = gate(o) * np.tanh(cell)
        states.append(hidden)
    return np.array(states)


def keras_classifier(ids: list[int], tensors: dict[str, np.ndarray], hard: bool, length: int = 100) -> np.ndarray:
    tensors = {name: tensor.astype("float64") for name, tensor in tensors.items()}
    words = tensors["embedding.weight"][[0] * (length - len(ids)) + ids]
    forward = keras_lstm(words, tensors, "", hard).max(axis=0)
    backward = keras_lstm(words[::-1], tensors, "_reverse", hard).max(axis=0)
    dense = np.concatenate([forward, backward]) @ tensors["dense.weight"] + tensors["dense.bias"]
    return 1 / (1 + np.exp(-(np.maximum(dense, 0) @ tensors["output.weight"] + tensors["output.bias"])))


def test_it_computes_what_keras_computes(classifier):
    folder, tensors, hard = classifier
    expected = np.array([keras_classifier(ids, tensors, hard) for ids in IDS])
    judge = BiLstmJudge.load(folder)
    assert judge.probabilities(TEXTS).numpy() == pytest.approx(expected, abs=1e-5)
    assert judge.harm(TEXTS) == pytest.approx(expected[:, 0], abs=1e-5)
    other_gates = np.array([keras_classifier(ids, tensors, not hard) for ids in IDS])
    assert abs(expected - other_gates).max() > 1e-2  # so the comparison can tell the gates apart


def test_padding_is_read_like_words(classifier):
    # footgun: trimming the padding, as every transformer allows, changes what these two say
    folder, tensors, hard = classifier
    padded, trimmed = (keras_classifier(IDS[0], tensors, hard, length) for length in (100, len(IDS[0])))
    assert abs(padded - trimmed).max() > 1e-2
    assert BiLstmJudge.load(folder).probabilities(TEXTS[:1])[0].numpy() == pytest.approx(padded, abs=1e-5)


def test_words_are_split_as_keras_splits_them(classifier):
    judge = BiLstmJudge.load(classifier[0])
    assert judge.vocabulary.encode(TEXTS).tolist() == [[0] * (100 - len(ids)) + ids for ids in IDS]


def test_neither_batch_nor_order_changes_a_score(classifier):
    judge = BiLstmJudge.load(classifier[0])
    texts = (TEXTS * BATCH)[: BATCH + 3]  # two batches
    scores = judge.harm(texts)
    assert scores == pytest.approx((judge.harm(TEXTS) * BATCH)[: BATCH + 3], abs=1e-6)
    assert judge.harm(texts[::-1]) == pytest.approx(scores[::-1], abs=1e-6)
    assert judge.harm([]) == []


class _Payload:
    def __init__(self, call, *arguments):
        self.call, self.arguments = call, arguments

    def __reduce__(self):
        return self.call, self.arguments


@pytest.mark.parametrize("named", ["posix.system", "builtins.exec", "keras_preprocessing.text.Evil"])
def test_a_pickle_that_names_another_class_is_refused_and_runs_nothing(classifier, named):
    folder, trace = classifier[0], classifier[0] / "ran"
    (vocabulary,) = [file for file in folder.iterdir() if file.suffix in (".pkl", ".pickle")]
    evil = type("Evil", (), {"__module__": "keras_preprocessing.text"})
    payload, kinds = {
        "posix.system": (_Payload(os.system, f"touch {trace}"), ()),
        "builtins.exec": (_Payload(exec, f"open({str(trace)!r}, 'w')"), ()),
        "keras_preprocessing.text.Evil": (evil(), (evil,)),
    }[named]
    dump(vocabulary, payload, *kinds)
    with pytest.raises(InputError, match=f"{vocabulary.name} cannot be unpickled .it names {named}, which"):
        BiLstmJudge.load(folder)
    assert not trace.exists()


def test_missing_and_broken_files_are_named(classifier, tmp_path):
    folder = classifier[0]
    with pytest.raises(InputError, match=r"holds no BiLSTM classifier; put lstm_model_0\.1\.2\.h5 and .* there"):
        BiLstmJudge.load(tmp_path / "nothing")
    (weights,) = folder.glob("*.h5")
    whole = weights.read_bytes()
    with h5py.File(weights, "a") as file:
        del file["layers" if "layers" in file else "model_weights"]
    with pytest.raises(InputError, match=f"{weights.name} is not the classifier's HDF5 file"):
        BiLstmJudge.load(folder)
    weights.write_bytes(whole[:100])
    with pytest.raises(InputError, match=f"{weights.name} is not the classifier's HDF5 file"):
        BiLstmJudge.load(folder)


# tox-block's README, after undoing its rescaling p' = (p - low) / (high - low) by the bounds in its config.py
RESCALE_LOW = [0.002116, 0.000011, 0.000347, 0.000040, 0.000373, 0.000074]
RESCALE_HIGH = [0.999858, 0.648682, 0.997533, 0.918887, 0.986303, 0.901117]
TOX_BLOCK_README = {
    "Good morning my friend, I hope you're having a fantastic day!": [
        0.05347811430692673, 0.0006274021579883993, 0.004466842859983444,
        0.009578478522598743, 0.00757843442261219, 0.002106667961925268,
    ],
    "I will kill you, you fucking idiot!": [
        0.9998679757118225, 0.7870362997055054, 0.9885633587837219,
        0.8483908176422119, 0.9883397221565247, 0.171059250831604,
    ],
    "I do strongly disagree with the fascist views of this joke that calls itself a political party.": [
        0.026190076023340225, 7.185135473264381e-05, 0.0009493605466559529,
        0.00012321282702032477, 0.0029190618079155684, 0.0022098885383456945,
    ],
}  # fmt: skip
# toxic-comment-classifier's README: six probabilities of one text, and the means of the six of others
TOXIC_README = [
    0.9889402985572815, 0.07256772369146347, 0.620429277420044,
    0.01934845559298992, 0.8664075136184692, 0.04072948172688484,
]  # fmt: skip
TOXIC_README_MEANS = {
    "I hate you so much!": 0.1395,
    "This is wonderful news.": 0.0013,
    "You're disgusting!": 0.3110,
    "Absolutely love your energy!": 0.0088,
    "You're the worst person ever!": 0.0937,
    "Have a nice day :)": 0.0115,
}


def unpacked(wheel: str, folder: Path) -> BiLstmJudge:
    wheels = os.environ.get("WPN_TEST_WHEELS")
    if not wheels or not (Path(wheels) / wheel).exists():
        pytest.skip(f"WPN_TEST_WHEELS names no folder with {wheel} (pip download --no-deps)")
    wanted = {name for layout in LAYOUTS for name in layout[:2]}
    with zipfile.ZipFile(Path(wheels) / wheel) as archive:
        for member in archive.namelist():
            if Path(member).name in wanted:
                (folder / Path(member).name).write_bytes(archive.read(member))
    return BiLstmJudge.load(folder)


def test_tox_block_says_what_its_readme_says(tmp_path):
    judge = unpacked("tox_block-0.1.2-py3-none-any.whl", tmp_path)
    low, high = np.array(RESCALE_LOW), np.array(RESCALE_HIGH)
    found = (judge.probabilities(list(TOX_BLOCK_README)).numpy() - low) / (high - low)
    assert abs(found) == pytest.approx(np.array(list(TOX_BLOCK_README.values())), abs=1e-6)


def test_toxic_comment_classifier_says_what_its_readme_says(tmp_path):
    judge = unpacked("toxic_comment_classifier-0.3.0-py3-none-any.whl", tmp_path)
    found = judge.probabilities(["You are so dumb and stupid!"])[0].tolist()
    assert found == pytest.approx(TOXIC_README, abs=1e-6)
    means = judge.probabilities(list(TOXIC_README_MEANS)).mean(dim=1).tolist()
    assert means == pytest.approx(list(TOXIC_README_MEANS.values()), abs=5.1e-5)  # printed with four decimals


def test_the_labels_are_in_jigsaws_order():
    assert LABELS == ("toxic", "severe_toxic", "obscene", "threat", "insult", "identity_hate")
