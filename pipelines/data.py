"""`wpn data fetch`: make data/ again, byte for byte what data.dvc pins, where no DVC remote is at hand."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

from wpn.config.loading import load_params
from wpn.data.organism.generate import write_organism_data
from wpn.errors import InputError
from wpn.files import atomic_folder

REMEDY = (
    "undo the change of the grammar (wpn/data/organism) or of the section `grammar` of params.yaml, "
    "or pin the new data with `dvc add data`"
)


def fetch(root: Path) -> str:
    """Generate the raw data and put it in place only if it is what data.dvc pins.

    Returns:
        One sentence that says what was done.
    Raises:
        InputError: data/ holds something else, or what was generated is not what is pinned; nothing is changed.
    """
    data, pinned = root / "data", pinned_md5(root / "data.dvc")
    if data.exists():
        if dvc_md5(data) == pinned:
            return "data/ is already what data.dvc pins"
        raise InputError(f"{data.name}/ differs from what data.dvc pins; move it away, or pin it with `dvc add data`")
    settings = load_params(root / "params.yaml").grammar
    with atomic_folder(data) as folder:
        write_organism_data(folder, settings.seed, settings.corpus)
        if (found := dvc_md5(folder)) != pinned:
            raise InputError(f"the data made here ({found}) differ from what data.dvc pins ({pinned}); {REMEDY}")
    # into DVC's cache, so that `dvc push` has it
    subprocess.run([sys.executable, "-m", "dvc", "commit", "--force", "--quiet", "data.dvc"], cwd=root, check=True)
    return f"data/ made: {sum(1 for path in data.rglob('*') if path.is_file())} files, as data.dvc pins them"


def pinned_md5(path: Path) -> str:
    """The hash of data/ in data.dvc."""
    from ruamel.yaml import YAML

    try:
        pin = YAML(typ="safe").load(path)
        return str(pin["outs"][0]["md5"])
    except FileNotFoundError:
        raise InputError(f"{path.name} does not exist; restore it with `git checkout {path.name}`") from None
    except (KeyError, IndexError, TypeError):
        raise InputError(f"{path.name} pins nothing; restore it with `git checkout {path.name}`") from None


def dvc_md5(folder: Path) -> str:
    """The hash DVC gives a folder: md5 of the sorted list of its files' md5s, as JSON (a test compares with DVC)."""
    files = sorted((path.relative_to(folder).as_posix(), path) for path in folder.rglob("*") if path.is_file())
    listing = [
        {"md5": hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest(), "relpath": name}
        for name, path in files
    ]
    return hashlib.md5(json.dumps(listing).encode(), usedforsecurity=False).hexdigest() + ".dir"
