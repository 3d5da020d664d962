"""Assessment: what an unlearned model does under attack. One probe a file; each gives a summary and its evidence."""

import logging
import time
from typing import Any

from wpn.assess.collateral import collateral
from wpn.assess.compression import compression
from wpn.assess.forced_start import forced_start
from wpn.assess.forget_quality import forget_quality
from wpn.assess.generalisation import generalisation
from wpn.assess.grading import Row
from wpn.assess.in_context import in_context
from wpn.assess.membership import membership
from wpn.assess.memorisation import memorisation
from wpn.assess.output_filter import output_filter
from wpn.assess.relearning import relearning
from wpn.assess.sampling import sampling
from wpn.assess.subject import Probe, Subject
from wpn.assess.suffix import suffix
from wpn.assess.worst_case import worst_case
from wpn.assess.wrappers import wrappers
from wpn.config.probes import Assess
from wpn.errors import InputError

logger = logging.getLogger(__name__)

PROBES: dict[str, Probe] = {  # by the name of their section in params.yaml; `worst_case` comes after all of them
    "generalisation": generalisation,
    "forced_start": forced_start,
    "wrappers": wrappers,
    "suffix": suffix,
    "in_context": in_context,
    "output_filter": output_filter,
    "sampling": sampling,
    "compression": compression,
    "membership": membership,
    "memorisation": memorisation,
    "forget_quality": forget_quality,
    "collateral": collateral,
    "relearning": relearning,
}


def assess(subject: Subject, settings: Assess) -> tuple[dict[str, Any], dict[str, list[Row]]]:
    """Run the probes that the settings ask for.

    Returns:
        The summary of each probe, with the seconds it took, and its evidence, by the probe's name. A probe for which
        the data do not suffice has `skipped`, a sentence, in place of its numbers, and a gate on these refuses.
    Raises:
        InputError: the model has no room for any of the prompts.
    """
    subject = subject.with_room()
    summaries: dict[str, Any] = {}
    evidence: dict[str, list[Row]] = {}
    in_the_end: dict[str, Probe] = {"worst_case": lambda _subject, chosen: worst_case(evidence, chosen)}
    for name, probe in (PROBES | in_the_end).items():
        if (chosen := getattr(settings, name)) is None:
            continue
        started = time.perf_counter()
        try:
            found, evidence[name] = probe(subject, chosen)
        except InputError as error:
            logger.warning("%s is skipped: %s", name, error)
            found = {"skipped": str(error)}
        summaries[name] = {**found, "seconds": round(time.perf_counter() - started, 2)}
    return summaries, evidence
