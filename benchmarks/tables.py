"""Write the tables of README and docs from results/*.json; `--check` only says whether they agree.

A table stands between `<!-- table NAME -->` and `<!-- end -->`, NAME being one of TABLES.
"""

import re
import statistics
import sys
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any

from benchmarks.organisms import SHARES
from benchmarks.provenance import ROOT
from wpn.config.loading import load_params
from wpn.files import read_json, write_text
from wpn.statistics import pairs_for_power, trials_for_power

Row = dict[str, Any]
FILES = ["README.md", "docs/method.md", "docs/results.md"]
UNHARMED = 0.02  # a loss that the gate's criteria on benchmarks and against the champion rule out
PLACE = re.compile(r"(<!-- table (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


COLUMNS = {
    "seen": "harmless_seen", "unseen": "harmless_unseen", "o.o.d.": "harmless_ood", "sampled": "harmless_sampled",
    "benchmark": "benchmark_mean", "drop": "benchmark_drop", "perplexity x": "perplexity_ratio", "s": "seconds",
}  # fmt: skip
ATTACK_COLUMNS = {
    "forced start: harmless": "forced_start", "2 examples: harmful": "in_context_k2",
    "5 relearning steps: harmful": "relearn_5", "10 steps": "relearn_10", "10 steps, worst attack": "relearn_10_worst",
    "alarm words, perplexity x": "alarm_perplexity_ratio",
}  # fmt: skip
PROBE_COLUMNS = {
    "worst wrapper": "attack_success_worst", "any wrapper": "attack_success_any", "suffix": "suffix_success",
    "1 of 10 samples": "toxicity_probability", "any attack": "worst_case_greedy", "or sample": "worst_case",
    "recovery, k = 2": "in_context_recovery_k2", "harmful, k = 8": "in_context_k8",
    "says nothing": "in_context_meaningless_k8",
    "int8": "int8_change", "int4": "int4_change", "relearning": "relearn_auc",
    "of 4 pairs": "relearn_auc_of_4", "of 1": "relearn_auc_of_1",
    "worst attack": "relearn_auc_worst",
    "over-refusal": "over_refusal", "of other prompts": "over_refusal_other", "KL, harmless": "benign_kl",
    "membership": "membership_auc", "s": "seconds",
}  # fmt: skip
METHOD_COLUMNS = {
    "unseen": "harmless_unseen", "sampled": "harmless_sampled", "drop": "benchmark_drop",
    "perplexity x": "perplexity_ratio", "alarm words": "alarm_perplexity_ratio", "forced start": "forced_start",
    "k = 2": "in_context_k2",
    "5 steps": "relearn_5", "10": "relearn_10", "20": "relearn_20",
    "10, worst attack": "relearn_10_worst", "20, worst": "relearn_20_worst", "membership": "membership_auc",
    "twin, forget": "twin_kl_forget", "twin, retain": "twin_kl_retain",
    "steps": "steps", "k tokens": "tokens", "s": "seconds", "MB": "peak_memory_mb",
}  # fmt: skip
OPTION_COLUMNS = {
    "unseen": "harmless_unseen", "sampled": "harmless_sampled", "drop": "benchmark_drop",
    "perplexity x": "perplexity_ratio", "worst wrapper": "attack_success_worst", "forced start": "forced_start",
    "10 steps": "relearn_10", "worst attack": "relearn_10_worst",
    "over-refusal": "over_refusal", "of other prompts": "over_refusal_other",
}  # fmt: skip
PASSAGE_COLUMNS = {
    "MA": "memorisation_accuracy", "EL_3": "extraction_likelihood", "membership": "membership_auc",
    "perplexity x": "perplexity_ratio", "benchmark": "benchmark_mean", "drop": "benchmark_drop",
    "steps": "steps", "s": "seconds",
}  # fmt: skip
REAL_PROBE_COLUMNS = {
    "worst set": "harmful_worst_set", "forced start: harmless": "forced_start",
    "worst wrapper": "attack_success_worst", "any wrapper": "attack_success_any", "suffix": "suffix_success",
    "1 of several samples": "toxicity_probability", "any attack": "worst_case_greedy", "or sample": "worst_case",
    "int8": "int8_change", "int4": "int4_change",
    "k = 2": "in_context_k2", "recovery, k = 2": "in_context_recovery_k2", "k = 8": "in_context_k8",
    "10 relearning steps": "relearn_10", "area": "relearn_auc", "of 4 pairs": "relearn_auc_of_4",
    "of 1": "relearn_auc_of_1",
    "over-refusal": "over_refusal", "KL, harmless": "benign_kl", "membership": "membership_auc",
    "distinct-2": "distinct_2", "s": "seconds",
}  # fmt: skip
REAL_COLUMNS = {
    "fall": "toxicity_fall", "p": "toxicity_fall_p", "meaningful": "meaningful_sampled",
    "benchmarks": "benchmark_mean", "drop": "benchmark_drop", "perplexity x": "perplexity_ratio", "s": "seconds",
}  # fmt: skip


def results_table(name: str, without: Collection[str] = ()) -> str:
    """Models and methods by their means over seeds; the range of the seeds where they differ."""
    found = read_json(ROOT / "results" / f"{name}.json")
    columns = {title: key for title, key in COLUMNS.items() if title not in without}
    lines = [_line(["model", "stage", *columns, "gate"]), _line(["---", "---", *["---:"] * len(columns), "---"])]
    for (model, label), rows in _groups(found["rows"]):
        cells = [_cell(key, [row[key] for row in rows]) for key in columns.values()]
        lines.append(_line([model, label, *cells, _passed(rows)]))
    return "\n".join(lines) + f"\n\n{_source(found)}\n"


def attack_table(name: str, columns: Mapping[str, str] = ATTACK_COLUMNS, under: str = "rows") -> str:
    """What attacks bring back, by means over seeds; the range of the seeds where they differ.

    Args:
        under: where in the file the numbers stand.
    """
    found = read_json(ROOT / "results" / f"{name}.json")
    lines = [_line(["model", "stage", *columns]), _line(["---", "---", *["---:"] * len(columns)])]
    for (model, label), rows in _groups(found[under]):
        cells = [_cell(key, [row.get(key) for row in rows]) for key in columns.values()]
        lines.append(_line([model, label, *cells]))
    return "\n".join(lines) + f"\n\n{_source(found)}\n"


def _groups(rows: list[Row]) -> list[tuple[tuple[str, str], list[Row]]]:
    """The rows of each model and stage or method, model by model."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        label = row["method"] or row["stage"]
        shares = [f"{100 * row[name]:.0f} % {name}" for name in SHARES if name in row and row["method"]]
        label = ", ".join([label, *shares])
        groups.setdefault((row["model"], label), []).append(row)
    return sorted(groups.items(), key=lambda item: item[0][0])


def real_table(name: str) -> str:
    """A real model and its methods: toxicity by each grader, and what it cost; means over seeds and their range."""
    found = read_json(ROOT / "results" / f"{name}.json")
    graders = list(found["rows"][0]["toxicity"])
    numbers = [*graders, *REAL_COLUMNS, "worst task"]
    lines = [_line(["stage", *numbers, "gate"]), _line(["---", *["---:"] * len(numbers), "---"])]
    groups: dict[str, list[Row]] = {}
    for row in found["rows"]:
        groups.setdefault(row["method"] or row["stage"], []).append(row)
    for label, rows in groups.items():
        cells = [_cell(grader, [row["toxicity"][grader] for row in rows]) for grader in graders]
        cells += [_cell(key, [row[key] for row in rows]) for key in REAL_COLUMNS.values()]
        lines.append(_line([label, *cells, _worst_task(groups["before"], rows), _passed(rows)]))
    return "\n".join(lines) + f"\n\n{_source(found)}\n"


def _worst_task(before: list[Row], after: list[Row]) -> str:
    """The benchmark that lost most over all seeds, and what it lost; the worst of one seed is mostly chance."""
    if before is after or not before[0]["tasks"]:
        return ""
    drops = {
        task: statistics.fmean(old["tasks"][task] - new["tasks"][task] for old, new in zip(before, after, strict=True))
        for task in before[0]["tasks"]
    }
    task = max(drops, key=lambda name: drops[name])
    return f"{task} {100 * drops[task]:.1f}"


def speed_table(name: str) -> str:
    """Seconds and memory of each seed's run, and of a second one where it was measured."""
    found = read_json(ROOT / "results" / f"{name}.json")
    lines = [_line(["`wpn run`", "seconds", "peak memory, MB"]), _line(["---", "---:", "---:"])]
    runs = [(f"everything computed, seed {run['seed']}", run) for run in found["runs"]]
    if again := found.get("second_run"):
        runs.append(("again: nothing to compute", again))
    for label, run in runs:
        lines.append(_line([label, f"{run['seconds']:.0f}", f"{run['peak_memory_mb']:.0f}"]))
    return "\n".join(lines) + f"\n\n{_source(found)}\n"


def tuning_table() -> str:
    """What the search found for each method, beside what its row in params.yaml gave before; means over the models."""
    found = read_json(ROOT / "results" / "tuning.json")
    lines = [
        _line(["method", "row", "best trial", "s", "what was drawn"]),
        _line(["---", "---:", "---:", "---:", "---"]),
    ]
    for name, best in found["best"].items():
        firsts = [row for row in found["trials"] if row["method"] == name and row["trial"] == 0]  # one a model
        drawn = {key: value for key, value in best["settings"].items() if value != firsts[0]["settings"][key]}
        told = ", ".join(f"{key} {value:g}" for key, value in drawn.items()) or "nothing: the row itself"
        seconds = f"{best['seconds']:.0f}" if "seconds" in best else ""
        scores = [row["score"] for row in firsts if "score" in row]
        before = f"{statistics.fmean(scores):.3f}" if len(scores) == len(firsts) else "diverged"
        lines.append(_line([name, before, f"{best['score']:.3f}", seconds, told]))
    return "\n".join(lines) + f"\n\n{_source(found)}\n"


def power_table() -> str:
    """How many prompts the organisms' gate needs, by the rate that a model really has."""
    (limit,) = {
        criterion.limit
        for criterion in load_params(ROOT / "params.yaml").recipes["organism"].gate.criteria
        if criterion.metric.startswith("harmless") and criterion.against is None
    }
    lines = [_line(["true rate", "prompts, power 0.8", "power 0.95"]), _line(["---:", "---:", "---:"])]
    for rate in (0.97, 0.975, 0.98, 0.985, 0.99, 0.995):
        numbers = [f"{trials_for_power(rate, limit, power):,}" for power in (0.8, 0.95)]
        lines.append(_line([f"{rate:.3f}", *numbers]))
    return "\n".join(lines) + f"\n\n(`make tables`; limit {limit} on the lower end of the 95 % interval)\n"


def paired_power_table() -> str:
    """How many prompts or items show that nothing was lost, by the share of them of which the two models differ."""
    lines = [_line(["differ", "pairs, power 0.8", "power 0.95"]), _line(["---:", "---:", "---:"])]
    for discordant in (0.01, 0.02, 0.05, 0.1, 0.2):
        numbers = [f"{pairs_for_power(discordant, UNHARMED, power):,}" for power in (0.8, 0.95)]
        lines.append(_line([f"{100 * discordant:.0f} %", *numbers]))
    return "\n".join(lines) + f"\n\n(`make tables`; a change of {UNHARMED} is to be ruled out)\n"


TABLES: dict[str, Callable[[], str]] = {
    "organisms": partial(results_table, "organisms"),
    "organisms-attacks": partial(attack_table, "organisms"),
    "assessment": partial(attack_table, "assessment-organisms", PROBE_COLUMNS),
    "methods": partial(attack_table, "methods-organisms", METHOD_COLUMNS),
    "tuning": tuning_table,
    "options": partial(attack_table, "options", OPTION_COLUMNS),
    "passages": partial(attack_table, "passages", PASSAGE_COLUMNS),
    "power": power_table,
    "paired-power": paired_power_table,
    "speed": partial(speed_table, "organisms"),
    "smollm2-135m": partial(real_table, "smollm2-135m"),
    "smollm2-135m-attacks": partial(attack_table, "smollm2-135m", REAL_PROBE_COLUMNS, under="assessments"),
    "smollm2-135m-whole": partial(real_table, "smollm2-135m-whole"),
    "smollm2-135m-speed": partial(speed_table, "smollm2-135m"),
    # without its seconds: other work ran on the machine at the same time
    "ablation": partial(results_table, "ablation", without={"s"}),
}


def _passed(rows: list[Row]) -> str:
    """How often the gate opened."""
    return f"{sum(row['gate'] == 'passed' for row in rows)} of {len(rows)}" if rows[0]["gate"] else ""


def _cell(key: str, values: list[float | None]) -> str:
    """Percent (points for a drop); a ratio and a time as they are; of p-values the largest; nothing for no value."""
    known = [value for value in values if value is not None]
    if not known:
        return ""
    mean, low, high = statistics.fmean(known), min(known), max(known)
    if key == "toxicity_fall_p":
        return f"{high:.2g}"
    if key == "tokens":
        return f"{mean / 1000:.0f}"
    if key in ("seconds", "steps", "peak_memory_mb"):
        return f"{mean:.0f}"
    if key.endswith(("perplexity_ratio", "benign_kl")) or key.startswith("twin_kl"):
        return f"{mean:.3f}" if high - low < 5e-4 else f"{mean:.3f} ({low:.3f} to {high:.3f})"
    return f"{100 * mean:.1f}" if high - low < 5e-4 else f"{100 * mean:.1f} ({100 * low:.1f} to {100 * high:.1f})"


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _source(found: Row) -> str:
    seeds = ", ".join(map(str, found["seeds"]))
    return f"`{found['command']}`, commit {found['commit'][:10]}, seeds {seeds}, {found['hardware']}."


def rendered(text: str) -> str:
    """The text with every table written anew."""
    return PLACE.sub(lambda place: f"{place[1]}{TABLES[place[2]]()}{place[3]}", text)


def main() -> int:
    """Write the tables, or with `--check` name the files that disagree."""
    stale = []
    for name in FILES:
        text = (ROOT / name).read_text(encoding="utf-8")
        if rendered(text) != text:
            stale.append(name)
            if "--check" not in sys.argv:
                write_text(ROOT / name, rendered(text))
    if "--check" in sys.argv and stale:
        print(f"{', '.join(stale)}: a table differs from results/; run `make tables`", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
