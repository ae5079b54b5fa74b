"""What workers tell the console; handlers own the state."""

from __future__ import annotations

from typing import Any

from textual.message import Message


class Fetched(Message):
    """A screen's data came: by name, as the appliance sent them."""

    def __init__(self, screen: str, data: dict[str, Any]) -> None:
        super().__init__()
        self.screen, self.data = screen, data


class Lost(Message):
    """The appliance does not answer."""

    def __init__(self, why: str) -> None:
        super().__init__()
        self.why = why


class WantsKey(Message):
    """The appliance refuses the key."""

    def __init__(self, why: str) -> None:
        super().__init__()
        self.why = why


class Done(Message):
    """An action ended; `refused` when the appliance said no."""

    def __init__(self, says: str, *, refused: bool = False) -> None:
        super().__init__()
        self.says, self.refused = says, refused
