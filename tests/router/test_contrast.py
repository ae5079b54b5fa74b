"""Contrastive tuning: what the loss rewards, and that tuning brings texts of a class together."""

from __future__ import annotations

import numpy as np
import pytest

from tests.fitted import encoder

pytest.importorskip("torch", reason="make train-tools installs it")
import torch
from tokenizers import Tokenizer

from router import contrast


def sentences(*angles: float) -> torch.Tensor:
    """Points of the unit circle, by degrees."""
    turned = torch.deg2rad(torch.tensor(angles))
    return torch.stack([torch.cos(turned), torch.sin(turned)], 1)


def test_the_loss_falls_as_classes_part() -> None:
    labels = torch.tensor([0, 0, 1, 1])
    mixed, apart, opposite = (
        float(contrast.loss(sentences(*angles), labels))
        for angles in ((0, 90, 0, 90), (0, 10, 90, 100), (0, 0, 180, 180))
    )
    assert opposite < apart < mixed
    assert opposite == pytest.approx(0, abs=1e-6)


def test_a_class_of_one_text_adds_nothing() -> None:
    assert float(contrast.loss(sentences(0, 0, 90), torch.tensor([0, 0, 1]))) == pytest.approx(0, abs=1e-3)


class Words(torch.nn.Module):
    """The mean of a vector for each word piece, of length 1: the least that can be tuned."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.vectors = torch.nn.Embedding(30_522, 8)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        weight = mask.unsqueeze(-1).float()
        return torch.nn.functional.normalize((self.vectors(ids) * weight).sum(1), dim=-1)


def test_tuning_brings_a_class_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contrast, "RATE", 0.3)
    monkeypatch.setattr(contrast, "STEPS", 200)
    texts = ["the tenant pays rent", "a lease ends", "my parcel is late", "where is the order"]
    labels, told = np.array([0, 0, 1, 1], np.int64), list[float]()
    model, tokenizer = Words(), encoder() / "tokenizer.json"

    def gap() -> float:
        """Nearness within the classes less nearness between them."""
        rows = Tokenizer.from_file(str(tokenizer)).encode_batch(texts)
        length = max(len(row.ids) for row in rows)
        ids = torch.tensor([[*row.ids, *[0] * (length - len(row.ids))] for row in rows])
        mask = (ids != 0).long()
        with torch.inference_mode():
            found = model(ids, mask)
        near = (found @ found.T).numpy()
        return float(near[0, 1] + near[2, 3] - near[0, 2] - near[1, 3])

    before = gap()
    contrast.tune(model, tokenizer, texts, labels, lambda part, _doing: told.append(part))
    assert gap() > max(before, 1.5)
    assert told == sorted(told) and len(told) == 200
