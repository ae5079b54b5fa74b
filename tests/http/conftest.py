"""One appliance for all tests that leave its keys and releases as they are."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.fitted import Fitted
from tests.http.learnable import SETTINGS, brief, material
from tests.http.routed import few_examples, written
from tests.http.running import Running, running
from tests.tiny import write_adapter


@pytest.fixture(scope="session")
def third_adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_adapter(tmp_path_factory.mktemp("third") / "three.gguf", seed=3)


@pytest.fixture(scope="session")
def served(
    tmp_path_factory: pytest.TempPathFactory,
    tiny_base: Path,
    tiny_adapters: tuple[Path, Path],
    third_adapter: Path,
) -> Iterator[Running]:
    """Open, without keys. legal@1 is previous, legal@2 live, legal@3 candidate; coding@1 is live; no others."""
    folder = tmp_path_factory.mktemp("served")
    with running(folder, tiny_base, "context = 2048\nsequences = 8") as appliance:
        one, two = tiny_adapters
        appliance.release(one, "legal")
        appliance.release(two, "legal")
        appliance.release(third_adapter, "legal", live=False)
        appliance.release(two, "coding")
        yield appliance


@pytest.fixture
def client(served: Running) -> Iterator[httpx.Client]:
    with served.http() as opened:
        yield opened


@pytest.fixture(scope="session")
def busy(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Iterator[Running]:
    """Long answers and little room: two run and three wait, and a key has one request at a time."""
    folder = tmp_path_factory.mktemp("busy")
    limits = {"max_waiting": 3, "max_per_key": 1, "max_waiting_tokens": 200_000}
    with running(folder, tiny_base, "context = 65536\nsequences = 2", **limits) as appliance:
        yield appliance


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path, fitted_router: Fitted) -> Iterator[Running]:
    """router@1 is in force; legal has a live release. Tests leave the router as it is."""
    folder = tmp_path_factory.mktemp("routed")
    fitted_router.into(folder / "home")
    with running(folder, tiny_base, "context = 2048\nsequences = 4") as appliance:
        yield appliance


@pytest.fixture
def fresh(tmp_path: Path, tiny_base: Path, fitted_router: Fitted) -> Iterator[Running]:
    """The same, for one test, with a few examples to fit on."""
    yield from _with_few_examples(tmp_path, tiny_base, fitted_router)


@pytest.fixture(scope="module")
def lent(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path, fitted_router: Fitted) -> Iterator[Running]:
    """As `fresh`, for the tests of a file that leave no more behind than keys and requests."""
    yield from _with_few_examples(tmp_path_factory.mktemp("lent"), tiny_base, fitted_router)


def _with_few_examples(folder: Path, tiny_base: Path, fitted_router: Fitted) -> Iterator[Running]:
    fitted_router.into(folder / "home")
    few_examples(folder / "examples")
    with running(folder, tiny_base, "context = 1024") as appliance:
        yield appliance


@pytest.fixture(scope="module")
def learning(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Iterator[Running]:
    """Rows of three cohorts to train on, and nothing released; its base is a file of its own."""
    folder = tmp_path_factory.mktemp("learning")
    for (cohort, split), lines in material().items():
        written(folder / "examples" / cohort / f"{split}.jsonl", lines)
    base = Path(shutil.copy(tiny_base, folder / "tiny.gguf"))
    with running(folder, base, SETTINGS) as appliance, brief():
        yield appliance


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the patch of the test itself, so that what it patches over this is undone first."""
    from tests.http.in_process import train_here  # and torch, for those that want it

    train_here(monkeypatch)
