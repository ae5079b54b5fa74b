"""The base with an adapter on it, and what it loses on a batch of rows. Loads torch and peft, in the child."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from torch.nn.functional import cross_entropy, kl_div, log_softmax

from adapters.packing import TokenRow, pack
from adapters.recipe import MODULES, Recipe


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows as one packed sequence, on the device."""

    ids: torch.Tensor
    positions: torch.Tensor
    sees: torch.Tensor
    before: torch.Tensor
    targets: torch.Tensor

    @classmethod
    def of(cls, rows: Sequence[TokenRow], device: torch.device) -> Batch:
        packed = pack(rows)
        arrays = (packed.ids[None], packed.positions[None], packed.sees[None, None], packed.before, packed.targets)
        return cls(*(torch.from_numpy(array).to(device) for array in arrays))


class Learner:
    """The base with an adapter on it, and the losses."""

    def __init__(self, base: Any, recipe: Recipe, device: torch.device) -> None:  # noqa: ANN401
        config = LoraConfig(
            r=recipe.rank,
            lora_alpha=recipe.alpha,  # type: ignore[arg-type]
            target_modules=[MODULES[module].split(".")[1] for module in recipe.modules],
            use_rslora=recipe.rslora,
            lora_dropout=0.0,
            task_type="CAUSAL_LM",
        )
        self.device = device
        self.model: Any = get_peft_model(base.to(device), config)
        self.config = config

    def logits(self, batch: Batch) -> torch.Tensor:
        """(answer tokens, vocabulary): the vocabulary's projection is a fifth of the work, and needed only there."""
        inner = self.model.base_model.model
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            hidden = inner.model(
                input_ids=batch.ids, attention_mask=batch.sees, position_ids=batch.positions, use_cache=False
            ).last_hidden_state
            found: torch.Tensor = inner.lm_head(hidden[0, batch.before])
        return found.float()

    def loss(self, batch: Batch) -> torch.Tensor:
        """Summed over the answers' tokens, in nats."""
        return cross_entropy(self.logits(batch), batch.targets, reduction="sum")

    def drift(self, batch: Batch) -> torch.Tensor:
        """Divergence from the base's distribution over the next token, summed over the answers' tokens, in nats."""
        with torch.no_grad(), self.model.disable_adapter():
            base = log_softmax(self.logits(batch), -1)
        own = log_softmax(self.logits(batch), -1)
        return kl_div(own, base, reduction="sum", log_target=True)

    def state(self) -> dict[str, torch.Tensor]:
        found = get_peft_model_state_dict(self.model)
        return {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in sorted(found.items())}

    def take(self, state: dict[str, torch.Tensor]) -> None:
        """Raises ValueError when it is of another recipe."""
        own = {name: tensor.shape for name, tensor in self.state().items()}
        if own != {name: tensor.shape for name, tensor in state.items()}:
            raise ValueError("the adapter to begin from has another rank or other modules than the recipe")
        set_peft_model_state_dict(self.model, state)
