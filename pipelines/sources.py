"""Sources of all kinds: those of the library, and versions of an MLflow registry."""

from pathlib import Path

from wpn.config import Source


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
