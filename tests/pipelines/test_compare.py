"""Methods side by side over seeds, in clones of the toy project."""

from pathlib import Path

import pytest
from rich.console import Console

from pipelines.compare import ATTACKS_AND_COSTS, RESULTS, compare, tables
from tests.pipelines.toy import run
from wpn.errors import InputError
from wpn.files import read_json


@pytest.fixture
def committed(project: Path) -> Path:
    run(project, "git add -A")
    run(project, "git -c user.name=toy -c user.email=toy@example.org commit -qm run --allow-empty")
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


def test_bad_names_and_uncommitted_changes_are_refused_before_anything_runs(committed: Path) -> None:
    with pytest.raises(InputError, match="names the unknown method 'npoo'"):
        compare(committed, ["opt"], ["npoo"], [4], print)
    (committed / "toy_stages.py").write_text("changed")
    with pytest.raises(InputError, match="uncommitted changes"):
        compare(committed, ["opt"], ["sft"], [4], print)


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
