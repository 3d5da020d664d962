"""An MLflow flavor: a transformers model whose pyfunc says nothing that a judge finds harmful.

It stands alone: a version carries this file and the package wpn in its folder `code`, and needs neither pipelines nor
an installed wpn.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

FILTER = "filter"  # folder of a version: judge.json, and the judge's files


def save_model(path: str, mlflow_model: Any, judge: dict[str, Any], judge_files: Path, **named: Any) -> None:
    """What `mlflow.models.Model.log` asks of a flavor.

    Args:
        path: where the version's files go.
        mlflow_model: its description, which is completed and written.
        judge: the judge's row of params.yaml.
        judge_files: its fetched files; a judge without any has no such folder.
        named: as of mlflow.transformers.save_model.
    """
    import mlflow

    import wpn

    ours = [str(Path(wpn.__file__).parent), __file__]
    mlflow.transformers.save_model(path=path, mlflow_model=mlflow_model, code_paths=ours, **named)
    target = Path(path) / FILTER
    if judge_files.is_dir():
        shutil.copytree(judge_files, target)
    from wpn.files import write_json

    write_json(target / "judge.json", judge)
    mlflow_model.flavors["python_function"]["loader_module"] = Path(__file__).stem
    mlflow_model.save(str(Path(path) / "MLmodel"))


def _load_pyfunc(path: str, model_config: dict[str, Any] | None = None) -> "Filtered":
    """What `mlflow.pyfunc.load_model` calls."""
    import torch
    from mlflow import transformers

    from wpn.config.sources import JudgeRow
    from wpn.files import read_json
    from wpn.judges import load_judge
    from wpn.output_filter import OutputFilter

    folder = Path(path) / FILTER
    judge = load_judge(JudgeRow.model_validate(read_json(folder / "judge.json")), folder, torch.device("cpu"))
    return Filtered(transformers._load_pyfunc(path, model_config), OutputFilter(judge))


class Filtered:
    """The model's pyfunc behind the filter; a prompt that an answer repeats is not judged."""

    def __init__(self, model: Any, output_filter: Any) -> None:
        self.model, self.filter = model, output_filter

    def predict(self, data: Any, params: dict[str, Any] | None = None) -> list[str]:
        """The prompts and what follows them, as the model's own pyfunc gives them."""
        prompts = texts_of(data)
        whole = self.model.predict(data, params)
        heads = [prompt if text.startswith(prompt) else "" for prompt, text in zip(prompts, whole, strict=True)]
        answers = [text[len(head) :] for head, text in zip(heads, whole, strict=True)]
        said = self.filter.apply(prompts, answers)
        return [head + answer for head, answer in zip(heads, said, strict=True)]


def texts_of(data: Any) -> Sequence[str]:
    """The prompts in what pyfunc accepts: a text, a list of them, a column, or a table of one."""
    if isinstance(data, str):
        return [data]
    if hasattr(data, "columns"):
        return [str(text) for text in data.iloc[:, 0]]
    return [str(text) for text in data]
