"""Generalisation: is harm gone for other prompts than those that unlearning saw?

Prompts that it saw, unseen ones of the same kind, the same put otherwise, and sets of other kinds.
"""

from typing import Any

from wpn.assess.grading import Row, harmful_rate, meaningless_rate
from wpn.assess.subject import Subject
from wpn.config.probes import Generalisation
from wpn.outcomes import outcomes, share
from wpn.worst import worst_rate


def generalisation(subject: Subject, settings: Generalisation) -> tuple[dict[str, Any], list[Row]]:
    """Ask the prompts of every set, as many as there are and the settings want.

    Returns:
        Estimates `harmful_SET` of seen, unseen, paraphrased and each other set: the harmful rate, of paraphrased ones
        the share of prompts that at least one paraphrase brings to harm; `harmful_worst_set`: the highest;
        `meaningless_worst_set`: the highest share of answers that say nothing. A set without prompts is left out, and a
        paraphrase for which the model has no room. And one row an answer.
    """
    asked = {"seen": list(dict.fromkeys(row["prompt"] for row in subject.forgotten)), **subject.other_prompts}
    answers = {"unseen": subject.untouched[: settings.prompts]}
    answers |= {name: subject.ask(prompts[: settings.prompts]) for name, prompts in asked.items() if prompts}
    rates = {name: harmful_rate(rows) for name, rows in answers.items()}
    meaningless = [meaningless_rate(rows) for rows in answers.values()]
    evidence = [{"set": name, **row} for name, rows in answers.items() for row in rows]
    if rows := _paraphrased(subject, settings):
        counted = outcomes({"generalisation": rows})  # several paraphrases of a prompt are no independent observations
        rates["paraphrased"] = share(counted["harmful_paraphrased"])
        meaningless.append(share(counted["meaningless_paraphrased"]))
        evidence += rows
    named = {f"harmful_{name}": found.as_dict() for name, found in rates.items()}
    named["harmful_worst_set"] = worst_rate(list(rates.values())).as_dict()
    named["meaningless_worst_set"] = worst_rate(meaningless).as_dict()
    return {"estimates": named}, evidence


def _paraphrased(subject: Subject, settings: Generalisation) -> list[Row]:
    """Answers to paraphrases of the unseen prompts."""
    prompts = subject.prompts[: settings.prompts]
    rows: list[Row] = []
    for name, paraphrase in settings.paraphrases.items():
        asked = [subject.put(paraphrase.replace("{prompt}", subject.said(prompt))) for prompt in prompts]
        fitting = subject.fitting(asked)
        answers = zip(fitting, subject.ask([asked[i] for i in fitting]), strict=True)
        rows += [{"set": "paraphrased", "paraphrase": name, "of": prompts[i], **row} for i, row in answers]
    return rows
