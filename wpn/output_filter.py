"""An output filter: what a judge finds harmful is not said, a neutral response of ours takes its place.

The remedy that UnUnlearning (arXiv 2407.00106) asks for: weights that know no harm can still be shown some in the
context. It may be served with a model (pipelines/filtered_model.py); what it costs and misses is measured by
wpn/assess/output_filter.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from wpn.data.neutral import neutral_response
from wpn.data.template import spaced
from wpn.judges import Judge, verdicts


@dataclass(frozen=True)
class OutputFilter:
    """One judge between a model and whoever asks it."""

    judge: Judge

    def stops(self, answers: Sequence[str]) -> list[bool]:
        """Which answers are not said; one that the judge gives no number is not said either."""
        return [not harmless for _, harmless in verdicts({"filter": self.judge}, answers)]

    def apply(self, prompts: Sequence[str], answers: Sequence[str]) -> list[str]:
        """The answers, as they go on from their prompts, with a neutral one in place of each that is stopped."""
        return [
            spaced(prompt, neutral_response(prompt, seed=0)) if stopped else answer
            for prompt, answer, stopped in zip(prompts, answers, self.stops(answers), strict=True)
        ]
