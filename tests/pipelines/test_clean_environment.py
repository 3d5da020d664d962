"""A version's logged requirements are all that serving it needs: a clean environment made of them and nothing else."""

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines import artifacts, filtered_model, registry, tracking
from pipelines.processes import free_port, wait_until_answers
from pipelines.registry import Filter
from tests.conftest import end
from tests.pipelines.toy import PROMPT
from wpn.config.sources import JudgeRow
from wpn.importing import import_checkpoint

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def version(registered: Path) -> Path:
    """The files of version 1, wherever they lie."""
    client = tracking.connect(registered)
    found = registry.find_version(client, "wpn-opt", "1")
    with artifacts.downloaded(client, artifacts.location(client, found)) as folder:
        return folder


@pytest.fixture(scope="module")
def clean(version: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The variables of an environment that has the logged requirements."""
    folder = tmp_path_factory.mktemp("clean") / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = str(folder / "bin" / "python")
    install = [python, "-m", "pip", "install", "--quiet", "-r", str(version / "requirements.txt")]
    done = subprocess.run(install, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    kept = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "MLFLOW_TRACKING_URI")}
    yield {**kept, "PATH": f"{folder / 'bin'}{os.pathsep}{kept['PATH']}", "PYTHON": python}


def test_pyfunc_loads_and_answers(version: Path, clean: dict[str, str], tmp_path: Path) -> None:
    code = "import mlflow, sys; print(mlflow.pyfunc.load_model(sys.argv[1]).predict([sys.argv[2]])[0])"
    done = subprocess.run(
        [clean["PYTHON"], "-c", code, str(version), PROMPT],
        env=clean, cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(PROMPT)
    absent = subprocess.run([clean["PYTHON"], "-c", "import wpn"], env=clean, cwd=tmp_path, capture_output=True)
    assert absent.returncode != 0, "wpn itself is not needed"


def test_a_filtered_version_brings_what_it_needs(version: Path, clean: dict[str, str], tmp_path: Path) -> None:
    from mlflow.models import Model

    chosen = Filter("svm", JudgeRow(kind="svm"), "as installed", tmp_path / "no files")
    model, tokenizer = import_checkpoint(version)
    filtered_model.save_model(
        str(tmp_path / "filtered"), Model(), judge=chosen.row.model_dump(mode="json"), judge_files=chosen.files,
        transformers_model={"model": model, "tokenizer": tokenizer}, task="text-generation",
        pip_requirements=registry.requirements(chosen), model_config={"max_new_tokens": 4, "do_sample": False},
    )  # fmt: skip
    needed = tmp_path / "filtered" / "requirements.txt"
    subprocess.run([clean["PYTHON"], "-m", "pip", "install", "--quiet", "-r", str(needed)], check=True, env=clean)
    code = (
        "import mlflow, sys; model = mlflow.pyfunc.load_model(sys.argv[1]); print(model.predict([sys.argv[2]])[0]);"
        "print(model._model_impl.filter.stops(['you stupid fucking idiot', 'what a lovely day']))"
    )
    done = subprocess.run(
        [clean["PYTHON"], "-c", code, str(tmp_path / "filtered"), PROMPT],
        env=clean, cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(PROMPT) and done.stdout.rstrip().endswith("[True, False]")


def test_models_serve_answers_over_http(version: Path, clean: dict[str, str], tmp_path: Path) -> None:
    port, log = free_port(), tmp_path / "serve.log"
    command = ["mlflow", "models", "serve", "-m", str(version), "--env-manager", "local", "--port", str(port)]
    with log.open("wb") as output:
        server = subprocess.Popen(
            [clean["PYTHON"], "-m", *command], env=clean, cwd=tmp_path, stdout=output, stderr=output,
            start_new_session=True,
        )  # fmt: skip
    try:
        wait_until_answers("model server", f"http://127.0.0.1:{port}/health", server, log)
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/invocations",
            json.dumps({"inputs": [PROMPT]}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            (text,) = json.loads(answer.read())["predictions"]
    finally:
        end(server)
    assert text.startswith(PROMPT) and len(text) > len(PROMPT)
