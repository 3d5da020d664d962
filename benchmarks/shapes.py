"""Speed and memory of the library on models of the paper's shapes, randomly initialised: no weights are fetched.

python -m benchmarks.shapes                                 # the four large shapes, on the first GPU
python -m benchmarks.shapes --shapes opt-125m --device cpu  # a small one, anywhere

Each shape is unlearned (`wpn.train.unlearn`, bf16 products, fp32 weights and moments), sampled from
(`wpn.generate.continue_prompts`, bf16 weights) and scored (`wpn.likelihood.row_log_likelihoods`, fp32 weights) on
random words. Tokens a second are those of the input, of generation those drawn; the share is the work counted by
torch's FLOP counter, over the seconds, over the rate that the same machine reaches in one large bf16 matrix product.
Writes results/shapes-DEVICE.json, shape by shape.
"""

import argparse
import random
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForCausalLM, GPTNeoConfig, OPTConfig, PreTrainedModel, PreTrainedTokenizerFast

from benchmarks.provenance import ROOT, provenance, run
from wpn.config.loading import load_params
from wpn.config.methods import Method
from wpn.config.training import Unlearn
from wpn.data.batches import encode_text
from wpn.files import write_json
from wpn.generate import continue_prompts
from wpn.likelihood import row_log_likelihoods
from wpn.models import choose_device
from wpn.train import unlearn

WARM = 3  # steps or batches before the clock counts
MATRIX = {"cuda": 8192, "cpu": 1024}  # rows and columns of the product that measures the machine


@dataclass(frozen=True)
class Size:
    """How much is run."""

    steps: int  # of unlearning, after the warm ones
    batch: int  # pairs, and texts, of a step; sequences of a generated and of a scored batch are four times as many
    words: int  # of a prompt and of a response; a text has four times as many


FULL = Size(steps=10, batch=16, words=32)


def opt(width: int, layers: int, heads: int) -> OPTConfig:
    """An OPT of Zhang et al. (2022), table 1."""
    return OPTConfig(hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads, ffn_dim=4 * width,
                     word_embed_proj_dim=width, vocab_size=50272)  # fmt: skip


def gpt_neo(width: int, layers: int, heads: int) -> GPTNeoConfig:
    """A GPT-Neo of Black et al. (2021): global and local attention in turn."""
    return GPTNeoConfig(hidden_size=width, num_layers=layers, num_heads=heads, vocab_size=50257,
                        attention_types=[[["global", "local"], layers // 2]])  # fmt: skip


SHAPES: dict[str, Callable[[], Any]] = {
    "opt-125m": lambda: opt(768, 12, 12),
    "opt-1.3b": lambda: opt(2048, 24, 32),
    "opt-2.7b": lambda: opt(2560, 32, 32),
    "gpt-neo-125m": lambda: gpt_neo(768, 12, 12),
    "gpt-neo-1.3b": lambda: gpt_neo(2048, 24, 16),
    "gpt-neo-2.7b": lambda: gpt_neo(2560, 32, 20),
}
LARGE = ["opt-1.3b", "gpt-neo-1.3b", "opt-2.7b", "gpt-neo-2.7b"]


def main() -> None:
    """Measure the shapes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=LARGE)
    parser.add_argument("--device", default="cuda")
    chosen = parser.parse_args()
    device = choose_device(chosen.device)
    peak = matrix_rate(device)
    card = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    found = {**provenance([0]), "card": card, "bf16_matrix_flops": peak, "rows": []}
    for name in chosen.shapes:
        found["rows"] += measure_shape(name, SHAPES[name](), device, FULL, peak)
        write_json(ROOT / "results" / f"shapes-{device.type}.json", found)


def measure_shape(name: str, config: Any, device: torch.device, size: Size, peak: float) -> list[dict[str, Any]]:
    """One row a kind of work: tokens a second, peak memory, share of the machine's rate."""
    torch.manual_seed(0)
    tokenizer = words(config)
    with device:
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    parameters = sum(parameter.numel() for parameter in model.parameters())
    rows = [
        {"shape": name, "parameters": parameters, "work": work.__name__, **work(model, tokenizer, size)}
        for work in (unlearning, scoring, generation)  # generation last: it leaves the model in bf16
    ]
    for row in rows:
        row["share_of_matrix_rate"] = row["flops_a_second"] / peak
        print(row)
    return rows


def unlearning(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, size: Size) -> dict[str, float]:
    """Whole steps of the loop, with the optimiser's; forget pairs with one negative, and texts under the KL term."""
    params = load_params(ROOT / "params.yaml").recipes["real"]
    settings = params.unlearn.model_copy(
        update={
            "steps": WARM + size.steps,
            "batch_size": size.batch,
            "retain_batch_size": size.batch,
            "accumulation": 1,
        }
    )
    return {**_unlearn(model, tokenizer, size, settings, params.methods["wpn"]), "batch": size.batch}


def _unlearn(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, size: Size, settings: Unlearn, method: Method
) -> dict[str, float]:
    pairs = [
        {key: text(size.words) for key in ("prompt", "harmful_output", "harmless_response")}
        | {"complete": False, "word_harm": [0.5] * size.words}
        for _ in range(4 * size.batch)
    ]
    texts = [{"text": text(4 * size.words), "alarming": False, "complete": False} for _ in range(4 * size.batch)]
    ends: list[float] = []

    def log(_: dict[str, float]) -> None:
        _wait(model.device)
        ends.append(time.perf_counter())

    _reset(model.device)
    done = unlearn(model, tokenizer, pairs, texts, settings, method, 0, log)
    seconds = (ends[-1] - ends[WARM - 1]) / size.steps
    memory = _peak_memory(model.device)
    once = settings.model_copy(update={"steps": 1})
    flops = _flops(lambda: unlearn(model, tokenizer, pairs, texts, once, method, 0, lambda _: None))
    return _rates(done.tokens / done.steps, seconds, flops, memory)


def scoring(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, size: Size) -> dict[str, float]:
    """Log-likelihoods of texts."""
    batch = 4 * size.batch
    rows = [encode_text(tokenizer, text(4 * size.words), complete=False) for _ in range(batch)]
    work = lambda: row_log_likelihoods(model, tokenizer, rows, batch)  # noqa: E731
    return {**_timed(work, batch * 4 * size.words, model.device), "batch": batch}


def generation(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, size: Size) -> dict[str, float]:
    """Samples, one prompt each; the tokens counted are the sampled ones."""
    model.bfloat16()
    batch = 4 * size.batch
    prompts = [text(size.words) for _ in range(batch)]

    def work() -> list[str]:
        return continue_prompts(
            model, tokenizer, prompts, max_new_tokens=size.words, batch_size=batch, temperature=1.0, seed=0
        )

    sampled = sum(len(answer.split()) for answer in work())
    return {**_timed(work, sampled, model.device), "batch": batch}


def _timed(work: Callable[[], Any], tokens: int, device: torch.device) -> dict[str, float]:
    for _ in range(WARM):
        work()
    _reset(device)
    started = time.perf_counter()
    work()
    _wait(device)
    seconds = time.perf_counter() - started
    return _rates(tokens, seconds, _flops(work), _peak_memory(device))


def _rates(tokens: float, seconds: float, flops: int, memory: int) -> dict[str, float]:
    return {
        "tokens": tokens,
        "seconds": seconds,
        "tokens_a_second": tokens / seconds,
        "flops_a_second": flops / seconds,
        "peak_memory_mb": round(memory / 2**20),
    }


def _flops(work: Callable[[], Any]) -> int:
    with FlopCounterMode(display=False) as counter:
        work()
    return int(counter.get_total_flops())


def matrix_rate(device: torch.device, repeats: int = 10) -> float:
    """FLOP a second of a square bf16 matrix product, the mean of `repeats` after as many to warm up."""
    n = MATRIX[device.type]
    a, b = (torch.randn(n, n, device=device, dtype=torch.bfloat16) for _ in range(2))
    started = 0.0
    for number in range(2 * repeats):
        if number == repeats:
            _wait(device)
            started = time.perf_counter()
        torch.mm(a, b)
    _wait(device)
    return repeats * 2 * n**3 / (time.perf_counter() - started)


def words(config: Any) -> PreTrainedTokenizerFast:
    """A tokenizer whose tokens are the words w2, w3, ...: n words are n tokens, and every id is a word."""
    vocabulary = {"unknown": 0, "end": 1} | {f"w{number}": number for number in range(2, config.vocab_size)}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="unknown"))
    tokenizer.pre_tokenizer = Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="end", pad_token="end", unk_token="unknown")


def text(length: int) -> str:
    """Random words."""
    return " ".join(f"w{random.randrange(2, 50_000)}" for _ in range(length))


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _reset(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def _peak_memory(device: torch.device) -> int:
    """Bytes: of the card's allocator since the reset; on a CPU of the process since it began."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    run(main)
