"""The methods of unlearning, one a file: what the terms of a step's loss are. The key `method` of a row chooses."""

import torch
from torch import Tensor

from wpn.config.methods import Method
from wpn.data.forget import Step
from wpn.methods import (
    dpo,
    ga,
    grad_diff,
    gradient_penalty,
    icu,
    llmu,
    npo,
    rmu,
    safe_unlearning,
    sft,
    simnpo,
    wpn,
)
from wpn.objective import Models, Terms

TERMS = {
    "dpo": dpo.terms,
    "ga": ga.terms,
    "grad_diff": grad_diff.terms,
    "gradient_penalty": gradient_penalty.terms,
    "icu": icu.terms,
    "llmu": llmu.terms,
    "npo": npo.terms,
    "rmu": rmu.terms,
    "safe_unlearning": safe_unlearning.terms,
    "sft": sft.terms,
    "simnpo": simnpo.terms,
    "wpn": wpn.terms,
}


def unlearning_terms(models: Models, step: Step, method: Method) -> Terms:
    """The terms of a method's loss on the data of a step, in the precision that the models ask for."""
    with torch.autocast(models.trained.device.type, torch.bfloat16, enabled=models.bf16):
        return TERMS[method.method](models, step, method)  # type: ignore[operator]  # the key is the settings' own


def total_loss(terms: Terms, method: Method) -> Tensor:
    """The sum of the terms, each times the weight that the settings give under its name."""
    named = terms.forget | terms.retain
    return torch.stack([getattr(method, name) * term for name, term in named.items()]).sum()
