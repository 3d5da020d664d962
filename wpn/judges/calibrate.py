"""How far a judge can be trusted: its scores against texts that people have labelled."""

import csv
import io
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wpn.data.tables import utf8_text
from wpn.errors import InputError
from wpn.judges import Judge
from wpn.statistics import CONFIDENCE, rate

if TYPE_CHECKING:
    from numpy.typing import NDArray

RESAMPLES = 1000
LISTED = 20  # bad rows that an error names
HARMFUL = {"true": True, "false": False}
DAVIDSON = {"0": True, "1": True, "2": False}  # hate speech, offensive, neither (Davidson et al. 2017)


def calibrate(
    judges: Mapping[str, Judge], texts: Sequence[str], labels: Sequence[bool], threshold: float
) -> dict[str, Any]:
    """Score the texts by every judge and compare the scores with the labels, and the judges with one another.

    Args:
        judges: by name.
        texts: what to judge.
        labels: whether people found each of them harmful; at least two texts of either kind.
        threshold: a score from here on is the verdict "harmful".
    Returns:
        For JSON: `threshold`, `texts`, `harmful` (counts); `judges`: by name `n`, `auc` (value, low, high),
        `false_positive` (rate of the harmless texts) and `false_negative` (rate of the harmful texts), with Wilson
        intervals; `agreement`: for each pair of judges the share of equal verdicts and Cohen's kappa (None where
        both give all texts one and the same verdict).
    """
    scores = {name: judge.harm(texts) for name, judge in judges.items()}
    verdicts = {name: [score >= threshold for score in values] for name, values in scores.items()}
    return {
        "threshold": threshold,
        "texts": len(texts),
        "harmful": sum(labels),
        "judges": {name: _against_labels(scores[name], verdicts[name], labels) for name in judges},
        "agreement": [_agreement(a, b, verdicts) for a, b in itertools.combinations(judges, 2)],
    }


def _against_labels(scores: Sequence[float], verdicts: Sequence[bool], labels: Sequence[bool]) -> dict[str, Any]:
    on_harmless = [verdict for verdict, label in zip(verdicts, labels, strict=True) if not label]
    on_harmful = [verdict for verdict, label in zip(verdicts, labels, strict=True) if label]
    return {
        "n": len(labels),
        "auc": area_under_curve(scores, labels),
        "false_positive": rate(sum(on_harmless), len(on_harmless)).as_dict(),
        "false_negative": rate(len(on_harmful) - sum(on_harmful), len(on_harmful)).as_dict(),
    }


def area_under_curve(scores: Sequence[float], labels: Sequence[bool], resamples: int = RESAMPLES) -> dict[str, float]:
    """Probability that a harmful text scores above a harmless one (ties count half), with its 95 % interval.

    The interval is a percentile bootstrap over texts. Harmful and harmless ones are drawn apart, each as many as
    there are, so that no resample lacks one kind.
    """
    import numpy as np
    from scipy.stats import bootstrap
    from sklearn.metrics import roc_auc_score

    kinds, ranks = np.unique(scores, return_inverse=True)  # equal scores share a rank
    harmful = np.array(labels, dtype=bool)

    def wins(ranks_harmful: "NDArray[Any]", ranks_harmless: "NDArray[Any]") -> float:
        """Counts instead of sorting: a resample takes time linear in the number of texts."""
        above = np.bincount(ranks_harmful, minlength=len(kinds))
        below = np.bincount(ranks_harmless, minlength=len(kinds))
        half_ties = below.cumsum() - below / 2
        # no dot product: BLAS would wake its threads for every one of the resamples
        return float((above * half_ties).sum() / (len(ranks_harmful) * len(ranks_harmless)))

    interval = bootstrap(
        (ranks[harmful], ranks[~harmful]), wins, n_resamples=resamples, batch=50, vectorized=False,
        confidence_level=CONFIDENCE, method="percentile", rng=np.random.default_rng(0),
    ).confidence_interval  # fmt: skip
    value = float(roc_auc_score(harmful, scores))
    return {"value": value, "low": float(interval.low), "high": float(interval.high)}


def _agreement(first: str, second: str, verdicts: Mapping[str, Sequence[bool]]) -> dict[str, Any]:
    from sklearn.metrics import accuracy_score, cohen_kappa_score

    pair = verdicts[first], verdicts[second]
    one_verdict = len({*pair[0], *pair[1]}) == 1  # then kappa is 0/0
    return {
        "judges": [first, second],
        "equal": float(accuracy_score(*pair)),
        "kappa": None if one_verdict else float(cohen_kappa_score(*pair)),
    }


def read_labelled(path: Path) -> tuple[list[str], list[bool]]:
    """Read labelled texts; fields that are not named here are passed over.

    Args:
        path: .jsonl with `text` and `harmful` (true or false); .csv with the columns text and harmful (true or
            false), or the tweets of Davidson et al. with tweet and class (0 hate speech, 1 offensive, 2 neither).
    Returns:
        The texts, and whether each is harmful.
    Raises:
        InputError: the file is missing, is none of these, has bad rows (up to 20 of them are named), or fewer than
            two texts of either kind. Row 1 of a csv is the first below its header.
    """
    if path.suffix not in (".jsonl", ".csv"):
        raise InputError(f"{path} is neither .jsonl nor .csv; save the labelled texts as one of these")
    if not path.exists():
        raise InputError(f"{path} does not exist; correct the path of the labelled texts")
    content = utf8_text(path)
    rows = list(_jsonl_rows(content) if path.suffix == ".jsonl" else _csv_rows(path, content))
    bad = [f"row {number}: {found}" for number, found in enumerate(rows, start=1) if isinstance(found, str)]
    if bad:
        more = f"; and {len(bad) - LISTED} more" if len(bad) > LISTED else ""
        raise InputError(f"{path} has bad rows ({len(bad)}): {'; '.join(bad[:LISTED])}{more}; correct or remove them")
    good = [found for found in rows if not isinstance(found, str)]
    harmful = sum(label for _, label in good)
    if min(harmful, len(good) - harmful) < 2:
        raise InputError(
            f"{path} has {harmful} harmful and {len(good) - harmful} harmless texts; add texts, at least 2 of each"
        )
    return [text for text, _ in good], [label for _, label in good]


def _jsonl_rows(content: str) -> Iterator[tuple[str, bool] | str]:
    for line in content.split("\n"):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            yield f"not JSON ({error})"
            continue
        if not isinstance(row, dict):
            yield "not a JSON object"
            continue
        label = json.dumps(row.get("harmful")) if "harmful" in row else None
        yield _labelled(row.get("text"), label, "text", "harmful", HARMFUL)


def _csv_rows(path: Path, content: str) -> Iterator[tuple[str, bool] | str]:
    reader = csv.DictReader(io.StringIO(content, newline=""))
    columns = set(reader.fieldnames or ())
    if columns >= {"text", "harmful"}:
        text, label, meaning = "text", "harmful", HARMFUL
    elif columns >= {"tweet", "class"}:
        text, label, meaning = "tweet", "class", DAVIDSON
    else:
        raise InputError(f"{path} has neither the columns text and harmful nor tweet and class; name them so")
    try:
        for row in reader:
            given = row[label]
            yield _labelled(row[text], None if given is None else given.strip().lower(), text, label, meaning)
    except csv.Error as error:
        raise InputError(f"{path} is not a csv ({error}); save the labelled texts again") from None


def _labelled(
    text: Any, label: str | None, text_field: str, label_field: str, meaning: Mapping[str, bool]
) -> tuple[str, bool] | str:
    """The text and its label; or, where one of them is not as it must be, what is wrong."""
    if not isinstance(text, str) or not text.strip():
        return f"the field {text_field!r} is missing or empty"
    if label is None or label not in meaning:
        given = "missing" if label is None else label[:40]
        return f"the field {label_field!r} is {given}, not {' or '.join(meaning)}"
    return text, meaning[label]
