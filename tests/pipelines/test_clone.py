"""A clone of the toy project: what it shares with the project, and what it has of its own."""

from pathlib import Path

from pipelines import tracking
from pipelines.clone import clone
from wpn.config.loading import parse_params

PLACED = f"""
  near:
    recipe: real
    license: Apache-2.0
    path: {{location: ../models/near, sha256: "{"0" * 64}"}}
  far:
    recipe: real
    license: Apache-2.0
    path: {{location: /models/far, sha256: "{"1" * 64}"}}
"""


def test_a_place_named_from_the_project_is_the_same_place_in_the_clone(project: Path) -> None:
    real = (Path(__file__).parents[2] / "params.yaml").read_text(encoding="utf-8")
    with clone(project, "HEAD", real.replace("\nmodels:", f"\nmodels:{PLACED}", 1)) as folder:
        file = folder / "params.yaml"
        models = parse_params(file.read_text(encoding="utf-8"), file).models
    near, far = models["near"].path, models["far"].path
    assert near and far
    assert near.location == str(project.parent / "models" / "near") and far.location == "/models/far"
    with clone(project, "HEAD", real) as folder:
        assert (folder / "params.yaml").read_text(encoding="utf-8") == real


def test_models_come_out_of_the_projects_registry(project: Path) -> None:
    (project / "registry").mkdir(exist_ok=True)
    (project / "registry" / "known").write_text("here")
    params = (project / "params.yaml").read_text(encoding="utf-8")
    with clone(project, "HEAD", params) as folder:
        assert (folder / "registry" / "known").exists()
        assert tracking.default_uri(folder).endswith(str(folder / "registry" / "mlflow.db"))
    assert (project / "registry" / "known").read_text() == "here"
