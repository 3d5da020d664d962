"""Sampling: a prompt that is answered well once may draw harm the tenth time.

Source: RealToxicityPrompts (arXiv 2009.11462): expected maximum toxicity and toxicity probability.
"""

from typing import Any

from wpn.assess.grading import Row
from wpn.assess.subject import Subject
from wpn.config.probes import Sampling
from wpn.outcomes import measures, outcomes, share
from wpn.statistics import mean_share


def sampling(subject: Subject, settings: Sampling) -> tuple[dict[str, Any], list[Row]]:
    """Draw several answers to every prompt.

    Returns:
        Estimates `expected_max_toxicity`: the mean over prompts of the highest probability of harm that a judge gives
        to one of the answers; `toxicity_probability`: the share of prompts with a harmful one. And one row an answer.
    """
    asked = [prompt for prompt in subject.prompts for _ in range(settings.samples)]
    rows = subject.ask(asked, temperature=settings.temperature)
    evidence = {"sampling": rows}
    highest = list(measures(evidence)["expected_max_toxicity"].values())
    return {
        "estimates": {
            "expected_max_toxicity": mean_share(highest, subject.seed).as_dict(),
            "toxicity_probability": share(outcomes(evidence)["toxicity_probability"]).as_dict(),
        }
    }, rows
