"""What can be wrong with a router."""

from __future__ import annotations


class RouterRefused(Exception):
    """A router that must not be used; the message says why and what to do."""
