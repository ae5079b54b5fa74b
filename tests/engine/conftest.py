"""The tiny base, loaded once on the tests' own thread, and lanes on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from appliance.engine import llama
from appliance.engine.lane import Lane, LaneShape
from appliance.engine.llama import Adapter, Model
from appliance.engine.prefix_cache import Snapshots
from appliance.engine.scheduler import Share
from appliance.engine.threads import ThreadChoice
from tests.engine.drive import KEY, SHAPE

MakeLane = Callable[..., Lane]


@pytest.fixture(scope="session")
def model(tiny_base: Path) -> Iterator[Model]:
    llama.start()
    loaded = Model(tiny_base)
    yield loaded
    loaded.close()


@pytest.fixture
def make_lane(model: Model) -> Iterator[MakeLane]:
    """Makes lanes of a shape and perhaps an adapter; they are closed when the test ends."""
    lanes: list[Lane] = []

    def make(shape: LaneShape = SHAPE, adapter: Path | None = None) -> Lane:
        loaded = Adapter(model, adapter) if adapter else None
        lanes.append(Lane(KEY, model, loaded, shape, Share("test"), Snapshots(0), ThreadChoice(2)))
        return lanes[-1]

    yield make
    for lane in lanes:
        lane.close()


@pytest.fixture
def lane(make_lane: MakeLane) -> Lane:
    """A lane of the bare base."""
    return make_lane()
