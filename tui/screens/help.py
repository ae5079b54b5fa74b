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
PgDn PgUp        at the end of a list: what stands below it
Enter            open              Esc q back, or leave it
/                search the log    r     refresh
Ctrl+P           commands          q     quit

Live             reads itself; what needs a person stands on top
Cohorts          t train   p promote   b roll back   Enter releases, verdicts, curve
  of a cohort    p promote   x reject   b roll back
Routes           t try a prompt, metadata like tenant=acme before it   b router before
Interactions     + good   - bad   f train on it   a never   o neither
                 c correct   w where it belongs   u newest
  of a request   the same, and n next   p before
Jobs             t train   e evaluate   a is it worth it   u curve   o fit a router   x end it

What changes what is live asks first, and wants a name typed. A retrain asks whether what passes
goes live or waits as a candidate.
"""


class Help(ModalScreen[None]):
    BINDINGS = [Binding("escape,q,question_mark", "app.pop_screen", "Close")]

    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="dialog tall"):
            yield Static(Text(KEYS))
