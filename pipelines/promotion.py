"""Promotion and rollback: which version is `champion`, whatever was asked of whom at the same time.

A version may be champion while a person approves it, the gate's decision lets it through, and its stored weights are
those that were measured. Tags alone are not believed: the decision is read again from the run's artifacts.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipelines import artifacts, history
from pipelines.history import Change, Entry
from pipelines.registry import OPEN, PREFIX, find_version, now, versions_of, write
from wpn.errors import InputError

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

SETTLED = "history_settled"  # the last entry that was carried out
REFUSED = "promotion_refused"  # why a version was not promoted; it is not tried again while this stands
LOOKS_APART = 0.2  # seconds; MLflow reads aliases and tags one after the other, so that one look may be torn
ROUNDS = 20  # of settling, at most; another promoter may write meanwhile


@dataclass(frozen=True)
class _State:
    """What the registry says of one model."""

    champion: str | None
    previous: str | None
    log: list[Entry]
    settled: str | None

    @property
    def last(self) -> Entry | None:
        return self.log[-1] if self.log else None

    @property
    def wanted(self) -> str | None:
        return self.log[-1].to if self.log else None

    @property
    def moved_by_hand(self) -> bool:
        """The alias is elsewhere although all entries were carried out."""
        return self.champion != self.wanted and self.settled == (self.last and self.last.key)


def _state(client: "MlflowClient", name: str) -> _State:
    model = client.get_registered_model(name)
    champion, previous = (model.aliases.get(alias) for alias in ("champion", "previous"))
    text = [None if number is None else str(number) for number in (champion, previous)]
    return _State(text[0], text[1], history.entries(model), model.tags.get(SETTLED))


def changes(client: "MlflowClient", name: str) -> list[Change]:
    """Every change of the champion, the oldest first.

    Raises:
        InputError: no such registered model.
    """
    versions_of(client, name)
    return history.changes(_state(client, name).log)


def settle(client: "MlflowClient", name: str, by: str) -> tuple[str | None, list[Entry]]:
    """Make aliases and tags say what the history says, and the history what must be.

    Ends what a crashed promoter began, notes what was moved by hand, and withdraws a champion that is approved no
    more. Running it twice, or beside another one, changes nothing further.

    Returns:
        The champion, and the entries that this call had to write.
    Raises:
        RuntimeError: others kept writing.
    """
    written: list[Entry] = []
    for _ in range(ROUNDS):
        state = _state(client, name)
        deleted = state.wanted is not None and _existing(client, name, state.wanted) is None  # and its alias with it
        if state.moved_by_hand and not deleted:
            time.sleep(LOOKS_APART)
            if _state(client, name) == state:
                moved = "the alias was moved outside wpn"
                written.append(history.append(client, name, "by hand", "unknown", state.champion, moved))
            continue
        if state.last is None:
            return None, written
        if fault := _lost(client, name, state.last):
            to = _fallback(client, name, state)
            written.append(history.append(client, name, "withdraw", by, to, f"version {state.wanted}: {fault}"))
            continue
        _carry_out(client, name, state)
        if _state(client, name).last == state.last:
            return state.wanted, written
    raise RuntimeError(f"the champion of {name} did not come to rest: others keep changing it; try again")


def _lost(client: "MlflowClient", name: str, last: Entry) -> str | None:
    """Why the champion that the history wants cannot be it any more."""
    if last.to is None:
        return None
    version = _existing(client, name, last.to)
    if version is None:
        return "it was deleted"
    if last.action == "by hand":
        return fault_of(client, version, last.to)
    return _tags_fault(version)


def _existing(client: "MlflowClient", name: str, number: str) -> "ModelVersion | None":
    return next((v for v in versions_of(client, name) if str(v.version) == number), None)


def _fallback(client: "MlflowClient", name: str, state: _State) -> str | None:
    """The last champion before this one that may still be it; none is better than one that may not."""
    for change in reversed(history.changes(state.log)):
        version = _existing(client, name, change.to) if change.to and change.to != state.wanted else None
        if version and _tags_fault(version) is None and "rolled_back_at" not in version.tags:
            return change.to
    return None


def _carry_out(client: "MlflowClient", name: str, state: _State) -> None:
    """Aliases and tags as the history has them; what is so already is not written."""
    done = history.changes(state.log)
    if state.champion != state.wanted:
        _point(client, name, "champion", state.wanted)
    previous = done[-1].replaced if done else None
    if state.previous != previous:
        _point(client, name, "previous", previous)
    if state.settled == (state.last and state.last.key):
        return
    if done and state.wanted is not None:
        change = done[-1]
        told = {"promoted_at": change.at, "promoted_by": change.by, "replaced_version": change.replaced or "none"}
        for key, value in told.items():
            write(client.set_model_version_tag, name, state.wanted, key, value)
    write(client.set_registered_model_tag, name, SETTLED, state.log[-1].key)


def _point(client: "MlflowClient", name: str, alias: str, version: str | None) -> None:
    if version is None:
        client.delete_registered_model_alias(name, alias)
    elif _existing(client, name, version):
        write(client.set_registered_model_alias, name, alias, version)


def _tags_fault(version: "ModelVersion") -> str | None:
    """What the tags alone have against a version."""
    approval, gate = version.tags.get("approval"), version.tags.get("gate")
    if approval != "approved":
        return f"its approval is {approval or 'not given'}"
    if gate not in OPEN:
        return f"its gate is {gate or 'not known'}"
    if gate == "overridden" and not (version.tags.get("gate_override_by") and version.tags.get("gate_override_reason")):
        return "its gate was overridden by nobody or without a reason; use `wpn override`"
    return None


def fault_of(client: "MlflowClient", version: "ModelVersion", champion: str | None) -> str | None:
    """Why a version may not be champion; None where it may.

    Reads the gate's decision again, decides again what it holds against the champion of now, and hashes the weights.
    """
    if fault := _tags_fault(version):
        return fault
    try:
        decision = artifacts.decision_against(client, version, champion)
        stored = artifacts.stored_weights_sha256(client, version)
    except (artifacts.Missing, InputError) as error:
        return str(error)
    said = version.tags.get("weights_sha256")
    if decision["weights_sha256"] != said:
        return f"the gate decided on other weights ({decision['weights_sha256'][:12]}) than its tag names"
    if decision["mode"] != "enforce":
        return "the gate only tried its criteria (dry_run)"
    if version.tags["gate"] == "passed" and not decision["passed"]:
        return f"the gate's decision is a refusal: {'; '.join(decision['reasons'])}"
    if stored != said:
        return f"the stored weights hash to {stored}, not to their tag"
    return None


def promote(client: "MlflowClient", by: str, dry_run: bool = False) -> list[dict[str, Any]]:
    """Make `champion` the newest approved version that may be, model by model.

    Only versions newer than every champion so far come into question, so that a rollback stays.

    Returns:
        Rows: model, champion before, version, action (none, promoted, would promote, refused, withdrawn), reason, and
        whether this run did it (`new`): what is refused is tagged with the reason, once.
    """
    models = sorted(model.name for model in client.search_registered_models(f"name LIKE '{PREFIX}%'"))
    return [row for name in models for row in _promote_one(client, name, by, dry_run)]


def _promote_one(client: "MlflowClient", name: str, by: str, dry_run: bool) -> Iterator[dict[str, Any]]:
    champion, written = (_state(client, name).champion, []) if dry_run else settle(client, name, by)
    row: dict[str, Any] = {"model": name, "champion": champion, "version": None, "action": "none"}
    row |= {"reason": "", "new": False}
    for change in _own(client, name, written):
        action = "withdrawn" if change.action == "withdraw" else change.action
        found = {"champion": change.replaced, "version": change.to, "action": action, "reason": change.why}
        yield {**row, **found, "new": True}
    for version in _waiting(client, name):
        row["version"] = str(version.version)
        if reason := version.tags.get(REFUSED):
            yield {**row, "action": "refused", "reason": reason}
            continue
        if fault := fault_of(client, version, champion):
            if not dry_run:
                write(client.set_model_version_tag, name, row["version"], REFUSED, fault)
            yield {**row, "action": "refused", "reason": fault, "new": not dry_run}
            continue
        if dry_run:
            yield {**row, "action": "would promote"}
            return
        why = version.tags.get("approval_reason") or "approved in the registry"
        entry = history.append(client, name, "promote", by, row["version"], why)
        settle(client, name, by)
        ours = _own(client, name, [entry])
        yield {**row, "action": "promoted", "new": True} if ours else {**row, "reason": "another promoter was faster"}
        return
    if row["version"] is None:
        yield {**row, "reason": "no approved version is newer than every champion so far"}


def _own(client: "MlflowClient", name: str, written: Sequence[Entry]) -> list[Change]:
    """Those of our entries that changed the champion: another promoter may have written the same a moment before."""
    moments = {entry.at for entry in written}
    return [change for change in history.changes(_state(client, name).log) if change.at in moments]


def _waiting(client: "MlflowClient", name: str) -> Sequence["ModelVersion"]:
    """Approved versions that are newer than every champion so far, the newest first."""
    done = history.changes(_state(client, name).log)
    newest = max((int(change.to) for change in done if change.to), default=0)
    approved = [v for v in versions_of(client, name) if v.tags.get("approval") == "approved"]
    return sorted((v for v in approved if int(v.version) > newest), key=lambda v: -int(v.version))


def rollback(client: "MlflowClient", name: str, to: str | None, by: str, why: str) -> Change:
    """Make an earlier champion, or any version that may be champion, the champion again.

    The version taken out is tagged, so that nothing brings it back but a person who names it.

    Args:
        to: a version; None is the last champion before this one that may still be it.
    Raises:
        InputError: no such version, none to go back to, or one that may not be champion.
    """
    if not by.strip() or not why.strip():
        raise InputError("--by and --reason must say something; they are kept with the change")
    versions_of(client, name)
    champion, _ = settle(client, name, by)
    chosen = to or _fallback(client, name, _state(client, name))
    if chosen is None:
        raise InputError(f"{name} has no earlier champion to go back to; name a version with --to")
    version = find_version(client, name, chosen)
    if chosen == champion:
        raise InputError(f"version {chosen} of {name} is champion already; name another one with --to")
    if fault := fault_of(client, version, None):
        raise InputError(f"version {chosen} of {name} cannot be champion: {fault}")
    if "rolled_back_at" in version.tags:
        for key in ("at", "by", "reason"):
            client.delete_model_version_tag(name, chosen, f"rolled_back_{key}")
    if champion is not None:
        for key, value in (("at", now()), ("by", by.strip()), ("reason", why.strip())):
            write(client.set_model_version_tag, name, champion, f"rolled_back_{key}", value)
    history.append(client, name, "rollback", by.strip(), chosen, why.strip())
    settle(client, name, by)
    return history.changes(_state(client, name).log)[-1]
