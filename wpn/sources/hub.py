"""Files of a hub repository at one commit, by the hub's own client.

The address (HF_ENDPOINT) and the token (HF_TOKEN) are read at each call; the client's cache (HF_HOME) and its offline
mode (HF_HUB_OFFLINE) when it is imported. Offline mode is the user's word and is respected: a process that fetches
must not be started with it, and one that sets it for its own sake (the stages that only read files) does not fetch.

A connection that breaks is taken up where it broke (to 10 MiB), by the client. After a killed process, finished files
are taken from the cache and the one under way starts again.
"""

import hashlib
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from wpn.config.sources import Hub
from wpn.errors import InputError
from wpn.sources import select
from wpn.sources.local import link_or_copy

if TYPE_CHECKING:
    from huggingface_hub import DatasetInfo, HfApi, ModelInfo
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.hf_api import RepoSibling

logger = logging.getLogger(__name__)

Kind = Literal["model", "dataset"]

MODEL_FILES = ("*.json", "*.jinja", "*.txt", "*.model")
DATASET_FILES = ("*.jsonl", "*.json", "*.jsonl.gz", "*.json.gz", "*.parquet", "*.csv")
TRIES = 4  # of a request that the hub refuses with 429
PATIENCE = 300  # seconds: the hub counts requests in windows of five minutes
TIMEOUT = 20  # seconds, of the request for the listing


def described(repo: str, revision: str | None = None, kind: Kind = "model") -> Hub:
    """The row for a repository as it is now: the commit that the branch or tag (or the default branch) points to.

    Files: configuration, tokenizer and safetensors of a model (pytorch_model*.bin where it has no safetensors), the
    rows of a data set; of these patterns, those that match something.

    Raises:
        InputError: as `fetch`; or the repository has none of these files.
    """
    api = _api()
    with _said(api, repo, revision, kind):
        info = _info(api, repo, revision, kind, with_hashes=False)
    names = [sibling.rfilename for sibling in info.siblings or ()]
    patterns: tuple[str, ...] = DATASET_FILES
    if kind == "model":
        is_safe = any(name.endswith(".safetensors") and "/" not in name for name in names)
        patterns = (*MODEL_FILES, "*.safetensors" if is_safe else "pytorch_model*.bin")
    files = [pattern for pattern in patterns if any(fnmatchcase(name, pattern) for name in names)]
    if not files:
        raise InputError(f"the {kind} {repo} holds no {' '.join(patterns)}; name its files yourself")
    return Hub(repo=info.id, kind=kind, revision=str(info.sha), files=files)


def fetch(source: Hub, target: Path) -> None:
    """Put the files that the row names into `target`, under their paths in the repository, each of them verified.

    Raises:
        InputError: the hub cannot be reached or refuses, the repository, the commit or a file is unknown, or what
            arrives is not what the hub's own listing says.
    """
    api = _api()
    with _said(api, source.repo, source.revision, source.kind):
        info = _info(api, source.repo, source.revision, source.kind, with_hashes=True)
    siblings = {sibling.rfilename: sibling for sibling in info.siblings or ()}
    for name in select(list(siblings), source.files, f"the {source.kind} {source.repo}"):
        place = target / name
        place.parent.mkdir(parents=True, exist_ok=True)
        link_or_copy(_verified(api, source, siblings[name]), place)


def _api() -> "HfApi":
    from huggingface_hub import HfApi

    return HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None, library_name="wpn")


def _info(api: "HfApi", repo: str, revision: str | None, kind: Kind, with_hashes: bool) -> "ModelInfo | DatasetInfo":
    """Commit and listing of a repository, in one request; the client itself retries downloads, but not this."""
    from huggingface_hub.errors import HfHubHTTPError

    ask = api.model_info if kind == "model" else api.dataset_info
    tries = 0
    while True:
        try:
            return ask(repo, revision=revision, files_metadata=with_hashes, timeout=TIMEOUT)
        except HfHubHTTPError as error:
            tries += 1
            wait = _wait(error)
            if wait is None or wait > PATIENCE or tries == TRIES:
                raise
        logger.warning("the hub asks to wait %d s", wait)
        time.sleep(wait)


def _wait(error: "HfHubHTTPError") -> int | None:
    """Seconds after which to ask again; None where asking again is no use."""
    from huggingface_hub.utils import parse_ratelimit_headers

    if error.response.status_code != 429:
        return None
    if (after := error.response.headers.get("Retry-After", "")).isdigit():
        return int(after)
    limit = parse_ratelimit_headers(error.response.headers)
    return limit.reset_in_seconds if limit else 1


def _verified(api: "HfApi", source: Hub, sibling: "RepoSibling") -> Path:
    """The file in the client's cache; a broken one is fetched again once."""
    for again in (False, True):
        with _said(api, source.repo, source.revision, source.kind):
            file = Path(
                api.hf_hub_download(
                    source.repo,
                    sibling.rfilename,
                    repo_type=source.kind,
                    revision=source.revision,
                    force_download=again,
                )
            )
        expected = sibling.lfs.sha256 if sibling.lfs is not None else sibling.blob_id
        found = _sha256(file) if sibling.lfs is not None else git_sha1(file)
        if found == expected:
            return file
    raise InputError(
        f"{sibling.rfilename} of {source.repo} arrives with the hash {found}, but the hub lists {expected}; "
        "try again, from another network or without a mirror (HF_ENDPOINT)"
    )


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def git_sha1(file: Path) -> str:
    """The name that git gives to this content (`git hash-object FILE`), and the hub to files that it keeps in git."""
    start = hashlib.sha1(f"blob {file.stat().st_size}\0".encode(), usedforsecurity=False)
    with file.open("rb") as content:
        return hashlib.file_digest(content, lambda: start).hexdigest()


@contextmanager
def _said(api: "HfApi", repo: str, revision: str | None, kind: Kind) -> Iterator[None]:
    """Turn what the client raises into one sentence."""
    from huggingface_hub.errors import HTTPError

    try:
        yield
    except (HTTPError, OSError, ValueError) as error:
        page = f"{api.endpoint}/{'datasets/' if kind == 'dataset' else ''}{repo}"
        raise InputError(_sentence(error, f"the {kind} {repo}", page, revision)) from None


def _sentence(error: BaseException, name: str, page: str, revision: str | None) -> str:
    from huggingface_hub import errors

    while not isinstance(error, errors.HTTPError) and error.__cause__ is not None:
        error = error.__cause__  # the client wraps what happened as "not in the cache"
    status = error.response.status_code if isinstance(error, errors.HfHubHTTPError) else None
    detail = " ".join(str(error).split())[:160]
    if isinstance(error, errors.OfflineModeIsEnabled):
        return f"{name} cannot be fetched in offline mode; unset HF_HUB_OFFLINE and TRANSFORMERS_OFFLINE"
    if isinstance(error, errors.RevisionNotFoundError):
        return f"{name} has no revision {revision}; take a branch, tag or commit of {page}/commits"
    if isinstance(error, errors.RepositoryNotFoundError) and not isinstance(error, errors.GatedRepoError):
        return f"the hub knows no such {name.removeprefix('the ')}, or it is private; correct the name, or set HF_TOKEN"
    if status in (401, 403):
        return (
            f"{name} is not open to you ({status}); accept its licence on {page} and set HF_TOKEN to a token of yours"
        )
    if status == 429:
        return "the hub refuses more requests for now (429); wait five minutes, or set HF_TOKEN for a higher limit"
    if status is not None:
        return f"the hub answers {status} for {name} ({detail}); try again later"
    if isinstance(error, errors.HTTPError):
        return f"the hub cannot be reached for {name} ({detail}); check the network and HF_ENDPOINT"
    return f"{name} cannot be fetched ({detail}); try again"
