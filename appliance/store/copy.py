"""A whole copy of the database while it is in use, by SQLite's own online backup."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from appliance.errors import SetupError


def copy(database: Path, target: Path) -> None:
    """Write the database as it is now to `target`, which must not exist. Raises SetupError."""
    if not database.exists():
        raise SetupError(f"there is no database at {database}: start the appliance once")
    if target.exists():
        raise SetupError(f"{target} exists already: choose another name")
    try:
        with (
            closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True)) as source,
            closing(sqlite3.connect(target)) as kept,
        ):
            target.chmod(0o600)  # it holds every prompt
            source.backup(kept)
    except (sqlite3.Error, OSError) as error:
        target.unlink(missing_ok=True)
        raise SetupError(f"the copy to {target} failed: {error}") from error
