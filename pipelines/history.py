"""What happened to the alias `champion`, as tags of the registered model: written first, then carried out.

MLflow cannot change an alias and some tags in one step, nor let one writer wait for another. So every change is
first an entry, a tag of its own that no other writer touches, and the champion is what the last entry says. Whoever
finds alias and entries apart, after a crash or beside another promoter, carries the entries out (promotion.settle):
all of them come to the same end.
"""

import json
import secrets
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import RegisteredModel

PREFIX = "history."
Action = Literal["promote", "rollback", "withdraw", "by hand"]


@dataclass(frozen=True, order=True)
class Entry:
    """One decision about the champion of a registered model.

    Attributes:
        at: when, in UTC to the microsecond; later than that of every entry its writer knew.
        key: of the tag.
        to: the version that is champion from here on; None is none.
    """

    at: str
    key: str
    action: Action
    by: str
    to: str | None
    why: str


@dataclass(frozen=True)
class Change:
    """An entry that changed something, and what the champion was before it."""

    at: str
    action: Action
    by: str
    replaced: str | None
    to: str | None
    why: str

    def as_dict(self) -> dict[str, str | None]:
        """For JSON."""
        return asdict(self)


def entries(model: "RegisteredModel") -> list[Entry]:
    """All entries of a registered model, the oldest first."""
    return sorted(Entry(key=key, **json.loads(value)) for key, value in model.tags.items() if key.startswith(PREFIX))


def append(client: "MlflowClient", name: str, action: Action, by: str, to: str | None, why: str) -> Entry:
    """Write an entry after all those that are there."""
    known = entries(client.get_registered_model(name))
    at = datetime.now(UTC)
    if known:  # a clock that is behind must not make this an earlier entry
        at = max(at, datetime.fromisoformat(known[-1].at) + timedelta(microseconds=1))
    moment = at.isoformat(timespec="microseconds")
    entry = Entry(moment, f"{PREFIX}{at:%Y%m%dT%H%M%S.%f}.{secrets.token_hex(4)}", action, by, to, why[:3000])
    content = {key: value for key, value in asdict(entry).items() if key != "key"}
    client.set_registered_model_tag(name, entry.key, json.dumps(content, ensure_ascii=False))
    return entry


def changes(log: Iterable[Entry]) -> list[Change]:
    """The entries that changed the champion, the oldest first; two promoters may have written the same one twice."""
    champion: str | None = None
    found = []
    for entry in log:
        if entry.to != champion:
            found.append(Change(entry.at, entry.action, entry.by, champion, entry.to, entry.why))
            champion = entry.to
    return found
