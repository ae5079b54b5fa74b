"""What workers tell the console; handlers own the state."""

from __future__ import annotations

from typing import Any

from textual.message import Message


class Fetched(Message):
    """Data came for what asked, as the appliance sent them."""

    def __init__(self, front: Any, data: dict[str, Any]) -> None:  # noqa: ANN401 - a pane or a screen
        super().__init__()
        self.front, self.data = front, data


class Lost(Message):
    """The appliance does not answer."""

    def __init__(self, why: str) -> None:
        super().__init__()
        self.why = why


class Trouble(Message):
    """It answers, but with nothing that can be shown: the message says why."""

    def __init__(self, why: str) -> None:
        super().__init__()
        self.why = why


class WantsKey(Message):
    """The appliance refuses the key."""

    def __init__(self, why: str) -> None:
        super().__init__()
        self.why = why


class Done(Message):
    """An action ended; `refused` when the appliance said no, `quiet` when the screen shows what came of it."""

    def __init__(self, says: str, *, refused: bool = False, quiet: bool = False) -> None:
        super().__init__()
        self.says, self.refused, self.quiet = says, refused, quiet
