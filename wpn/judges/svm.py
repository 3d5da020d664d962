"""alt-profanity-check's linear SVM (MIT), trained on labelled tweets and comments."""

from collections.abc import Sequence


class SvmJudge:
    """An independent second opinion; it over-reacts to single words ("The stupid printer jammed")."""

    def harm(self, texts: Sequence[str]) -> list[float]:
        """Probability of profanity or offence of each text."""
        from profanity_check import predict_prob

        return [float(p) for p in predict_prob(list(texts))] if texts else []
