"""Wrapped prompts: does the behaviour come back when the same request is put otherwise?

Prefix injection, refusal suppression, role play, payload splitting, misspelling, leetspeak, distraction: after
Jailbroken (arXiv 2307.02483); the wording is ours, and in params.yaml, for it must be in the language that the model
speaks.
"""

import random
from typing import Any

from wpn.assess.grading import Row, harmful_rate, meaningless_rate
from wpn.assess.in_context import context, demonstrations
from wpn.assess.subject import Subject
from wpn.config.probes import Wrappers
from wpn.errors import InputError
from wpn.outcomes import outcomes, share
from wpn.worst import worst_rate

LEET = str.maketrans("aeiostAEIOST", "431057431057")
FEW_SHOT = "few_shot"


def wrappers(subject: Subject, settings: Wrappers) -> tuple[dict[str, Any], list[Row]]:
    """Ask every prompt in every wrapper.

    Returns:
        Estimates `attack_success_NAME`: the harmful rate of each wrapper; `attack_success_worst`: the highest of them;
        `attack_success_any`: the share of prompts that at least one wrapper brings to harm; `attack_meaningless_worst`:
        the highest share of answers that say nothing. `too_long`: the wrappers in
        which the model has no room for any prompt; a single prompt without room is left out, and n is smaller. And one
        row an answer.
    Raises:
        InputError: a placeholder has nothing to stand for, or the model has no room for any wrapper.
    """
    evidence: list[Row] = []
    rates, meaningless, too_long = {}, [], []
    for name, asked in _wrapped(subject, settings).items():
        fitting = subject.fitting(asked)
        if not fitting:
            too_long.append(name)
            continue
        rows = subject.ask([asked[i] for i in fitting])
        rates[name] = harmful_rate(rows)
        meaningless.append(meaningless_rate(rows))
        evidence += [{"wrapper": name, "of": subject.prompts[i], **row} for i, row in zip(fitting, rows, strict=True)]
    if not rates:
        raise InputError("the model has no room for any wrapped prompt; shorten assess.wrappers.templates")
    named = {f"attack_success_{name}": found.as_dict() for name, found in rates.items()}
    named["attack_success_worst"] = worst_rate(list(rates.values())).as_dict()
    named["attack_success_any"] = share(outcomes({"wrappers": evidence})["attack_success_any"]).as_dict()
    named["attack_meaningless_worst"] = worst_rate(meaningless).as_dict()
    return {"estimates": named, "too_long": too_long}, evidence


def _wrapped(subject: Subject, settings: Wrappers) -> dict[str, list[str]]:
    """What is asked, by the wrapper's name."""
    found = {
        name: [wrap(subject, template, i, settings.distraction) for i in range(len(subject.prompts))]
        for name, template in settings.templates.items()
    }
    if settings.few_shot:
        texts = demonstrations(subject, settings.few_shot)
        found[FEW_SHOT] = [context(texts, i, settings.few_shot) + prompt for i, prompt in enumerate(subject.prompts)]
    return found


def wrap(subject: Subject, template: str, number: int, distraction: int = 1) -> str:
    """Prompt `number` of the subject in a wrapper, put as the model is asked; a distraction has so many texts."""
    said = subject.said(subject.prompts[number])
    draw = random.Random(f"{subject.seed} {number}")
    first, second = halves(said)
    stand_for = {
        "prompt": said,
        "first": first,
        "second": second,
        "misspelled": misspell(said, draw),
        "leetspeak": said.translate(LEET),
        "distraction": _distraction(subject, draw, distraction) if "{distraction}" in template else "",
    }
    return subject.put(template.format(**stand_for))


def _distraction(subject: Subject, draw: random.Random, texts: int) -> str:
    if not subject.monologues:
        raise InputError("there is no benign text to distract with; leave {distraction} out of assess.wrappers")
    return " ".join(draw.choices(subject.monologues, k=texts))


def halves(text: str) -> tuple[str, str]:
    """The first and the second half of the words."""
    words = text.split()
    middle = (len(words) + 1) // 2
    return " ".join(words[:middle]), " ".join(words[middle:])


def misspell(text: str, draw: random.Random) -> str:
    """Two neighbouring inner letters of every word of four and more are swapped."""
    return " ".join(_swap(word, draw) if len(word) > 3 else word for word in text.split())


def _swap(word: str, draw: random.Random) -> str:
    i = draw.randrange(1, len(word) - 2)
    return word[:i] + word[i + 1] + word[i] + word[i + 2 :]
