"""Reports as one HTML page each, with their pictures inside, and the sliced one as JUnit XML, for CI."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Final
from xml.etree import ElementTree

from jinja2 import DictLoader, Environment
from markupsafe import Markup

from appliance.cli import drawings
from appliance.cli.show import points
from appliance.cli.show_attribution import FORMS, UNASKED, VERDICTS, settled, steps_by_rows

_SHELL = """<!doctype html><html lang="en"><meta charset="utf-8"><title>{{ title }}</title>
<style>body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse;width:100%;margin:1rem 0}td,th{padding:.2rem .5rem;border-bottom:1px solid #ccc;
text-align:right}td:first-child,th:first-child{text-align:left}.no{font-weight:bold}svg{max-width:100%;height:auto}
</style><h1>{{ title }}</h1>
{% if mix %}<p>Eval rows: {% for name, n in mix.items() %}{{ name }} {{ n }}{{ ", " if not loop.last }}{% endfor %}.
</p>{% endif %}{% if at %}<p>{{ at[:16] | replace("T", " ") }} UTC, on {{ base.id }} as {{ base.format }} (sha256
{{ base.digest[:12] }}), version {{ version }}.</p>{% endif %}{% block body %}{% endblock %}</html>
"""
_EVALUATION = """{% extends "shell" %}{% block body %}
{% for one in cohorts %}<h2>{{ one.cohort }}: {{ one.release or "no live release" }}, {{ one.verdict }}</h2>
{% if one.scores %}{{ drawn(drawings.scores, one) }}{% endif %}
<table><tr><th>task<th>of<th>metric<th>rows<th>base<th>this one<th>95 %<th>beside</tr>
{% for task, s in one.scores.items() %}<tr><td>{{ task }}<td>{{ s.cohort }}<td>{{ s.metric }}<td>{{ s.n }}
<td>{{ points(s.base) }}<td>{{ points(s.candidate) }}
<td>{% if s.low is not none %}{{ points(s.low) }} to {{ points(s.high) }}{% endif %}
<td>{% for name, value in s.beside.items() %}{{ name }} {{ points(value) }} {% endfor %}</tr>{% endfor %}
</table>
<ul>{% for r in one.reasons %}<li{% if not r.passed %} class="no"{% endif %}>{{ "ok" if r.passed else "NO" }}:
{{ r.says }} ({{ r.check }}){% endfor %}</ul>{% endfor %}{% endblock %}"""
_ATTRIBUTION = """{% extends "shell" %}{% block body %}
{% for one in cohorts %}<h2>{{ one.cohort }}: {{ one.release or "no live release" }}</h2>
<p class="no">{{ verdicts[one.verdict] }}: {{ one.says }}</p>
{% if one.notes %}<ul>{% for note in one.notes %}<li>{{ note }}{% endfor %}</ul>{% endif %}
{% if one.against %}{{ drawn(drawings.against, one) }}
<table><tr><th>against<th>rows<th>this<th>other<th>wins, equal by half<th>gain, points<th>proven</tr>
{% for a in one.against %}<tr><td>{{ a.arm }}<td>{{ a.n }}<td>{{ points(a.mine) }}<td>{{ points(a.theirs) }}
<td>{{ points(a.wins.mean) }} % ({{ points(a.wins.low) }} to {{ points(a.wins.high) }})
<td>{{ points(a.gain.mean) }} ({{ points(a.gain.low) }} to {{ points(a.gain.high) }})
<td>{{ settled(a) }}</tr>{% endfor %}
</table>{% endif %}
{% for arm, tasks in one.tasks.items() if tasks %}<table><tr><th>against {{ arm }}, by task<th>rows<th>this<th>other
<th>gain, points</tr>{% for task, t in tasks.items() %}<tr><td>{{ task }}<td>{{ t.n }}<td>{{ points(t.mine) }}
<td>{{ points(t.theirs) }}<td>{{ points(t.gain.mean) }} ({{ points(t.gain.low) }} to {{ points(t.gain.high) }})</tr>
{% endfor %}</table>{% endfor %}
{% if one.breadth %}{{ drawn(drawings.breadth, one) }}
<table><tr><th>breadth<th>of<th>rows<th>before (base)<th>after<th>change, points</tr>
{% for task, s in one.breadth.items() %}<tr><td>{{ task }}<td>{{ s.cohort }}<td>{{ s.n }}<td>{{ points(s.base) }}
<td>{{ points(s.candidate) }}<td>{% if s.gain %}{{ points(s.gain.mean) }} ({{ points(s.gain.low) }} to
{{ points(s.gain.high) }}){% endif %}</tr>{% endfor %}</table>{% endif %}
{% if one.forms %}{{ drawn(drawings.forms, one) }}
<table><tr><th>asked otherwise<th>rows<th>base as it stands<th>base so<th>as it stands<th>so<th>change, points</tr>
{% for name, f in one.forms.items() %}<tr><td>{{ name }}<td>{{ f.n }}
{% for arm in forms %}<td>{{ points(f[arm]) }}{% endfor %}
<td>{{ points(f.change.mean) }} ({{ points(f.change.low) }} to {{ points(f.change.high) }})</tr>{% endfor %}
</table>{% elif one.breadth %}<p>{{ unasked }}</p>{% endif %}{% endfor %}{% endblock %}"""
_CURVE = """{% extends "shell" %}{% block body %}<h2>{{ found.cohort }}</h2>{{ drawn(drawings.curve, found) }}
<ul>{% for line in found.says %}<li>{{ line }}{% endfor %}</ul>
<table><tr><th>rows<th>steps<th>score<th>95 %<th>of each seed</tr>
<tr><td>0 (the base)<td><td>{{ points(found.base) }}<td><td></tr>
{% for one in found.levels %}<tr><td>{{ one.rows }}<td>{{ steps[one.rows] }}<td>{{ points(one.score.mean) }}
<td>{{ points(one.score.low) }} to {{ points(one.score.high) }}
<td>{{ one.seeds | map("points") | join(", ") }}</tr>{% endfor %}
</table>{% endblock %}"""


def _drawn(draw: Callable[[dict[str, Any]], str], found: dict[str, Any]) -> Markup:
    return Markup(draw(found))  # noqa: S704 - our own drawing, which escapes its texts


_PAGES = Environment(
    autoescape=True,
    loader=DictLoader({"shell": _SHELL, "evaluation": _EVALUATION, "attribution": _ATTRIBUTION, "curve": _CURVE}),
)
_PAGES.globals.update(
    verdicts=VERDICTS, points=points, settled=settled, unasked=UNASKED, forms=FORMS, drawn=_drawn, drawings=drawings
)
_PAGES.filters["points"] = points


def evaluation(found: dict[str, Any]) -> str:
    """Raises ImportError without matplotlib, as the others."""
    return _PAGES.get_template("evaluation").render(title="Cohort evaluation", **found)


def attribution(found: dict[str, Any]) -> str:
    return _PAGES.get_template("attribution").render(title="Is each cohort worth its adapter?", **found)


def curve(found: dict[str, Any]) -> str:
    steps = steps_by_rows(found["trainings"])
    return _PAGES.get_template("curve").render(title="What would more rows buy?", found=found, steps=steps)


PAGES: Final[Mapping[str, Callable[[dict[str, Any]], str]]] = {
    "evaluation": evaluation,
    "attribution": attribution,
    "curve": curve,
}


def junit(found: dict[str, Any]) -> str:
    """A suite for each cohort, a case for each check of its gate."""
    root = ElementTree.Element("testsuites", name="cohort eval")
    at = found["at"][:19]
    for one in found["cohorts"]:
        failed = [r for r in one["reasons"] if not r["passed"]]
        counted = {"tests": len(one["reasons"]), "failures": len(failed), "time": one["seconds"]}
        told = {"name": one["cohort"], "timestamp": at, **{name: str(value) for name, value in counted.items()}}
        suite = ElementTree.SubElement(root, "testsuite", told)
        counts = Counter(reason["check"] for reason in one["reasons"])
        for reason in one["reasons"]:
            of = reason["says"].partition(":")[0]  # the slice, of which there are several for some checks
            name = reason["check"] if counts[reason["check"]] == 1 else f"{reason['check']}: {of}"
            case = ElementTree.SubElement(suite, "testcase", classname=one["cohort"], name=name)
            if not reason["passed"]:
                ElementTree.SubElement(case, "failure", message=reason["says"])
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True)
