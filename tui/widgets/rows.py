"""A table that is refreshed under the cursor."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.text import Text
from textual.binding import Binding
from textual.containers import VerticalScroll
from textual.widgets import DataTable

from tui.inert import line

Cell = str | Text
Lines = list[tuple[str, tuple[Text, ...]]]  # with their keys
MOVE = Binding.Group("Move", compact=True)


class Rows(DataTable[Text]):
    """Rows are known by their keys: fresh ones do not move the cursor off its row."""

    BINDINGS = [
        Binding("j", "cursor_down", "Down", group=MOVE),
        Binding("k", "cursor_up", "Up", group=MOVE),
        Binding("g", "scroll_top", "First", show=False),
        Binding("G", "scroll_bottom", "Last", show=False),
    ]

    def __init__(self, *columns: str, id: str | None = None, empty: str = "", follow: bool = False) -> None:
        """`empty` is said in place of rows when there are none; `follow`: on the first row the cursor stays there,
        whichever row that becomes."""
        super().__init__(id=id, cursor_type="row", zebra_stripes=False)
        self._names, self._empty, self._follow = columns, empty, follow
        self._shown: Lines = []

    def on_mount(self) -> None:
        for name in self._names:
            self.add_column(Text(name), key=name)

    def show(self, rows: Sequence[tuple[str, Sequence[Cell]]]) -> None:
        """Each with its key. What is the same stays as it is."""
        made = [(key, tuple(_text(cell) for cell in cells)) for key, cells in rows]
        if not made and self._empty:
            made = [("", (_text(self._empty), *(Text() for _ in self._names[1:])))]
        if made == self._shown:
            return
        if [key for key, _ in made] == [key for key, _ in self._shown]:
            self._update(made)
        else:
            self._replace(made)
        self._shown = made

    def extend(self, rows: Sequence[tuple[str, Sequence[Cell]]]) -> None:
        """More of them, below."""
        made = [(key, tuple(_text(cell) for cell in cells)) for key, cells in rows]
        for key, cells in made:
            self.add_row(*cells, key=key)
        self._shown += made

    def change(self, key: str, cells: Sequence[Cell]) -> None:
        """One of them, wherever it stands."""
        place = next(n for n, (known, _) in enumerate(self._shown) if known == key)
        made = (key, tuple(_text(cell) for cell in cells))
        self._update([made], [self._shown[place]])
        self._shown[place] = made

    @property
    def chosen(self) -> str | None:
        """The key of the row under the cursor."""
        if not self._shown or self.cursor_row >= len(self._shown):
            return None
        return self._shown[self.cursor_row][0] or None

    @property
    def last_seen(self) -> int:
        """The number of the last row that is in sight."""
        return round(self.scroll_y) + self.scrollable_content_region.height - self.header_height - 1

    def action_page_down(self) -> None:
        """At its end the table gives way to what stands below it."""
        if self.cursor_row >= self.row_count - 1:
            self._around(VerticalScroll.scroll_page_down)
        else:
            super().action_page_down()

    def action_page_up(self) -> None:
        if self.cursor_row == 0:
            self._around(VerticalScroll.scroll_page_up)
        else:
            super().action_page_up()

    def _around(self, scroll: Callable[[VerticalScroll], None]) -> None:
        for around in (*self.ancestors, *self.screen.query(VerticalScroll)):
            if isinstance(around, VerticalScroll):
                scroll(around)
                return

    def _update(self, made: Lines, shown: Lines | None = None) -> None:
        for (key, cells), (_, before) in zip(made, self._shown if shown is None else shown, strict=True):
            for name, cell, old in zip(self._names, cells, before, strict=True):
                if cell != old:
                    self.update_cell(key, name, cell, update_width=True)

    def _replace(self, made: Lines) -> None:
        chosen, place, scrolled = self.chosen, self.cursor_row, self.scroll_offset
        self.clear()
        for key, cells in made:
            self.add_row(*cells, key=key)
        keys = [key for key, _ in made]
        stays = chosen in keys and not (self._follow and place == 0)
        row = keys.index(chosen or "") if stays else min(place, max(len(keys) - 1, 0))
        self.move_cursor(row=row, animate=False)
        self.scroll_to(scrolled.x, scrolled.y, animate=False)


class Entries(Rows):
    """Rows that can be opened."""

    BINDINGS = [Binding("enter", "select_cursor", "Open")]


def _text(cell: Cell) -> Text:
    return cell if isinstance(cell, Text) else line(cell)
