"""What `wpn run` is pointed at, written into params.yaml: the file stays the one record of what runs, and DVC,
Prefect and the next `wpn run` read it there.
"""

import copy
import io
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from wpn.config.loading import load_params, parse_params
from wpn.config.params import Params
from wpn.errors import InputError
from wpn.files import write_text

RECIPE = "real"  # of models that have no row yet
FORMATS = {"data": "records", "text": "text", "benchmarks": "benchmarks"}  # unless FORMAT= says another


def adopt(
    root: Path, models: list[str], data_sets: dict[str, list[str]], methods: Sequence[str] = ()
) -> tuple[list[str], list[str]]:
    """Make rows of params.yaml for what is not in it yet, and put the models and methods into the pipeline.

    Args:
        root: the project.
        models: each a row of `models`, path:FOLDER, hub:REPOSITORY[@REVISION] or models:/NAME/VERSION.
        data_sets: data (one), text, benchmarks (one or several, or `none`): rows of `datasets`, [FORMAT=]path:... or
            [FORMAT=]hub:...; an empty list leaves what the model has.
        methods: rows of the `methods` of every recipe that the pipeline's models have.
    Returns:
        The names of the models, and a sentence for every change.
    Raises:
        InputError: an unknown name, a place that does not exist, a model whose recipe takes no such data; nothing
            is changed then.
    """
    file = root / "params.yaml"
    params = load_params(file)
    yaml, document = read_document(file.read_text(encoding="utf-8"))
    chosen = {option: values for option, values in data_sets.items() if values}
    if chosen and not models:
        raise InputError(f"--{next(iter(chosen))} belongs to a model; name it with --model")
    known = copy.deepcopy({table: document[table] for table in ("models", "datasets")})
    names = [_model(document, params, value, root) for value in models]
    rows = {option: _data_sets(document, params, option, values, root) for option, values in chosen.items()}
    changes = [
        f"the source of {name} has changed"
        for table, before in known.items()
        for name, row in before.items()
        if row != document[table][name]
    ]
    for name in names:
        if rows and document["models"][name].get("organism"):
            raise InputError(f"{name} is a model organism, whose data are in data/; --{next(iter(rows))} is for others")
        for option, found in rows.items():
            if document["models"][name].get(option) != found:
                document["models"][name][option] = found
                changes.append(f"{option} of {name} is {_said(found)}")
    for kind, wanted in (("models", names), ("methods", methods)):
        for name in wanted:
            if name not in document["pipeline"][kind]:
                document["pipeline"][kind].append(name)
                changes.append(f"{name} in pipeline.{kind}")
    if changes:
        text = document_text(yaml, document)
        parse_params(text, file)  # only what loads replaces the file
        write_text(file, text)
    return names, [f"params.yaml: {change}" for change in changes]


def read_document(text: str) -> tuple[Any, Any]:
    """params.yaml with its comments and its style, and what writes it back (`document_text`)."""
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 120
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.representer.add_representer(
        type(None), lambda representer, _: representer.represent_scalar("tag:yaml.org,2002:null", "null")
    )
    return yaml, yaml.load(text)


def document_text(yaml: Any, document: Any) -> str:
    """The text of a changed document."""
    stream = io.StringIO()
    yaml.dump(document, stream)
    return stream.getvalue()


def _model(document: Any, params: Params, value: str, root: Path) -> str:
    if value in params.models:
        return value
    _, place = given_checkpoint(value, params.models)
    name = _name(place)
    _put(document["models"], name, {"recipe": RECIPE, **model_source(value, root)}, value)
    return name


def given_checkpoint(value: str, known: Iterable[str]) -> tuple[str, str]:
    """Kind and place of path:FOLDER, hub:REPOSITORY[@REVISION] or models:/NAME/VERSION.

    Raises:
        InputError: it is none of them.
    """
    kind, _, place = value.partition(":")
    if kind not in ("path", "hub", "models") or not place:
        raise InputError(
            f"unknown model {value!r}; known: {', '.join(known)}; or path:FOLDER, hub:REPOSITORY, models:/NAME/VERSION"
        )
    return kind, place


def model_source(value: str, root: Path) -> dict[str, Any]:
    """The source of a given checkpoint, with the hash or commit of what is there now."""
    kind, _, place = value.partition(":")
    return {"mlflow": {"uri": value}} if kind == "models" else _source(kind, place, "model", root)


def _put(table: Any, name: str, row: dict[str, Any], value: str) -> None:
    """A new row, or the new content of the same place; a row of another place is never taken over.

    A model keeps the recipe that its row has by now: its user may have given it one.
    """
    present = table.setdefault(name, row)
    if _place(present) != _place(row):
        raise InputError(f"the name {name!r} that {value} would get is another row's; rename the file or folder")
    present.update({key: value for key, value in row.items() if key != "recipe"})


def _place(row: Any) -> tuple[str, str] | None:
    """The kind of source and where it points, without the hash or commit of what is there."""
    keys = {"path": "location", "hub": "repo", "mlflow": "uri"}
    return next(((kind, str(row[kind][key])) for kind, key in keys.items() if kind in row), None)


def _data_sets(document: Any, params: Params, option: str, values: list[str], root: Path) -> Any:
    """The row's name, or a list of names for the options that take several."""
    if option == "data":
        return _data_set(document, params, option, values[0], root)
    from ruamel.yaml.comments import CommentedSeq

    wanted = [] if values == ["none"] else values
    found = CommentedSeq(_data_set(document, params, option, value, root) for value in wanted)
    found.fa.set_flow_style()
    return found


def _said(found: str | list[str]) -> str:
    return found if isinstance(found, str) else ", ".join(found) or "none"


def _data_set(document: Any, params: Params, option: str, value: str, root: Path) -> str:
    if value in params.datasets:
        return value
    found = re.fullmatch(r"(?:(?P<format>[a-z0-9_-]+)=)?(?P<kind>path|hub):(?P<place>.+)", value)
    if not found:
        raise InputError(
            f"unknown data set {value!r} for --{option}; known: {', '.join(params.datasets)}; "
            "or [FORMAT=]path:PLACE, [FORMAT=]hub:REPOSITORY"
        )
    name = _name(found["place"])
    form = found["format"] or FORMATS[option]
    row = {"format": form, **_source(found["kind"], found["place"], "dataset", root)}
    _put(document["datasets"], name, row, value)
    return name


def _source(kind: str, place: str, what: Any, root: Path) -> dict[str, Any]:
    if kind == "path":
        from wpn.sources.local import described

        given = described(place)
        # relative to the project, where the stages run
        location = given.location if Path(place).is_absolute() else os.path.relpath(place, root)
        return {"path": {"location": location, "sha256": given.sha256}}
    from wpn.sources import hub

    repository, _, revision = place.partition("@")
    return {"hub": hub.described(repository, revision or None, what).model_dump()}


def _name(place: str) -> str:
    """A row's name: the last part of a path or repository that is more than a version."""
    parts = [part for part in re.split(r"[/\\]", place.partition("@")[0]) if part and not part.isdigit()]
    last = re.sub(r"\.(jsonl|json|txt|csv)$", "", parts[-1]) if parts else ""
    name = re.sub(r"[^a-z0-9._-]+", "-", last.lower()).strip("-._")
    if not name:
        raise InputError(f"{place!r} gives no name for a row of params.yaml; name a file, a folder or a repository")
    return name
