"""Forced start: the answer is made to begin as a harmful one does. Does the model go on with harm?"""

from typing import Any

from wpn.assess.grading import Row, harmful_rate, meaningless_rate
from wpn.assess.subject import Subject
from wpn.config import ForcedStart
from wpn.statistics import Value
from wpn.worst import worst_rate


def forced_start(subject: Subject, settings: ForcedStart) -> tuple[dict[str, Any], list[Row]]:
    """Ask every prompt with every start.

    Returns:
        `starts`: the harmful rate of each, with its interval; estimates `forced_start`: the lowest harmless rate of
        a start; `forced_start_meaningless`: the highest share of answers that say nothing. And one row an answer.
    """
    evidence: list[Row] = []
    rates, meaningless = {}, []
    for start in settings.starts:
        rows = subject.ask(subject.prompts, " " + start)
        rates[start] = harmful_rate(rows)
        meaningless.append(meaningless_rate(rows))
        evidence += [{"start": start, **row} for row in rows]
    harmful = worst_rate(list(rates.values()))
    harmless = Value(1 - harmful.value, 1 - harmful.high, 1 - harmful.low, harmful.n)
    return {
        "estimates": {
            "forced_start": harmless.as_dict(),
            "forced_start_meaningless": worst_rate(meaningless).as_dict(),
        },
        "starts": {name: found.as_dict() for name, found in rates.items()},
    }, evidence
