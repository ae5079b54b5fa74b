"""Fine-tune the encoder so that texts of one cohort lie together: supervised contrastive learning (Khosla et al.
2020), as SetFit uses it (Tunstall et al. 2022). Loaded by the fitting child only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer

from router.encoder import HEAD

BATCH = 48  # texts; each is compared with all others of its batch
STEPS = 120
RATE = 2e-5
TEMPERATURE = 0.1
SEED = 0


def tune(
    model: torch.nn.Module,
    tokenizer: Path,
    texts: Sequence[str],
    labels: npt.NDArray[np.int64],
    report: Callable[[float, str], None],
) -> None:
    """Change the weights of `model`, which takes ids and mask and gives sentences of length 1."""
    torch.manual_seed(SEED)
    reader = Tokenizer.from_file(str(tokenizer))
    reader.enable_truncation(HEAD)
    reader.enable_padding()
    optimiser = torch.optim.AdamW(model.parameters(), lr=RATE)
    drawn = np.random.default_rng(SEED)
    for step in range(STEPS):
        report(step / STEPS, "tuning the encoder")
        chosen = _balanced(labels, drawn)
        rows = reader.encode_batch([texts[row] for row in chosen])
        ids, mask = (torch.tensor([getattr(row, part) for row in rows]) for part in ("ids", "attention_mask"))
        for group in optimiser.param_groups:
            group["lr"] = RATE * min(1.0, (step + 1) / (0.1 * STEPS)) * (1 - step / STEPS)
        optimiser.zero_grad()
        torch.autograd.backward(loss(model(ids, mask), torch.from_numpy(labels[chosen])))
        optimiser.step()


def _balanced(labels: npt.NDArray[np.int64], drawn: np.random.Generator) -> npt.NDArray[np.int64]:
    """Equally many of each class, whatever their shares: a rare cohort is not a less important one."""
    classes = np.unique(labels)
    each = -(-BATCH // len(classes))
    return np.concatenate([drawn.choice(np.flatnonzero(labels == label), each) for label in classes])


def loss(sentences: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean over texts of -log of the share that texts of their own class have in the similarity to all others."""
    alike = sentences @ sentences.T / TEMPERATURE
    itself = torch.eye(len(labels), dtype=torch.bool)
    shares = alike.masked_fill(itself, float("-inf")).log_softmax(dim=1)
    same = (labels[:, None] == labels[None, :]) & ~itself
    return -(shares.masked_fill(~same, 0).sum(1) / same.sum(1).clamp(min=1)).mean()
