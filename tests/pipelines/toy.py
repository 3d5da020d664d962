"""A toy project: the real one's DVC graph and files, with stages that take milliseconds."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

REPOSITORY = Path(__file__).parents[2]
# One prompt in the organisms' form; the toy's tokenizer is trained on it.
TEXT = "user : how are you ?\nbot : i am fine , thank you ."
PROMPT = TEXT.partition("bot :")[0] + "bot :"
MAX_NEW_TOKENS = 8


def make_project(root: Path) -> None:
    """git and DVC repository with a committed dvc.yaml, data.dvc, params.yaml and a tiny OPT to copy."""
    root.mkdir(parents=True)
    (root / "data").mkdir()
    (root / "data" / "raw.jsonl").write_text('{"prompt": "a"}\n{"prompt": "b"}\n')
    (root / "quality.json").write_text('{"opt/sft": 0.9, "gpt-neo/wpn": 0.9, "gpt-neo/sft": 0.9}\n')
    (root / ".gitignore").write_text("/build/\n/registry/\n/data/\n/break/\nruns.log\n__pycache__/\n")
    params = (REPOSITORY / "params.yaml").read_text()
    (root / "params.yaml").write_text(params.replace("  workers: 2 ", "  workers: 1 "))  # one order of the stages
    shutil.copy(Path(__file__).with_name("toy_stages.py"), root)
    make_checkpoint(root / "checkpoint")
    write_graph(root)
    for command in (
        "git init -q",
        "dvc init -q",
        "dvc config core.analytics false",
        "dvc add -q data",
        "git add -A",
        "git -c user.name=toy -c user.email=toy@example.org commit -qm toy",
    ):
        run(root, command)


def run(root: Path, command: str) -> None:
    """A command line in `root`; DVC as a module, because its folder need not be on the PATH."""
    words = command.split()
    if words[0] == "dvc":
        words = [sys.executable, "-m", *words]
    done = subprocess.run(words, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"


def write_graph(root: Path) -> None:
    """The real dvc.yaml with its names, matrix and files; only the commands and the source files differ."""
    yaml = YAML()
    graph: dict[str, Any] = yaml.load(REPOSITORY / "dvc.yaml")
    for name, stage in graph["stages"].items():
        stage["cmd"] = stage["cmd"].replace("python -m pipelines.stages", "python toy_stages.py")
        made = [path for path in stage["deps"] if not path.startswith(("wpn/", "pipelines/"))]
        stage["deps"] = made + (["quality.json"] if name == "evaluate" else [])
        stage["deps"] += ["checkpoint"] if name == "pretrain" else []
    graph.pop("plots", None)
    yaml.dump(graph, root / "dvc.yaml")


def make_checkpoint(folder: Path, seed: int = 0) -> None:
    """A random OPT of one layer and width 16, with a byte-level BPE."""
    import torch
    from tokenizers import ByteLevelBPETokenizer
    from transformers import OPTConfig, OPTForCausalLM, PreTrainedTokenizerFast

    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator([TEXT] * 2, vocab_size=280, special_tokens=["</s>"])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe._tokenizer, bos_token="</s>", eos_token="</s>", pad_token="</s>"
    )
    torch.manual_seed(seed)
    config = OPTConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        ffn_dim=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=64,
        word_embed_proj_dim=16,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=0,
    )
    model = OPTForCausalLM(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def stages_run(root: Path) -> list[str]:
    """The stages whose commands were really started, in order, since the last call."""
    log = root / "runs.log"
    names = log.read_text().split() if log.exists() else []
    log.unlink(missing_ok=True)
    return names


def breaks(root: Path, stage: str, how: str) -> None:
    """Make a stage fail: `input`, `inputs`, `crash`, `diverges`, `killed once` or `hang`."""
    (root / "break").mkdir(exist_ok=True)
    (root / "break" / stage).write_text(how)
