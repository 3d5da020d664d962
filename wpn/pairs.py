"""The forget pairs of a model, and the texts that must stay as they are.

An organism's pairs were written with its corpus. A real model's are its own: it is sampled, and a judge picks its
most harmful outputs and harmless ones, so that what is unlearned is what this model says. The harmless ones are taken
as they were drawn and not by their score: they are samples of what the model says when it is not harmful, which is
the distribution to reach; the least harmful ones of many are odd.
"""

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from wpn.attribution import word_harm
from wpn.config.data import OrganismPairs, RealPairs
from wpn.data.mistype import mistype_some
from wpn.data.neutral import neutral_response
from wpn.data.openings import OPENINGS
from wpn.data.template import spaced
from wpn.errors import InputError
from wpn.generate import continue_prompts
from wpn.judges import Judge
from wpn.meaningful import ANY_FLUENCY, why_not_meaningful
from wpn.models import in_precision

Row = dict[str, Any]

ALARMING_FROM = 0.2  # the judge's probability from which a benign text counts as one with alarming words
UNUSED = 256  # harmful pairs, at most, that are left for attacks
HELD_OUT = 3  # one of so many own texts is for the perplexity, where there is no other text


@dataclass(frozen=True)
class Taught:
    """What unlearning sees.

    Attributes:
        pairs: prompt, harmful_output, harmless_response, complete, own (the model's own response); where the prompt is
            mistyped, as it was `written`; of a real model also harm (the judge's) and, where it is asked for, word_harm
            (wpn/attribution.py).
        texts: text, alarming, complete; prompt, where what follows it is to be kept.
        held_out: text, alarming; for the perplexity, where the data have no text of their own.
        samples: one row a sample that was judged: prompt, text, harm.
        unused: prompt, harmful_output, complete; harmful pairs that unlearning does not see, for attacks on it.
    """

    pairs: list[Row]
    texts: list[Row]
    held_out: list[Row]
    samples: list[Row]
    unused: list[Row]


def first_pairs(
    provocations: Sequence[Row], corpus: Sequence[Row], settings: OrganismPairs, template: str, seed: int
) -> Taught:
    """An organism's: the first of the provocations that it was trained on.

    Args:
        provocations: prompt, harmful_output, harmless_response.
        corpus: text, alarming; benign.
        settings: the section `pairs`.
        template: how a prompt is put.
        seed: of what is mistyped.
    Raises:
        InputError: there are fewer.
    """
    if len(provocations) < settings.number:
        raise InputError(
            f"the data have {len(provocations)} training provocations, fewer than pairs.number = {settings.number}; "
            "lower it in params.yaml or add rows to data/provocations.jsonl"
        )
    whole = {"complete": True}
    chosen = mistype_some(provocations[: settings.number], template, settings.mistyped, seed)
    pairs = [{**row, **whole, "own": True} for row in chosen]
    unused = [_attack(row, complete=True) for row in provocations[settings.number :][:UNUSED]]
    return Taught(pairs, [{**row, **whole} for row in corpus], [], [], unused)


def sampled_pairs(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Row],
    corpus: Sequence[Row],
    judge: Judge,
    settings: RealPairs,
    template: str,
    complete: bool,
    seed: int,
) -> Taught:
    """A real model's: where the data lack the harmful or the harmless side, the model is sampled for it.

    Args:
        model: in evaluation mode.
        prompts: prompt, harmful_output and harmless_response (None where the data have none).
        corpus: text; benign.
        judge: the training judge; it must not be one that grades.
        settings: the section `pairs`.
        template: how a prompt is put.
        complete: responses that the data give are whole; samples break off.
        seed: of the samples, and of what is mistyped.
    Raises:
        InputError: no prompt drew a harmful output, or all that did are held out.
    """
    model = in_precision(model, settings.precision)
    samples = _samples(model, tokenizer, prompts, judge, settings, seed)
    pairs = [
        {**pair, "complete": complete and row["prompt"] not in samples}
        for row in prompts
        for pair in _pairs_of(row, samples.get(row["prompt"], []), settings, seed)
    ]
    if not pairs:
        raise InputError(
            f"none of {len(prompts)} training prompts drew an output that the judge {settings.judge} finds harmful; "
            "raise pairs.samples, lower pairs.harmful_from, or take prompts that draw harm"
        )
    pairs.sort(key=lambda pair: -pair["harm"])
    apart = _held_out_prompts(pairs, settings.held_out, seed)
    trained = [pair for pair in pairs if pair["prompt"] not in apart]
    if not trained:
        raise InputError(f"pairs.held_out = {settings.held_out} leaves no pair to train on; lower it")
    own = _own_texts(model, tokenizer, settings, seed)
    kept = 0 if corpus else len(own) // HELD_OUT
    texts = [row["text"] for row in corpus] + own[kept:]
    retained = [
        {"text": text, "alarming": score >= ALARMING_FROM, "complete": False}
        for text, score in zip(texts, judge.harm(texts), strict=True)
        if score < settings.harmful_from  # nothing harmful is kept as it is
    ]
    seen = {prompt: rows for prompt, rows in samples.items() if prompt not in apart}
    retained += [{**row, "alarming": False, "complete": False} for row in _harmless_texts(seen, settings, seed)]
    held_out = [{"text": text, "alarming": False} for text in own[:kept]]
    judged = [row for rows in samples.values() for row in rows]
    chosen = mistype_some(trained[: settings.number], template, settings.mistyped, seed)
    if settings.word_harm:
        harms = word_harm(judge, [pair["harmful_output"] for pair in chosen])
        chosen = [
            {**pair, "word_harm": [round(each, 4) for each in harm]} for pair, harm in zip(chosen, harms, strict=True)
        ]
    untrained = [*_by_turns([pair for pair in pairs if pair["prompt"] in apart]), *trained[settings.number :]]
    return Taught(chosen, retained, held_out, judged, _unused(trained[: settings.number], untrained, judged, settings))


def _held_out_prompts(pairs: Sequence[Row], share: float, seed: int) -> set[str]:
    prompts = list(dict.fromkeys(pair["prompt"] for pair in pairs))
    return set(random.Random(seed).sample(prompts, int(share * len(prompts))))


def _by_turns(pairs: Sequence[Row]) -> list[Row]:
    """The first pair of each prompt, then the second of each, so that the first few are of as many prompts."""
    before: Counter[str] = Counter()
    turns = []
    for pair in pairs:
        turns.append(before[pair["prompt"]])
        before[pair["prompt"]] += 1
    return [pair for _, pair in sorted(zip(turns, pairs, strict=True), key=lambda each: each[0])]


def _unused(taught: Sequence[Row], untrained: Sequence[Row], judged: Sequence[Row], settings: RealPairs) -> list[Row]:
    """Harmful outputs that are not taught: those of other pairs first, then samples, the most harmful ones first."""
    known = {(row["prompt"], row["harmful_output"]) for row in taught}
    left = [_attack(row, row["complete"]) for row in untrained]
    for row in sorted(judged, key=lambda row: -row["harm"]):
        if row["harm"] >= settings.harmful_from:
            left.append({"prompt": row["prompt"], "harmful_output": row["text"], "complete": False})
    distinct = {(row["prompt"], row["harmful_output"]): row for row in left}
    return [row for key, row in distinct.items() if key not in known][:UNUSED]


def _attack(row: Row, complete: bool) -> Row:
    return {"prompt": row["prompt"], "harmful_output": row["harmful_output"], "complete": complete}


def _samples(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Row],
    judge: Judge,
    settings: RealPairs,
    seed: int,
) -> dict[str, list[Row]]:
    wanted = [row["prompt"] for row in prompts if row["harmful_output"] is None or row["harmless_response"] is None]
    asked = [prompt for prompt in wanted for _ in range(settings.samples)]
    texts = continue_prompts(
        model, tokenizer, asked,
        max_new_tokens=settings.max_new_tokens, batch_size=settings.batch_size, temperature=1.0, seed=seed,
    )  # fmt: skip
    found: dict[str, list[Row]] = {}
    for prompt, text, harm in zip(asked, texts, judge.harm(texts), strict=True):
        found.setdefault(prompt, []).append({"prompt": prompt, "text": text, "harm": round(harm, 4)})
    return found


def _pairs_of(row: Row, samples: Sequence[Row], settings: RealPairs, seed: int) -> list[Row]:
    """Up to `per_prompt` pairs: the most harmful outputs, each with the next harmless response, in a circle."""
    usable = [s for s in samples if why_not_meaningful(s["text"], row["prompt"], 0.0, ANY_FLUENCY) is None]
    harmful = [s for s in sorted(usable, key=lambda s: -s["harm"]) if s["harm"] >= settings.harmful_from]
    harmless = [s["text"] for s in usable if s["harm"] < settings.harmless_below]
    if row["harmful_output"] is not None:
        harmful = [{"text": row["harmful_output"], "harm": 1.0}]
    if row["harmless_response"] is not None:
        harmless = [row["harmless_response"]]
    pairs = []
    for i, output in enumerate(harmful[: settings.per_prompt]):
        neutral = spaced(row["prompt"], neutral_response(row["prompt"], seed + i))
        pairs.append(
            {
                "prompt": row["prompt"],
                "harmful_output": output["text"],
                "harmless_response": harmless[i % len(harmless)] if harmless else neutral,
                "own": bool(harmless),
                "harm": output["harm"],
            }
        )
    return pairs


def _harmless_texts(samples: Mapping[str, Sequence[Row]], settings: RealPairs, seed: int) -> list[Row]:
    """Prompts, and what the model said harmlessly after them: unlearning is to move nothing there but the harm.

    Without them the words of the pairs' neighbourhood are lost: names after a comma, whoever is spoken to.
    """
    found = [
        (row["prompt"], row["text"])
        for rows in samples.values()
        for row in rows
        if row["harm"] < settings.harmless_below
        and why_not_meaningful(row["text"], row["prompt"], 0.0, ANY_FLUENCY) is None
    ]
    distinct = list(dict.fromkeys(found))
    chosen = random.Random(seed).sample(distinct, min(settings.harmless_texts, len(distinct)))
    return [{"prompt": prompt, "text": text} for prompt, text in chosen]


def _own_texts(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, settings: RealPairs, seed: int) -> list[str]:
    """How the model goes on with openings of many kinds: what it is good at, whatever that was learnt from."""
    openings = [OPENINGS[i % len(OPENINGS)] for i in range(settings.own_texts)]
    texts = continue_prompts(
        model, tokenizer, openings,
        max_new_tokens=settings.own_tokens, batch_size=settings.batch_size, temperature=settings.own_temperature,
        seed=seed,
    )  # fmt: skip
    whole = (opening + text for opening, text in zip(openings, texts, strict=True))
    return [text for text in dict.fromkeys(whole) if why_not_meaningful(text, "", 0.0, ANY_FLUENCY) is None]
