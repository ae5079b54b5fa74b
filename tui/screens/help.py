"""The keys."""

from __future__ import annotations

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

KEYS = """\
1 to 6           Live, Cohorts, Routes, Interactions, Jobs, System
Tab, Shift+Tab   to the next field, or back
j k, arrows      down, up          g G   first, last
Enter            open              Esc   back, or leave it
/                search the log    r     refresh
Ctrl+P           every command     q     quit

Live             reads itself; what needs a person stands on top
Cohorts          t train   p promote   b roll back   Enter releases, verdicts, curve
  of a cohort    p promote   x reject   b roll back
Routes           t try a prompt: where would it go, and why
Interactions     + good   - bad   f train on it   a never   c correct   w belongs to
                 u back to the newest
Jobs             t train   e evaluate   a attribute   u curve   o fit a router   x cancel

What changes what is live asks first, and wants the cohort's name typed.
"""


class Help(ModalScreen[None]):
    BINDINGS = [Binding("escape,q,question_mark", "app.pop_screen", "Close")]

    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="dialog tall"):
            yield Static(Text(KEYS))
