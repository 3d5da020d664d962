"""`wpn run` pointed at a user's own model and data: rows of params.yaml, and nothing changed on bad input."""

import shutil
from pathlib import Path

import pytest

from pipelines.adopt import adopt, document_text, read_document
from tests.hub_server import HubServer
from wpn.config.loading import load_params
from wpn.errors import InputError
from wpn.files import sha256_of

REPOSITORY = Path(__file__).parents[2]
NONE: dict[str, list[str]] = {"data": [], "text": [], "benchmarks": []}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    shutil.copy(REPOSITORY / "params.yaml", tmp_path)
    (tmp_path / "My Model").mkdir()
    (tmp_path / "My Model" / "config.json").write_text("{}")
    (tmp_path / "mine.jsonl").write_text('{"prompt": "a"}\n')
    return tmp_path


def test_what_is_known_changes_nothing(root: Path) -> None:
    before = (root / "params.yaml").read_text()
    assert adopt(root, ["opt"], NONE) == (["opt"], [])
    assert adopt(root, [], NONE) == ([], [])
    assert (root / "params.yaml").read_text() == before


def test_a_known_method_joins_the_pipeline_once(root: Path) -> None:
    assert adopt(root, [], NONE, ["wpn", "npo"]) == ([], ["params.yaml: npo in pipeline.methods"])
    assert adopt(root, [], NONE, ["wpn", "npo"]) == ([], [])
    assert load_params(root / "params.yaml").pipeline.methods == ["wpn", "sft", "npo"]


def test_an_unknown_method_changes_nothing(root: Path) -> None:
    before = (root / "params.yaml").read_text()
    with pytest.raises(InputError, match="names the unknown method 'npoo'; known: wpn, sft, ga, "):
        adopt(root, ["smollm2-135m"], NONE, ["npoo"])
    assert (root / "params.yaml").read_text() == before


def test_a_changed_place_is_the_only_change_that_is_told(root: Path) -> None:
    adopt(root, [f"path:{root / 'My Model'}"], NONE)
    (root / "My Model" / "config.json").write_text("{ }")
    assert adopt(root, [f"path:{root / 'My Model'}"], NONE)[1] == ["params.yaml: the source of my-model has changed"]


def test_a_known_model_joins_the_pipeline_and_nothing_else_changes(root: Path) -> None:
    before = (root / "params.yaml").read_text().splitlines()
    names, changes = adopt(root, ["smollm2-135m"], NONE)
    after = (root / "params.yaml").read_text().splitlines()
    assert names == ["smollm2-135m"] and changes == ["params.yaml: smollm2-135m in pipeline.models"]
    changed = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    assert len(changed) == 1 and "[opt, gpt-neo, smollm2-135m]" in changed[0][1]


def test_a_folder_and_a_file_become_rows_with_their_hashes(root: Path) -> None:
    places = {**NONE, "data": [f"path:{root / 'mine.jsonl'}"]}
    names, _ = adopt(root, [f"path:{root / 'My Model'}"], places)
    params = load_params(root / "params.yaml")
    assert names == ["my-model"] and params.pipeline.models == ["opt", "gpt-neo", "my-model"]
    row = params.models["my-model"]
    assert row.path is not None and row.path.sha256 == sha256_of(root / "My Model")
    assert params.recipe("my-model").data.harmful == "mine"
    data = params.datasets["mine"]
    assert (data.format, data.path and data.path.sha256) == ("records", sha256_of(root / "mine.jsonl"))
    # again with other content: the same rows, another hash
    (root / "mine.jsonl").write_text('{"prompt": "b"}\n')
    assert adopt(root, [f"path:{root / 'My Model'}"], places)[0] == ["my-model"]
    again = load_params(root / "params.yaml")
    assert again.datasets["mine"].path != data.path and set(again.models) == set(params.models)


def test_a_model_keeps_the_recipe_that_its_user_gave_it(root: Path) -> None:
    adopt(root, [f"path:{root / 'My Model'}"], NONE)
    file = root / "params.yaml"
    yaml, document = read_document(file.read_text())
    document["recipes"]["chat"] = {**document["recipes"]["real"], "search": {}}
    document["models"]["my-model"]["recipe"] = "chat"
    file.write_text(document_text(yaml, document))
    (root / "My Model" / "config.json").write_text("{ }")
    _, changes = adopt(root, [f"path:{root / 'My Model'}"], NONE)
    assert len(changes) == 1 and load_params(file).models["my-model"].recipe == "chat"


def test_a_format_of_one_task_is_known_by_its_name(root: Path) -> None:
    adopt(root, ["smollm2-135m"], {**NONE, "benchmarks": [f"arc_easy=path:{root / 'mine.jsonl'}"]})
    assert load_params(root / "params.yaml").datasets["mine"].format == "arc_easy"


def test_a_relative_place_is_kept_relative_to_the_project(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "sub").mkdir()
    monkeypatch.chdir(root / "sub")
    adopt(root, ["smollm2-135m"], {**NONE, "text": ["truthfulqa=path:../mine.jsonl"]})
    row = load_params(root / "params.yaml").datasets["mine"]
    assert (row.format, row.path and row.path.location) == ("truthfulqa", "mine.jsonl")


def test_several_data_sets_or_none_replace_the_recipes(root: Path) -> None:
    adopt(root, ["opt-125m"], {**NONE, "text": ["wikitext-2", f"path:{root / 'mine.jsonl'}"], "benchmarks": ["none"]})
    data = load_params(root / "params.yaml").recipe("opt-125m").data
    assert (data.text, data.benchmarks) == (["wikitext-2", "mine"], [])
    assert "\n    benchmarks: []\n" in (root / "params.yaml").read_text()


def test_a_hub_model_is_pinned_to_the_commit_of_today(root: Path, tmp_path: Path, monkeypatch) -> None:
    with HubServer(tmp_path / "hub") as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        made = hub.add("someone/tiny", {"config.json": b"{}", "model.safetensors": b"weights"})
        names, _ = adopt(root, ["hub:someone/tiny"], NONE)
    row = load_params(root / "params.yaml").models[names[0]]
    assert names == ["tiny"] and row.hub is not None and row.hub.revision == made.commit


def test_a_registered_version_is_a_source(root: Path) -> None:
    names, _ = adopt(root, ["models:/wpn-opt/3"], NONE)
    row = load_params(root / "params.yaml").models[names[0]]
    assert names == ["wpn-opt"] and row.mlflow is not None and row.mlflow.uri == "models:/wpn-opt/3"


@pytest.mark.parametrize(
    ("models", "sets", "words"),
    [
        (["bloom"], {}, "unknown model 'bloom'; known: opt, gpt-neo"),
        (["path:nowhere"], {}, "nowhere does not exist"),
        (["models:/wpn-opt@champion"], {}, "string should match pattern"),
        (["path:opt"], {}, "is another row's; rename the file or folder"),
        (["path:opt-125m"], {}, "the name 'opt-125m' that path:opt-125m would get is another row's"),
        (["smollm2-135m"], {"data": ["path:pyrit"]}, "the name 'pyrit' that path:pyrit would get is another row's"),
        (["smollm2-135m"], {"data": ["toxic"]}, "unknown data set 'toxic' for --data; known: realtoxicityprompts"),
        (["opt"], {"data": ["pyrit"]}, "opt is a model organism, whose data are in data/"),
        ([], {"text": ["pyrit"]}, "--text belongs to a model; name it with --model"),
    ],
)
def test_bad_input_is_one_sentence_and_changes_nothing(root: Path, monkeypatch, models, sets, words) -> None:
    for name in ("opt", "opt-125m", "pyrit"):
        (root / name).mkdir()
        (root / name / "config.json").write_text("{}")
    monkeypatch.chdir(root)
    before = (root / "params.yaml").read_text()
    with pytest.raises(InputError) as error:
        adopt(root, models, {**NONE, **sets})
    assert words in str(error.value) and "\n" not in str(error.value)
    assert (root / "params.yaml").read_text() == before
