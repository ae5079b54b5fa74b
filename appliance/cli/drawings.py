"""Pictures of reports as inline SVG. Drawing wants matplotlib; ImportError without it."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MINE, _OTHER = "#1f6f8b", "#444444"
_FORMS = ("as it stands", "asked otherwise", "base, as it stands", "base, asked otherwise")


def scores(one: dict[str, Any]) -> str:
    """Base and release by task, with the release's interval."""
    return _tasks(one["scores"], "base", "this one", one["cohort"])


def breadth(one: dict[str, Any]) -> str:
    """Before and after on every task, its own and the others'."""
    return _tasks(one["breadth"], "before (base)", "after", one["release"])


def _tasks(tasks: dict[str, Any], base: str, mine: str, of: str) -> str:
    figure, axes = _rows([f"{task} ({s['cohort']})" for task, s in tasks.items()])
    for place, s in enumerate(tasks.values()):
        if s["candidate"] is not None:
            _span(axes, s["low"], s["high"], place)
            axes.plot(s["candidate"], place, "o", color=_MINE, label=mine if place == 0 else None)
        if s["base"] is not None:
            axes.plot(s["base"], place, "x", color=_OTHER, label=base if place == 0 else None)
    axes.set(xlim=(-0.02, 1.02), xlabel=f"score, 0 to 1, with its 95 % interval: {of}")
    figure.legend(loc="outside upper right", ncols=3, fontsize="small")  # beside what is drawn
    return _svg(figure)


def forms(one: dict[str, Any]) -> str:
    """The release, and the base, on rows as they stand and asked otherwise."""
    figure, axes = _rows(list(one["forms"]))
    for place, form in enumerate(one["forms"].values()):
        names = _FORMS if place == 0 else (None,) * 4
        axes.plot([form["as_it_stands"], form["release"]], [place, place], color=_MINE, alpha=0.5)
        axes.plot(form["as_it_stands"], place, "o", color=_MINE, fillstyle="none", label=names[0])
        axes.plot(form["release"], place, "o", color=_MINE, label=names[1])
        axes.plot(form["base_as_it_stands"], place, "+", color=_OTHER, label=names[2])
        axes.plot(form["base"], place, "x", color=_OTHER, label=names[3])
    axes.set(xlim=(-0.02, 1.02), xlabel=f"score, 0 to 1, of the same rows: {one['release']}")
    figure.legend(loc="outside upper right", ncols=4, fontsize="small")  # beside what is drawn
    return _svg(figure)


def against(one: dict[str, Any]) -> str:
    """The release's gain against every other arm, with its interval; right of zero it is better."""
    figure, axes = _rows([a["arm"] for a in one["against"]])
    for place, a in enumerate(one["against"]):
        _span(axes, 100 * a["gain"]["low"], 100 * a["gain"]["high"], place)
        axes.plot(100 * a["gain"]["mean"], place, "o" if a["better"] else "D", color=_MINE)
    axes.axvline(0, color=_OTHER, linewidth=1)
    axes.set(xlabel=f"points that {one['release']} is better, with the 95 % interval (round: proven better)")
    return _svg(figure)


def curve(found: dict[str, Any]) -> str:
    """Score by rows, with its interval, each seed's mean, the base's, and the forecast."""
    figure, axes = _figure(3.6)
    levels = found["levels"]
    sizes = [level["rows"] for level in levels]
    axes.axhline(found["base"], color=_OTHER, linewidth=1, linestyle=":", label="base")
    low, high = ([level["score"][end] for level in levels] for end in ("low", "high"))
    axes.fill_between(sizes, low, high, color=_MINE, alpha=0.2, label="95 % over eval rows")
    axes.plot(sizes, [level["score"]["mean"] for level in levels], "o-", color=_MINE, label="mean")
    for level in levels:
        axes.plot([level["rows"]] * len(level["seeds"]), level["seeds"], ".", color=_OTHER, markersize=4)
    if found["forecast"]:
        ahead = found["forecast"]
        axes.plot([ahead["rows"]] * 2, [ahead["score"]["low"], ahead["score"]["high"]], color=_MINE, alpha=0.4)
        axes.plot(ahead["rows"], ahead["score"]["mean"], "D", color=_MINE, fillstyle="none", label="forecast")
    axes.axvline(found["enough"], color=_MINE, linewidth=1, linestyle="--", label="enough")
    axes.set(
        xlabel=f"rows to train on: {found['cohort']}", ylabel="score, 0 to 1", ylim=(-0.02, 1.02), xlim=(0, None)
    )
    axes.legend(loc="lower right", fontsize="small")
    return _svg(figure)


def _rows(names: list[str]) -> tuple[Figure, Axes]:
    """One line for each name, the first on top."""
    figure, axes = _figure(0.5 * len(names) + 1)
    axes.set_yticks(range(len(names)), names, parse_math=False)
    axes.set_ylim(len(names) - 0.5, -0.5)
    return figure, axes


def _figure(height: float) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, height), layout="constrained")
    return figure, figure.subplots()


def _span(axes: Axes, low: float, high: float, place: int) -> None:
    axes.plot([low, high], [place, place], color=_MINE, linewidth=3, alpha=0.5)


def _svg(figure: Figure) -> str:
    drawn = io.StringIO()
    figure.savefig(drawn, format="svg")
    text = drawn.getvalue()
    return text[text.index("<svg") :]
