"""The gate: a pure function from numbers to a decision with reasons."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from wpn.config.evaluation import Criterion, Gate
from wpn.estimates import Estimate
from wpn.statistics import needed_for_mean, needed_for_rate

WORDS = {"at_least": "at least", "at_most": "at most", "below": "below"}
ENDS = {"value": "", "low": "lower 95 % bound of ", "high": "upper 95 % bound of "}


@dataclass(frozen=True)
class Verdict:
    """One criterion and how it came out.

    Attributes:
        against: None, or what the number is a change against: base, champion.
        bound: value, or the end of the interval that counts: low, high.
        relation: at_least, at_most or below the limit.
        value: the number that was compared; None for one that is missing or not finite.
        margin: how far it is on the right side of the limit; negative on the wrong one.
        n: prompts (or items) that it rests on, where that is known.
        needed: how many would do, where they are too few to decide.
        note: what else there is to say.
    """

    metric: str
    against: str | None
    bound: str
    relation: str
    limit: float
    value: float | None
    margin: float | None
    n: int | None
    passed: bool
    needed: int | None = None
    note: str = ""

    @property
    def name(self) -> str:
        """The number in words."""
        change = f"the change of {self.metric} against the {self.against}" if self.against else self.metric
        return f"{ENDS[self.bound]}{change}"

    @property
    def reason(self) -> str:
        """A sentence that says how the criterion came out."""
        if self.passed and self.value is None:
            return f"{self.name}: {self.note}"
        required = f"{WORDS[self.relation]} {self.limit:g} is required"
        found = "is missing or not a number" if self.value is None else f"is {self.value:.4f}"
        parts = [f"{self.name} {found}", required]
        if self.needed is not None:
            parts.append(f"{self.n} prompts are too few to decide, {self.needed} are needed")
        if self.note:
            parts.append(self.note)
        return "; ".join(parts)


@dataclass(frozen=True)
class Decision:
    """Whether a model may be promoted, and why not.

    Attributes:
        mode: enforce, or dry_run: decided and recorded, and nothing is promoted by it.
        prompts: the least number behind a rate.
        champion: which version of the registry the changes against the champion speak of.
        pending: criteria against the champion, which only the registry can judge.
    """

    passed: bool
    mode: str
    prompts: int
    criteria: list[Verdict]
    reasons: list[str]
    pending: list[Criterion]
    champion: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        verdicts = [asdict(verdict) for verdict in self.criteria]
        return {**asdict(self), "criteria": verdicts, "pending": [one.model_dump() for one in self.pending]}


def decide(
    found: Mapping[str, Estimate],
    gate: Gate,
    changes: Mapping[str, Estimate] | None = None,
    contradictions: Sequence[str] = (),
) -> Decision:
    """Pass only if every criterion is met; a missing or NaN number never meets one.

    Args:
        found: the numbers of the model.
        gate: the criteria. Those against the champion are left pending: see `decide_against`.
        changes: how much larger each number is than the base's, for the criteria against it.
        contradictions: reasons to refuse whatever the numbers say (wpn.evidence).
    """
    references = {None: found, "base": changes or {}}
    now = [criterion for criterion in gate.criteria if criterion.against in references]
    verdicts = [_judge(references[one.against].get(one.metric), one, gate.prompts) for one in now]
    reasons = [*contradictions, *(verdict.reason for verdict in verdicts if not verdict.passed)]
    pending = [criterion for criterion in gate.criteria if criterion.against == "champion"]
    return Decision(not reasons, gate.mode, gate.prompts, verdicts, reasons, pending)


def decide_against(
    decision: Mapping[str, Any], changes: Mapping[str, Estimate] | None, champion: str | None
) -> dict[str, Any]:
    """The decision after the criteria against the champion too, as JSON has it.

    Args:
        decision: as `Decision.as_dict` made it; what an earlier champion made of it is forgotten.
        changes: how much larger each number is than the champion's; None where there is no champion, and every
            such criterion holds.
        champion: its version.
    """
    own = [verdict for verdict in decision["criteria"] if verdict["against"] != "champion"]
    earlier = {Verdict(**each).reason for each in decision["criteria"] if each["against"] == "champion"}
    pending = [Criterion.model_validate(each) for each in decision["pending"]]
    if changes is None:
        verdicts = [replace(_unjudged(each), passed=True, note="there is no champion yet") for each in pending]
    else:
        verdicts = [_judge(changes.get(criterion.metric), criterion, decision["prompts"]) for criterion in pending]
    reasons = [reason for reason in decision["reasons"] if reason not in earlier]
    reasons += [verdict.reason for verdict in verdicts if not verdict.passed]
    criteria = [*own, *(asdict(verdict) for verdict in verdicts)]
    return {**decision, "criteria": criteria, "reasons": reasons, "passed": not reasons, "champion": champion}


def _judge(estimate: Estimate | None, criterion: Criterion, prompts: int) -> Verdict:
    """How a criterion comes out; `prompts` is the least number where it has none of its own."""
    verdict = _unjudged(criterion)
    if estimate is None:
        return verdict
    verdict = replace(verdict, n=estimate.n)
    value = getattr(estimate, criterion.bound)
    if value is None or not math.isfinite(value):
        return replace(verdict, note="it has no interval" if value is None else "")
    relation, limit = criterion.relation, criterion.limit
    met = {"at_least": value >= limit, "at_most": value <= limit, "below": value < limit}[relation]
    margin = value - limit if relation == "at_least" else limit - value
    needed = _too_few(estimate, criterion, met, criterion.prompts or prompts)
    return replace(verdict, value=value, margin=margin, passed=met and needed is None, needed=needed)


def _unjudged(criterion: Criterion) -> Verdict:
    """Of a number that is missing: a refusal."""
    return Verdict(
        criterion.metric, criterion.against, criterion.bound, criterion.relation, criterion.limit,
        value=None, margin=None, n=None, passed=False,
    )  # fmt: skip


def _too_few(estimate: Estimate, criterion: Criterion, met: bool, prompts: int) -> int | None:
    """How many prompts are needed, where there are too few to decide: fewer than the gate asks for, or an interval
    so wide that its end misses the limit which the value itself meets."""
    if estimate.n is None:
        return None
    if estimate.n < prompts:
        return prompts
    if met or criterion.bound == "value":
        return None
    limit, upwards = criterion.limit, criterion.relation == "at_least"
    if (estimate.value - limit if upwards else limit - estimate.value) <= 0:
        return None
    if estimate.share:
        return needed_for_rate(estimate.value, limit)
    return needed_for_mean(estimate.value, getattr(estimate, criterion.bound), limit, estimate.n)
