"""Methods side by side over seeds, in clones of the toy project."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from pipelines.adopt import document_text, read_document
from pipelines.compare import ATTACKS_AND_COSTS, RESULTS, Row, compare, tables
from pipelines.repro import StageDiverged, StageFailed
from pipelines.search import _document, _trial
from tests.pipelines.toy import breaks, run
from wpn.config.loading import parse_params
from wpn.config.probes import PROBES
from wpn.errors import InputError
from wpn.files import read_json
from wpn.search import drawn


def commit(project: Path) -> None:
    run(project, "git add -A")
    run(project, "git -c user.name=toy -c user.email=toy@example.org commit -qm run --allow-empty")


@pytest.fixture
def committed(project: Path) -> Path:
    commit(project)
    return project


@pytest.fixture
def searchable(project: Path) -> Path:
    """Three rates of `npo`: its row's, a better one, and the best, of which training diverges."""
    yaml, document = read_document((project / "params.yaml").read_text())
    document["recipes"]["organism"]["search"] = {"npo": {"learning_rate": [0.001, 0.004]}}
    document["recipes"]["organism"]["compute"]["workers"] = 2
    (project / "params.yaml").write_text(document_text(yaml, document))
    rates = {"opt/npo at 0.0002": 0.9, "opt/npo at 0.001": 0.97, "opt/npo at 0.004": 0.99}
    (project / "quality.json").write_text(json.dumps(rates))
    commit(project)
    return project


def test_every_seed_and_method_gives_its_rows_and_the_project_stays_as_it_is(committed: Path) -> None:
    params = (committed / "params.yaml").read_text()
    said: list[str] = []
    rows = compare(committed, ["opt"], ["npo", "sft"], [4, 5], said.append)
    assert [(row["stage"], row["method"]) for row in rows] == [
        ("before", None), ("after", "npo"), ("after", "sft"), ("twin", None),
    ] * 2  # fmt: skip
    assert rows == read_json(committed / "build" / "compare" / "rows.json")
    assert said[0] == "seed 4: settings" and said[-1].startswith("seed 5: ")
    assert {f"seed {seed}: unlearn@opt-{method}" for seed in (4, 5) for method in ("npo", "sft")} <= set(said)
    assert (committed / "params.yaml").read_text() == params
    assert not (committed / "build" / "unlearned" / "opt" / "npo").exists()


def test_trials_of_every_method_come_first_and_the_best_of_each_is_compared(searchable: Path) -> None:
    first = drawn({"learning_rate": 2e-4}, {"learning_rate": [0.001, 0.004]}, "0-npo", 3)
    diverges = [row["learning_rate"] for row in first].index(0.004)
    breaks(searchable, f"unlearn@opt-npo-trial-{diverges}", "diverges")
    run(searchable, "git add -f break")
    commit(searchable)
    said: list[str] = []
    rows = compare(searchable, ["opt"], ["npo"], [4], said.append, trials=3)
    trials = read_json(searchable / "build" / "compare" / "trials.json")
    tried = {(row["method"], row["settings"]["learning_rate"]): row.get("score") for row in trials}
    # a tenth of the area under relearning, which is .05
    assert tried == {("npo", 2e-4): 0.895, ("npo", 0.001): 0.965, ("npo", 0.004): None}
    (failed,) = (row for row in trials if "failed" in row)
    assert failed["trial"] == diverges and "the loss is not finite at step 2" in failed["failed"]
    # the seed that is compared was trained with what was found: its rate decides how good the toy turns out
    assert {row["method"]: row["harmless_unseen"] for row in rows if row["method"]} == {"npo": 0.97}
    assert "opt, npo, trial 0: score 0.895" in said and "organism, npo: trial" in "\n".join(said)
    assert not [line for line in said if "assess-reference" in line and "trials" in line], "which no score asks for"


def test_a_search_attacks_by_relearning_alone(searchable: Path) -> None:
    text = _document((searchable / "params.yaml").read_text(), "organism", ["opt"], {"npo": {"method": "npo"}})
    recipe = parse_params(text, searchable / "params.yaml").recipes["organism"]
    asked = [name for name in PROBES if getattr(recipe.assess, name)]
    assert (asked, recipe.evaluate.split) == (["relearning"], "dev")
    assert (recipe.assess.relearning.pairs, len(recipe.assess.relearning.attacks)) == ([16], 1)


class Fails:
    """In place of a StageRunner, or of the trials of a search."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def run(self, *_: Any, **__: Any) -> None:
        raise self.error

    def __iter__(self) -> Iterator[Row]:
        raise self.error


def test_of_trials_only_those_that_diverge_have_failed(tmp_path: Path) -> None:
    row = {"model": "opt", "method": "npo", "trial": 1, "settings": {}}
    assert _trial(Fails(StageDiverged("loss is nan")), tmp_path, row) == {**row, "failed": "loss is nan"}
    with pytest.raises(StageFailed, match="no space left"):  # of which the settings are innocent
        _trial(Fails(StageFailed("no space left")), tmp_path, row)


def test_trials_are_written_as_they_come(searchable: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = {"model": "opt", "method": "npo", "trial": 0, "settings": {}, "score": 0.5}

    def one_and_no_more(*_: Any) -> Iterator[Any]:
        yield row
        raise StageFailed("no space left")

    monkeypatch.setattr("pipelines.compare.search", one_and_no_more)
    with pytest.raises(StageFailed):
        compare(searchable, ["opt"], ["npo"], [4], print, trials=2)
    trials = searchable / "build" / "compare" / "trials.json"
    assert read_json(trials) == [row]

    monkeypatch.setattr("pipelines.compare.search", lambda *_: Fails(StageFailed("no space left")))
    with pytest.raises(StageFailed):
        compare(searchable, ["opt"], ["npo"], [4], print, trials=2)
    assert not trials.exists(), "those of an older search are not of this one"


def test_rows_are_written_seed_by_seed_and_never_stand_beside_those_of_an_older_comparison(
    committed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def until(last: int) -> Callable[..., list[Row]]:
        def seed_rows(_root: Path, _commit: str, seed: int, _params: str, _say: Any) -> list[Row]:
            if seed > last:
                raise StageFailed("no space left")
            return [{"model": "opt", "seed": seed}]

        return seed_rows

    file = committed / "build" / "compare" / "rows.json"
    monkeypatch.setattr("pipelines.compare._run", until(5))
    with pytest.raises(StageFailed):
        compare(committed, ["opt"], ["npo"], [4, 5, 6], print)
    assert [row["seed"] for row in read_json(file)] == [4, 5]
    with pytest.raises(InputError):
        compare(committed, ["opt"], ["npoo"], [7], print)
    assert file.exists(), "what is refused has not begun"
    with pytest.raises(StageFailed):
        compare(committed, ["opt"], ["npo"], [7], print)
    assert not file.exists()


def test_a_search_is_made_on_no_split_that_is_compared(searchable: Path) -> None:
    yaml, document = read_document((searchable / "params.yaml").read_text())
    document["recipes"]["organism"]["evaluate"]["split"] = "dev"
    (searchable / "params.yaml").write_text(document_text(yaml, document))
    with pytest.raises(InputError) as refused:
        compare(searchable, ["opt"], ["npo"], [4], print, trials=2)
    assert str(refused.value) == (
        "recipes.organism.evaluate.split in params.yaml is dev, on which the search is made; set it to test, "
        "or leave --trials out"
    )


def test_of_a_search_space_that_is_too_small_it_is_said_how_much_it_holds(
    searchable: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def one_of_each(_root: Path, _commit: str, _models: Any, tried: dict[str, Any], _say: Any) -> Iterator[Row]:
        for method, (settings, *_) in tried.items():
            yield {"model": "opt", "method": method, "trial": 0, "settings": settings, "score": 0.5}

    monkeypatch.setattr("pipelines.compare.search", one_of_each)
    monkeypatch.setattr("pipelines.compare._run", lambda *_: [])
    said: list[str] = []
    compare(searchable, ["opt"], ["npo"], [4], said.append, trials=3)
    assert said == ["organism, npo: trial 0 is best, score 0.500"], "its row and two rates are three"
    compare(searchable, ["opt"], ["npo"], [4], said.append, trials=4)
    assert "organism, npo: 3 of 4 trials; its row and its search hold no more" in said


def test_a_search_is_made_on_no_seed_that_is_compared_and_needs_something_to_draw(searchable: Path) -> None:
    with pytest.raises(InputError, match=r"seed 0 of params\.yaml; compare by other seeds"):
        compare(searchable, ["opt"], ["npo"], [0, 4], print, trials=2)
    with pytest.raises(InputError, match=r"recipes\.organism\.search in params\.yaml has no 'ga'"):
        compare(searchable, ["opt"], ["ga"], [4], print, trials=2)


def test_bad_names_and_uncommitted_changes_are_refused_before_anything_runs(committed: Path) -> None:
    with pytest.raises(InputError, match="names the unknown method 'npoo'"):
        compare(committed, ["opt"], ["npoo"], [4], print)
    (committed / "toy_stages.py").write_text("changed")
    with pytest.raises(InputError, match="uncommitted changes"):
        compare(committed, ["opt"], ["sft"], [4], print)


@pytest.mark.parametrize(
    ("models", "methods", "seeds", "said"),
    [
        (["opt", "gpt-neo", "opt"], ["npo"], [4], "--model: 'opt' is there twice; leave one out"),
        (["opt"], ["npo", "npo"], [4], "--method: 'npo' is there twice; leave one out"),
        (["opt"], ["npo"], [4, 5, 4], "--seed: 4 is there twice; leave one out"),
    ],
)
def test_nothing_is_compared_twice(
    tmp_path: Path, models: list[str], methods: list[str], seeds: list[int], said: str
) -> None:
    # a seed that is there twice is no second measurement, and the intervals would take it for one
    with pytest.raises(InputError) as refused:
        compare(tmp_path, models, methods, seeds, print)
    assert str(refused.value) == said


def test_the_table_has_means_and_intervals_over_the_seeds(capsys: pytest.CaptureFixture[str]) -> None:
    keys = [key for columns in (RESULTS, ATTACKS_AND_COSTS) for key, *_ in columns.values()]
    rows = [
        {"model": "opt", "method": "wpn", "stage": "after", "seed": seed, **dict.fromkeys(keys, 0.5),
         "harmless_unseen": rate, "harmless_sampled": None, "seconds": 41.6}
        for seed, rate in ((1, 0.9), (2, 0.94), (3, 0.98))
    ]  # fmt: skip
    Console(width=80).print(*tables(rows))
    screen = capsys.readouterr().out
    # mean 94, standard error 4 / sqrt(3), t of 2 degrees of freedom 4.303: 94 -+ 9.9
    assert "94.0" in screen and "±9.9" in screen and "means over 3 seeds" in screen
    assert "0.500" in screen and "-" in screen and " 42\n" in screen
    assert max(len(line) for line in screen.splitlines()) <= 80
