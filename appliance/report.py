"""The sliced report as JUnit XML, for CI, and as one HTML page with its plots inside."""

from __future__ import annotations

import io
from html import escape
from typing import Any
from xml.etree import ElementTree

from jinja2 import Environment

_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Cohort evaluation</title>
<style>body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse;width:100%}td,th{padding:.2rem .5rem;border-bottom:1px solid #ccc;text-align:right}
td:first-child,th:first-child{text-align:left}.no{font-weight:bold}svg{max-width:100%;height:auto}</style>
<h1>Cohort evaluation</h1>
{% if mix %}<p>Eval rows: {% for name, n in mix.items() %}{{ name }} {{ n }}{{ ", " if not loop.last }}{% endfor %}.
</p>{% endif %}
{% for one in cohorts %}<h2>{{ one.cohort }}: {{ one.release or "no live release" }}, {{ one.verdict }}</h2>
{{ plots[loop.index0] }}
<table><tr><th>task<th>of<th>metric<th>rows<th>base<th>this one<th>95 %</tr>
{% for task, s in one.scores.items() %}<tr><td>{{ task }}<td>{{ s.cohort }}<td>{{ s.metric }}<td>{{ s.n }}
<td>{{ points(s.base) }}<td>{{ points(s.candidate) }}<td>{{ points(s.low) }} to {{ points(s.high) }}</tr>{% endfor %}
</table>
<ul>{% for r in one.reasons %}<li{% if not r.passed %} class="no"{% endif %}>{{ "ok" if r.passed else "NO" }}:
{{ r.says }} ({{ r.check }}){% endfor %}</ul>{% endfor %}</html>
"""


def junit(found: dict[str, Any]) -> str:
    """A suite for each cohort, a case for each check of its gate."""
    root = ElementTree.Element("testsuites", name="cohort eval")
    for one in found["cohorts"]:
        failed = [r for r in one["reasons"] if not r["passed"]]
        suite = ElementTree.SubElement(
            root, "testsuite", name=one["cohort"], tests=str(len(one["reasons"])), failures=str(len(failed))
        )
        for reason in one["reasons"]:
            case = ElementTree.SubElement(suite, "testcase", classname=one["cohort"], name=reason["check"])
            if not reason["passed"]:
                ElementTree.SubElement(case, "failure", message=reason["says"])
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True)


def html(found: dict[str, Any]) -> str:
    """Raises ImportError without matplotlib."""
    template = Environment(autoescape=True).from_string(_PAGE)
    from markupsafe import Markup

    plots = [Markup(_plot(one)) if one["scores"] else "" for one in found["cohorts"]]  # noqa: S704 - our own drawing
    return template.render(cohorts=found["cohorts"], mix=found.get("mix"), plots=plots, points=_points)


def _plot(one: dict[str, Any]) -> str:
    """Base and release by task, with the release's interval, as inline SVG."""
    from matplotlib.figure import Figure

    tasks = list(one["scores"])
    figure = Figure(figsize=(9, 0.5 * len(tasks) + 1), layout="constrained")
    axes = figure.subplots()
    for place, task in enumerate(tasks):
        s = one["scores"][task]
        axes.plot([s["low"], s["high"]], [place, place], color="#1f6f8b", linewidth=3, alpha=0.5)
        axes.plot(s["candidate"], place, "o", color="#1f6f8b", label="this one" if place == 0 else None)
        if s["base"] is not None:
            axes.plot(s["base"], place, "x", color="#444444", label="base" if place == 0 else None)
    axes.set_yticks(
        range(len(tasks)), [f"{task} ({one['scores'][task]['cohort']})" for task in tasks], parse_math=False
    )
    axes.set(xlim=(-0.02, 1.02), xlabel=f"score, 0 to 1, with its 95 % interval: {escape(one['cohort'])}")
    axes.invert_yaxis()
    axes.legend(loc="lower right", fontsize="small")
    drawn = io.StringIO()
    figure.savefig(drawn, format="svg")
    text = drawn.getvalue()
    return text[text.index("<svg") :]


def _points(score: float | None) -> str:
    return "-" if score is None else f"{100 * score:.1f}"
