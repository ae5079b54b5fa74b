"""Statements that are made of the names of columns."""

from __future__ import annotations

from collections.abc import Sequence


def insert(table: str, columns: Sequence[str]) -> str:
    """An INSERT whose values are bound by the columns' names."""
    bound = ", ".join(f":{name}" for name in columns)
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({bound})"  # noqa: S608 - of names in the code
