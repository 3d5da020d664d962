"""Sources of all kinds: those of the library, and versions of an MLflow registry."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from wpn.config.methods import Icu, Method
from wpn.config.sources import Source

if TYPE_CHECKING:
    import torch

    from wpn.encoder import Encoder


def fetch(row: Source, target: Path) -> None:
    """Make the folder `target` with the files of a row's source; it stays empty for a row that names none.

    Raises:
        InputError: the source cannot be reached, does not hold what the row names, or holds other bytes.
    """
    target.mkdir(parents=True)
    if row.mlflow:
        from pipelines.registry import download

        download(Path.cwd(), row.mlflow.uri, target)
    elif row.given:
        from wpn import sources

        sources.fetch(row, target)


def fetch_encoder(method: Method, device: "torch.device") -> "Encoder | None":
    """The sentence model that a method's row names, fetched and loaded; None where it names none.

    It stays in memory only: what pins it is the row, by a commit or a hash.

    Raises:
        InputError: it cannot be had, or is no sentence model.
    """
    if not isinstance(method, Icu) or not method.encoder:
        return None
    from wpn.encoder import Encoder

    with tempfile.TemporaryDirectory() as folder:
        fetch(method.encoder, Path(folder) / "source")
        return Encoder.load(Path(folder) / "source", device)
