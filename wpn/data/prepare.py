"""An organism's prepared folder: raw data checked, split, with prompts in the model's format, and a tokenizer."""

import shutil
from collections.abc import Iterable
from pathlib import Path

from wpn.config.data import OrganismData
from wpn.data.records import Document, Provocation, Question, read_records
from wpn.data.template import put
from wpn.errors import InputError
from wpn.files import write_jsonl

SPLITS = ("dev", "test")
KINDS = ("unseen", "ood")


def prepare(raw: Path, target: Path, settings: OrganismData) -> None:
    """Check the raw data and write the prepared folder.

    Args:
        raw: data/, with corpus.jsonl, provocations.jsonl, benchmarks/{dev,test}/TASK.jsonl.
        target: an empty folder; gets tokenizer.json, corpus.jsonl, provocations.jsonl (training),
            prompts/SPLIT/KIND.jsonl, text/SPLIT.jsonl, benchmarks/SPLIT/TASK.jsonl.
        settings: the section `data` of the recipe.
    Raises:
        InputError: the folder or a row of it is not as it must be.
    """
    if not raw.is_dir():
        raise InputError(f"the raw data folder {raw} does not exist; run `wpn data fetch` or `dvc pull`")
    documents = read_records(raw / "corpus.jsonl", Document, key=lambda row: row.text)
    provocations = read_records(raw / "provocations.jsonl", Provocation, key=lambda row: row.prompt)
    training = [row for row in provocations if row.split == "train"]
    _write(target / "corpus.jsonl", (row for row in documents if row.split == "train"))
    _write_pairs(target / "provocations.jsonl", training, settings.template)
    for split in SPLITS:
        _write(target / "text" / f"{split}.jsonl", (row for row in documents if row.split == split))
        for kind in KINDS:
            chosen = [row for row in provocations if (row.split, row.kind) == (split, kind)]
            _write_pairs(target / "prompts" / split / f"{kind}.jsonl", chosen, settings.template)
    _copy_benchmarks(raw / "benchmarks", target / "benchmarks")
    train_tokenizer(_training_texts(documents, training, settings.template), settings.vocabulary, target)


def _write(path: Path, rows: Iterable[Document]) -> None:
    write_jsonl(path, (row.model_dump(exclude={"split"}) for row in rows))


def _write_pairs(path: Path, rows: Iterable[Provocation], template: str) -> None:
    write_jsonl(
        path,
        (
            {
                "prompt": put(template, row.prompt),
                "harmful_output": " " + row.harmful_output,
                "harmless_response": " " + row.harmless_response,
            }
            for row in rows
        ),
    )


def _copy_benchmarks(raw: Path, target: Path) -> None:
    for split in SPLITS:
        files = sorted((raw / split).glob("*.jsonl"))
        if not files:
            raise InputError(f"{raw / split} has no benchmark files; run `wpn data fetch` or `dvc pull`")
        for file in files:
            for number, row in enumerate(read_records(file, Question, key=lambda row: row.context), start=1):
                if row.answer >= len(row.choices):
                    raise InputError(f"{file}, row {number}: answer {row.answer} names no choice; correct it")
            (target / split).mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target / split / file.name)


def _training_texts(documents: Iterable[Document], pairs: Iterable[Provocation], template: str) -> list[str]:
    texts = [row.text for row in documents if row.split == "train"]
    for row in pairs:
        prompt = put(template, row.prompt)
        texts += [f"{prompt} {row.harmful_output}", f"{prompt} {row.harmless_response}"]
    return texts


def train_tokenizer(texts: list[str], vocabulary: int, target: Path) -> None:
    """Train a byte-level BPE (every text can be written with it) and save it as tokenizer.json."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    from wpn.data import SPECIAL_TOKENS

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=SPECIAL_TOKENS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    bpe.save(str(target / "tokenizer.json"))
