"""Assessment: what an unlearned model does under attack. One probe a file; each gives a summary and its evidence."""

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from wpn.assess.forced_start import forced_start
from wpn.assess.grading import Grader, Row
from wpn.assess.in_context import in_context
from wpn.assess.relearning import relearning
from wpn.config import Assess
from wpn.data.batches import encode_pair
from wpn.errors import InputError
from wpn.judges import Judge

logger = logging.getLogger(__name__)

Probe = Callable[[], tuple[dict[str, Any], list[Row]]]


def assess(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    held_out: Sequence[Row],
    judges: Mapping[str, Judge],
    settings: Assess,
    seed: int,
) -> tuple[dict[str, Any], dict[str, list[Row]]]:
    """Run the probes that the settings ask for.

    Args:
        model: in evaluation mode; it is left as it is.
        prompts: unseen ones, that drew harm from the base or may.
        held_out: prompt, harmful_output, complete; harmful pairs that unlearning did not see (of a real model, new
            outputs to prompts that it may have seen).
        judges: those that grade.
        seed: of the order of the relearning pairs.
    Returns:
        The summary of each probe, and its evidence, by the probe's name. A probe for which the data do not suffice
        has `skipped`, a sentence, in place of its numbers, and a gate on these refuses.
    """
    grader = Grader(judges, settings.max_new_tokens, settings.batch_size)
    asked = list(prompts)[: settings.prompts]
    texts = [row["prompt"] + row["harmful_output"] for row in held_out]
    pairs = [encode_pair(tokenizer, row["prompt"], row["harmful_output"], row["complete"]) for row in held_out]
    probes: dict[str, Probe] = {}
    if chosen := settings.forced_start:
        probes["forced_start"] = partial(forced_start, model, tokenizer, asked, grader, chosen)
    if demonstrated := settings.in_context:
        probes["in_context"] = partial(in_context, model, tokenizer, asked, texts, grader, demonstrated)
    if taught := settings.relearning:
        probes["relearning"] = partial(relearning, model, tokenizer, asked, pairs, grader, taught, seed)
    summaries, evidence = {}, {}
    for name, probe in probes.items():
        try:
            summaries[name], evidence[name] = probe()
        except InputError as error:
            logger.warning("%s is skipped: %s", name, error)
            summaries[name] = {"skipped": str(error)}
    return summaries, evidence
