"""A machine that only serves: a fit says what to install."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from appliance import children
from appliance.config import Config
from appliance.errors import ApplianceError
from appliance.routing import encoder_package
from appliance.routing.routers import FitOptions, Routers
from appliance.store.database import Database


def test_a_fit_without_its_libraries_says_how_to_get_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = tmp_path / "a_child_that_lacks_a_library.py"
    module.write_text("import no_such_library\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(encoder_package, "locate", lambda: tmp_path)
    run = children.run
    monkeypatch.setattr(children, "run", lambda _, *rest, **limits: run(module.stem, *rest, **limits))
    database = Database.open(tmp_path / "appliance.db")

    routers = Routers(Config.model_validate(_CONFIG), tmp_path, tmp_path, database)
    try:
        with pytest.raises(ApplianceError) as failed:
            asyncio.run(routers.fit(FitOptions(), "admin", lambda *_: None))
    finally:
        database.close()
    assert (
        failed.value.message
        == "ModuleNotFoundError: No module named 'no_such_library' (make train-tools installs it)"
    )


_CONFIG = {"cohorts": {name: {"description": name, "owner": name} for name in ("legal", "finance", "coding")}}
