"""MLflow's own page in a real browser: what a reviewer sees of a version, and the approval set there by hand."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines import promotion, registry, tracking
from pipelines.enrol import enrol
from tests.pipelines.toy import REPOSITORY
from wpn.config.loading import load_params

NAME = "wpn-opt"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
# without these Chromium asks hosts of its maker at every start, which no test may
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]  # fmt: skip
SCREENSHOTS = REPOSITORY / "build" / "screenshots"


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Any]:
    """A page of a headless browser with an empty profile."""
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"no browser is installed here ({', '.join(BROWSERS)} not found)")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as engine:
        browser = engine.chromium.launch_persistent_context(
            str(tmp_path / "profile"), executable_path=found, args=QUIET, viewport={"width": 1400, "height": 1100}
        )
        yield browser.pages[0]
        browser.close()


def test_a_reviewer_approves_in_the_page_and_the_promoter_takes_it_up(
    project: Path, mlflow_server: str, page: Any
) -> None:
    client = tracking.connect(project)
    enrol(client, project, load_params(project / "params.yaml"), "opt", "wpn")
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)

    # from the list of models to the version
    page.goto(f"{mlflow_server}/#/models")
    page.get_by_role("button", name="Try it now").click()  # MLflow's greeting covers the page
    page.get_by_role("link", name=NAME, exact=True).click()
    page.get_by_role("link", name="Version 1").click()

    # the card, as markdown, and the tags
    for heading in ("opt, unlearned with wpn", "Results", "Gate", "Intended use", "Limits"):
        page.get_by_role("heading", name=heading, exact=True).wait_for()
    for name, value in (("gate", "passed"), ("approval", "pending"), ("git_commit", tracking.git_state(project)[0])):
        assert value in tag(page, name).inner_text()
    page.screenshot(path=SCREENSHOTS / "mlflow-version.png")

    # the approval, as a person sets it
    tag(page, "approval").get_by_test_id("editable-table-button-edit").click()
    tag(page, "approval").get_by_test_id("editable-table-edited-input").fill("approved")
    tag(page, "approval").get_by_test_id("editable-table-button-save").click()
    tag(page, "approval").get_by_test_id("editable-table-button-edit").wait_for()
    assert "approved" in tag(page, "approval").inner_text()
    page.screenshot(path=SCREENSHOTS / "mlflow-approved.png")

    # the metrics, on the run behind the version
    page.get_by_role("link", name="opt-wpn").first.click()
    page.get_by_role("link", name="harmless_unseen_low", exact=True).wait_for()
    page.screenshot(path=SCREENSHOTS / "mlflow-run.png")

    (row,) = promotion.promote(client, by="test")
    assert (row["action"], row["version"]) == ("promoted", "1")
    assert registry.alias(client, NAME, "champion") == "1"
    page.goto(f"{mlflow_server}/#/models/{NAME}/versions/1")
    page.get_by_text("champion").first.wait_for()
    page.screenshot(path=SCREENSHOTS / "mlflow-champion.png")


def tag(page: Any, name: str) -> Any:
    """The row of a tag in the version's table."""
    return page.get_by_role("row").filter(has=page.get_by_role("cell", name=name, exact=True))
