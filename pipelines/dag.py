"""The DVC graph as plain data: stage names, who needs whom, what changed, what holds a GPU.

DVC has no public call for this, so everything that touches its internals is in this one module. Prefect and
the command line see names only.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING

from wpn.errors import InputError

if TYPE_CHECKING:
    from dvc.repo import Repo
    from dvc.stage import PipelineStage


@dataclass(frozen=True)
class Graph:
    """Stages of dvc.yaml; `changed` holds those that DVC would run by themselves, without their downstream."""

    upstream: dict[str, frozenset[str]]
    changed: frozenset[str]
    gpu: frozenset[str]
    first: frozenset[str]  # take a moment, and only their result tells what else is stale


def find_root(start: Path | None = None) -> Path:
    """The folder of dvc.yaml: `start` (default: the current folder) or the nearest one above it."""
    start = (start or Path.cwd()).resolve()
    for folder in (start, *start.parents):
        if (folder / "dvc.yaml").is_file():
            return folder
    raise InputError(f"no dvc.yaml in {start} or above it; run this inside the project's folder")


def read(root: Path) -> Graph:
    """Ask DVC, in this process, for the graph and for what changed since dvc.lock was written.

    Raises:
        InputError: no DVC repository, a broken or cyclic dvc.yaml, a missing source file, DVC busy.
    """
    from dvc.exceptions import DvcException
    from dvc.lock import LockError
    from dvc.repo import Repo

    try:
        with Repo(str(root)) as repo:
            _refuse_missing_sources(repo)
            return _graph(repo)
    except LockError:
        raise InputError(f"another DVC command holds the lock of {root}; wait until it has ended") from None
    except DvcException as error:
        raise InputError(f"DVC cannot read {root / 'dvc.yaml'}: {_first_line(error)}; mend it") from None


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0].rstrip(".") if str(error).strip() else type(error).__name__


def _stages(repo: "Repo") -> "list[PipelineStage]":
    """The stages of the root's dvc.yaml, without data.dvc and its like, which pin files and run nothing."""
    from dvc.stage import PipelineStage

    file = Path(repo.root_dir) / "dvc.yaml"
    return [s for s in repo.index.stages if isinstance(s, PipelineStage) and Path(s.path) == file]


def _graph(repo: "Repo") -> Graph:
    # `addressing`, the key of DVC's status, is relative to the current folder; the name is not
    names = {stage.addressing: stage.name for stage in _stages(repo)}
    edges = repo.index.graph  # networkx: an edge goes from a stage to one that it needs
    return Graph(
        upstream={
            stage.name: frozenset(names[n.addressing] for n in edges.successors(stage) if n.addressing in names)
            for stage in _stages(repo)
        },
        changed=frozenset(names[address] for address in repo.status() if address in names),
        gpu=_marked(repo, "gpu"),
        first=_marked(repo, "first"),
    )


def _marked(repo: "Repo", mark: str) -> frozenset[str]:
    return frozenset(stage.name for stage in _stages(repo) if (stage.meta or {}).get(mark))


def _refuse_missing_sources(repo: "Repo") -> None:
    """A dependency that is neither there nor made by a stage: DVC would say only 'No such file'."""
    stages = _stages(repo)
    made = [Path(out.fs_path) for stage in stages for out in stage.outs]
    pinned = {Path(out.fs_path) for out in repo.index.outs} - set(made)
    for dependency in (dep for stage in stages for dep in stage.deps):
        path = Path(dependency.fs_path)
        if path.exists() or any(path.is_relative_to(out) or out.is_relative_to(path) for out in made):
            continue
        name = path.relative_to(repo.root_dir) if path.is_relative_to(repo.root_dir) else path
        remedy = "run `wpn data fetch`" if path in pinned or name == Path("data") else "restore it from git"
        raise InputError(f"{name} is missing, and a stage of dvc.yaml needs it; {remedy}")


def order(graph: Graph, names: Iterable[str]) -> list[str]:
    """`names` so that every stage comes after those it needs, else as dvc.yaml lists them."""
    wanted = set(names)
    listed = [name for name in graph.upstream if name in wanted]
    needs = {name: [other for other in listed if other in graph.upstream[name]] for name in listed}
    return list(TopologicalSorter(needs).static_order())


def select(
    graph: Graph,
    known_models: Iterable[str],
    known_methods: Iterable[str],
    models: Iterable[str] | None = None,
    methods: Iterable[str] | None = None,
) -> frozenset[str]:
    """The stages of the chosen models and methods (None: all) and everything upstream of them.

    A stage that is not of one model (`report`) is in only when all it needs is in.
    """
    known_models, known_methods = list(known_models), list(known_methods)
    chosen_models = choose("model", known_models, models)
    chosen_methods = choose("method", known_methods, methods)
    keys = {*chosen_models, *(f"{m}-{x}" for m in chosen_models for x in chosen_methods)}  # DVC's matrix suffixes

    selected: set[str] = set()
    for name in order(graph, graph.upstream):
        _, of_one_model, suffix = name.partition("@")
        if suffix in keys if of_one_model else graph.upstream[name] <= selected:
            selected |= {name} | _above(graph, name)
    return frozenset(selected)


def choose(kind: str, known: list[str], wanted: Iterable[str] | None) -> list[str]:
    """`wanted` in the order of `known`; None means all of them."""
    wanted = known if wanted is None else list(wanted)
    for name in wanted:
        if name not in known:
            raise InputError(f"unknown {kind} {name!r}; pipeline.{kind}s in params.yaml lists {', '.join(known)}")
    return [name for name in known if name in wanted]


def _above(graph: Graph, name: str) -> set[str]:
    return set(graph.upstream[name]).union(*(_above(graph, parent) for parent in graph.upstream[name]))


def stale(graph: Graph, selected: Iterable[str]) -> list[str]:
    """Those of `selected` that changed or are downstream of one that did, in the order to run them.

    The others need no subprocess at all, which is what makes a second run quick.
    """
    found: list[str] = []
    for name in order(graph, selected):
        if name in graph.changed or graph.upstream[name] & set(found):
            found.append(name)
    return found
