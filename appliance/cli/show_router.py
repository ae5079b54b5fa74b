"""What `cohort router` prints for people."""

from __future__ import annotations

from typing import Any

from appliance.cli.show import inert, out, points, table
from appliance.wire.router import VERDICTS

_FIGURES = ("auroc", "coverage", "accuracy", "ood_accepted", "misrouted", "calibration_error")
_COVERED = (0.5, 0.7, 0.8, 0.9, 0.95, 1.0)  # shares of the rows, of the risk-coverage curve
_MEANINGS = {
    "auroc": "rows of a cohort told from rows of none",
    "coverage": "of a cohort's rows, accepted",
    "accuracy": "of these, sent to their own",
    "ood_accepted": "rows of none that a cohort accepted",
    "misrouted": "of all rows, accepted by a wrong cohort",
    "calibration_error": "mean gap between confidence and truth",
}


def fitted(router: dict[str, Any]) -> None:
    rows = ", ".join(f"{name} {n}" for name, n in router["rows"].items())
    out().print(f"router@{router['version']} is {router['state']}; fitted to {rows}")
    held = router["held_back"]
    out().print(
        f"held back: coverage {_percent(held['coverage'])}, accuracy {_percent(held['accuracy'])}, "
        f"accepted of no cohort {_percent(held['ood_accepted'])}"
    )
    for why in router["refusals"]:
        out().print(inert(f"refused: {why}; --force puts it in force all the same", 300))
    if "n" in router["report"]:
        out().print("on the rows kept apart:")
        report(router["report"])
    elif router["report"]:
        _unjudged(router["report"])


def evaluated(found: dict[str, Any]) -> None:
    if found["router"] is None:
        out().print("no router is in force, so metadata alone decides: cohort router fit")
    report(found)


def report(found: dict[str, Any]) -> None:
    intervals = found["intervals"]
    rows = []
    for name in _FIGURES:
        low_high = intervals.get(name)
        span = f"{low_high[0]:.4f} to {low_high[1]:.4f}" if low_high else ""
        rows.append((name, _number(found[name]), span, _MEANINGS[name]))
    table((f"{found['n']} rows", "value", "95 %", "meaning"), rows)
    cohorts = found["cohorts"].items()
    table(
        ("cohort", "rows", "recall", "precision", "calibration error"),
        [
            (name, c["n"], _percent(c["recall"]), _percent(c["precision"]), _number(c["calibration_error"]))
            for name, c in cohorts
        ],
    )
    table(
        ("layer", "rows", "right", "calibration error"),
        [
            (name, layer["n"], _percent(layer["accuracy"]), _number(layer["calibration_error"]))
            for name, layer in found["layers"].items()
            if layer["n"]
        ],
    )
    _curve(found["curve"])
    _confusion(found["confusion"])
    _unjudged(found)


def _curve(curve: list[list[float]]) -> None:
    """The points that lie nearest to some round coverages."""
    points = [min(curve, key=lambda point: abs(point[0] - wanted)) for wanted in _COVERED]
    table(
        ("surest rows accepted", "of them wrong"),
        [(_percent(covered), _percent(wrong)) for covered, wrong in dict.fromkeys(map(tuple, points))],
    )


def _unjudged(found: dict[str, Any]) -> None:
    if found["unjudged"]:
        names = ", ".join(found["unjudged"])
        out().print(f"not judged, for want of rows: {names} (cohort import FILE --cohort NAME --split eval)")


def _confusion(confusion: dict[str, dict[str, int]]) -> None:
    sent = sorted({to for row in confusion.values() for to in row})
    rows = [(gold, *(row.get(to) or "." for to in sent)) for gold, row in confusion.items()]
    table(("belongs to \\ sent to", *sent), rows)


def listing(routers: list[dict[str, Any]]) -> None:
    if not routers:
        out().print("no router was fitted yet: pinned names and metadata decide alone (cohort router fit)")
        return
    table(
        ("router", "state", "digest", "created", "rows", "held-back coverage", "accuracy"),
        [
            (
                f"router@{r['version']}",
                r["state"],
                r["digest"][:12],
                r["created"][:19],
                sum(r["rows"].values()),
                _percent(r["held_back"]["coverage"]),
                _percent(r["held_back"]["accuracy"]),
            )
            for r in routers
        ],
    )


def switched(router: dict[str, Any]) -> None:
    out().print(f"router@{router['version']} is in force")


def replay(found: dict[str, Any]) -> None:
    out().print(
        f"{found['router']} at threshold {found['threshold']:.3f}: "
        f"{found['changed']} of {found['n']} logged requests would go elsewhere"
    )
    if found["moves"]:
        table(("from", "to", "requests"), [(m["from"], m["to"], m["n"]) for m in found["moves"]])
        table(
            ("request", "from", "to", "confidence", "text"),
            [(e["request_id"], e["from"], e["to"], f"{e['confidence']:.2f}", e["text"]) for e in found["examples"]],
        )


def blame(found: dict[str, Any]) -> None:
    counts = ", ".join(f"{found[name]} {says}" for name, says in VERDICTS.items() if found[name])
    out().print(f"{found['n']} requests that people did not like; {found['routed_wrong']} were sent wrong")
    out().print(counts or "nothing to say of any")
    if found["requests"]:
        table(
            ("request", "verdict", "sent to", "right", "before", "again", "answered by"),
            [
                (
                    r["request_id"],
                    r["verdict"].replace("_", " "),
                    r["sent"],
                    r["right"],
                    _percent(r["before"]),
                    _percent(r["again"]),
                    r["error"] or r["release"] or "-",
                )
                for r in found["requests"]
            ],
        )
    for one in found["requests"]:
        for when, answer in zip(("before", "now"), one.get("answers", ()), strict=False):
            out().print(inert(f"{one['request_id']}, {when}: {answer}", 600))


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _percent(share: float | None) -> str:
    return points(share, " %")
