"""Trainings in the process of the tests, which has imported torch already: a child needs seconds for that.

Not where the child itself is in question: how it is confined, watched, cancelled and killed.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from adapters import train
from adapters.convert import CannotConvert
from adapters.served_base import BaseRefused
from adapters.training_job import TrainingJob
from appliance import children
from tests.http.running import Json


@contextmanager
def trained_here() -> Iterator[None]:
    """Until the block ends."""
    with pytest.MonkeyPatch.context() as patch:
        train_here(patch)
        yield


def train_here(patch: pytest.MonkeyPatch) -> None:
    real = children.run

    def run(module: str, *given: str, **limits: Any) -> Iterator[str]:  # noqa: ANN401 - as given
        return _trained(given[0]) if module == "adapters.train" else real(module, *given, **limits)

    patch.setattr(children, "run", run)


def _trained(job: str) -> Iterator[str]:
    told: list[Json] = []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = train.run(TrainingJob.read(Path(job)), told.append)
    except (ValueError, CannotConvert, BaseRefused) as error:
        raise children.ChildFailed(str(error)) from error
    finally:
        torch.use_deterministic_algorithms(False)
        torch.backends.mkldnn.enabled = True  # type: ignore[assignment]
    yield from map(json.dumps, [*told, {"result": result}])
