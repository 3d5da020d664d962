import re
from pathlib import Path

import pytest

from wpn.config.loading import load_params
from wpn.errors import InputError

REAL = (Path(__file__).parents[2] / "params.yaml").read_text()


def broken(tmp_path: Path, old: str, new: str) -> str:
    assert REAL.count(old) >= 1, f"params.yaml no longer has {old!r}"
    file = tmp_path / "params.yaml"
    file.write_text(REAL.replace(old, new, 1))
    with pytest.raises(InputError) as error:
        load_params(file)
    assert "\n" not in str(error.value)
    return str(error.value).removeprefix(f"{file}: ")


def test_the_real_file_loads():
    params = load_params(Path(__file__).parents[2] / "params.yaml")
    assert set(params.pipeline.models) <= set(params.models)


def test_an_unknown_key_is_named_with_the_nearest_known_one(tmp_path):
    assert broken(tmp_path, "  steps:", "  stepz:") == "unknown key recipes.organism.unlearn.stepz; did you mean steps?"
    assert broken(tmp_path, "seed: 0", "seed: 0\nspeed: 1") == "unknown key speed; did you mean seed?"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("seed: 0", "seed: zero", "seed = 'zero': input should be a valid integer; correct the value"),
        ("seed: 0", "seed: -1", "seed = -1: input should be greater than or equal to 0; correct the value"),
        ("split: test", "split: tset", "recipes.organism.evaluate.split = 'tset': input should be 'dev' or 'test'"),
        ("at_least: 0.958", "at_least: .nan", "recipes.organism.gate.criteria.0.at_least = nan: input should be"),
        ("seed: 0  ", "#", "the key seed is missing; add it"),
        ("methods: [wpn, sft]", "methods: [wpm]", "pipeline names the unknown method 'wpm'; known: wpn, sft"),
        ("models: [opt, gpt-neo]", "models: [bloom]", "pipeline names the unknown model 'bloom'; known: opt, "),
        ("judge: svm    ", "judge: tox-block    ", "the judge 'tox-block' picks the training pairs and grades"),
        ("models: [opt, gpt-neo]", "models: [opt, opt]", "pipeline.models = ['opt', 'opt']: 'opt' is there twice; "),
        ("methods: [wpn, sft]", "methods: [sft, wpn, sft]", "pipeline.methods = ['sft', 'wpn', 'sft']: 'sft' is "),
        ("judges: [lexical, svm]", "judges: [svm, svm]", "organism.evaluate.judges = ['svm', 'svm']: 'svm' is there "),
        ("n_pair: [1.0, 2.0, 4.0]", "n_pair: [1.0, 2.0, 1]", "search.wpn.n_pair = [1.0, 2.0, 1]: 1.0 is there twice"),
        ("recipe: organism", "recipe: real", "models.opt has the recipe 'real', which is for the other kind of models"),
        ("judges: [lexical, svm]", "judges: [oracle]", "recipes.organism names the unknown judge 'oracle'; known: "),
        ("harmful: realtox", "harmful: toxic", "recipes.real names the unknown data set"),
        ("  lexical: {kind: lexical}", "  lexical: {kind: bilstm}", "a judge of kind bilstm has exactly one source"),
        ("reading: output ", "reading: hidden\n        reference: true ", "reference belongs to the reading output"),
        ("dev: 0.1 ", "dev: 0.6", "recipes.real.data.dev = 0.6: input should be less than 0.5"),
        ("accumulation: 1  ", "accumulation: 17  ", "accumulation 17 is more than batch_size 16"),
        ("highest_rate: null", "highest_rate: 3.0e-4", "highest_rate 0.0003 is below learning_rate 0.001; swap them"),
        ("{prompt}", "prompt", "the template must contain {prompt} exactly once"),
        ("      sft: {learning_rate: *r", "      soft: {learning_rate: *r", "organism.search names the unknown method"),
        ("metric: harmless_ood", "metric: harmles_ood", "not measure (the nearest that it does is harmless_ood)"),
        ("metric: harmless_ood", "metric: in_context_k3", "recipes.organism.gate bounds 'in_context_k3'"),
        ("schemes: [int8, int4]", "schemes: [int8, int8]", "'int8' is there twice; leave one out"),
        ("demonstrations: [0, 1", "demonstrations: [0, 0", "0 is there twice; leave one out"),
        ("          role_play:", "          worst:", "attack_success_worst is another number; take another name"),
        ("other: [do-not-answer, harmbench]", "other: [unseen]", "unseen is the name of another set of prompts"),
        ("layer: [1, 2, 3]", "layer: [0, 2]", "recipes.organism.search.rmu.layer has 0, which is none for it (Inp"),
        ("      suffix: {prompts: 10", "      suffix: null  # ", "worst_case.attacks names suffix, which is null"),
        ("gamma: [0.0", "gama: [0.0", "recipes.organism.search.simnpo.gama has 0.0, which is none for it (Extra"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_one_sentence_with_key_and_remedy(tmp_path, old, new, message):
    assert message in broken(tmp_path, old, new)


def test_of_a_section_that_is_wrong_as_a_whole_the_sentence_holds_no_dump(tmp_path):
    said = broken(tmp_path, "methods: [wpn, sft]", "methods: [wpm]")
    assert re.fullmatch(r"pipeline names the unknown method 'wpm'; known: [^={]+; correct the value", said)
    said = broken(tmp_path, "accumulation: 1  ", "accumulation: 17  ")
    assert "recipes.organism.unlearn: accumulation 17 is more than batch_size 16" in said


def test_a_value_out_of_range_is_said(tmp_path):
    found = re.search(r"forced_start: \S+", REAL)
    assert found is not None
    assert (
        broken(tmp_path, found[0], "forced_start: 1.4")
        == "recipes.organism.unlearn.forced_start = 1.4: input should be less than or equal to 1; correct the value"
    )


def test_what_is_no_yaml_is_said(tmp_path):
    assert "is not valid YAML" in broken(tmp_path, "pipeline:", "pipeline: [")


def test_a_missing_file_is_said(tmp_path):
    with pytest.raises(InputError, match="does not exist; run the command in the project's folder"):
        load_params(tmp_path / "params.yaml")


def test_exponents_are_numbers_as_dvc_reads_them(tmp_path):
    # footgun: 1e-3 is a float in YAML 1.2 and a string to PyYAML
    file = tmp_path / "params.yaml"
    file.write_text(re.sub(r"(      learning_rate: )\d\S*", r"\g<1>2e-3", REAL))
    assert load_params(file).recipe("opt").unlearn.learning_rate == 0.002
