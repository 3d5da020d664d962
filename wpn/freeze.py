"""Which weights unlearning may change."""

import re

from transformers import PreTrainedModel

from wpn.errors import InputError

FEED_FORWARD = re.compile(r"\.(mlp|fc1|fc2|ffn|feed_forward)\.")  # as the architectures of transformers call it


def train_only_feed_forward(model: PreTrainedModel) -> None:
    """Freeze all weights but those of the feed-forward layers.

    What a model says is looked up there (Geva et al., arXiv 2012.14913), while attention finds and copies what stands
    in the context (Olsson et al., arXiv 2209.11895); that is to stay as it is, and so are the embeddings.

    Raises:
        InputError: no layer of this architecture goes by a name that we know.
    """
    if not any(FEED_FORWARD.search(name) for name, _ in model.named_parameters()):
        kind = type(model).__name__
        raise InputError(f"no feed-forward layer of {kind} is known by its name; set unlearn.weights to all")
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(FEED_FORWARD.search(name) is not None)
