"""The report as a picture: how risk grows with coverage, how honest confidences are, what is taken for what."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure


def draw(report: dict[str, Any], path: Path) -> None:
    """`report` is that of `router.evaluate.report`; the suffix of `path` chooses SVG or PNG."""
    mpl.rcParams["svg.hashsalt"] = "router"  # the same report gives the same file
    figure = Figure(figsize=(13, 8), layout="constrained")
    axes = figure.subplots(2, 2)
    _risk(axes[0][0], report)
    _reliability(axes[0][1], report["reliability"])
    _cohorts(axes[1][0], report["cohorts"])
    _confusion(axes[1][1], report["confusion"])
    figure.suptitle(f"Router on {report['n']} rows: AUROC {_number(report['auroc'])}")
    figure.savefig(path, metadata={"Date": None} if path.suffix.lower() == ".svg" else None)


def _risk(axes: Axes, report: dict[str, Any]) -> None:
    covered, wrong = zip(*report["curve"], strict=True)
    axes.plot(covered, wrong)
    axes.set(xlabel="share of all rows accepted", ylabel="share of them wrong", title="Risk and coverage")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)


def _reliability(axes: Axes, bins: list[tuple[float, float, int]]) -> None:
    confidence, right, rows = zip(*bins, strict=True)
    axes.plot([0, 1], [0, 1], color="grey", linestyle="--", linewidth=1)
    axes.plot(confidence, right, marker="o")
    for x, y, n in zip(confidence, right, rows, strict=True):
        axes.annotate(str(n), (x, y), textcoords="offset points", xytext=(6, -10), fontsize=8)
    axes.set(xlabel="confidence", ylabel="share right", title="Calibration (rows beside each point)")
    axes.grid(alpha=0.3)


def _cohorts(axes: Axes, cohorts: dict[str, Any]) -> None:
    names = list(cohorts)
    axes.set(ylim=(0, 1.05), title="By cohort, with 95 % intervals")
    if not names:
        return
    places = np.arange(len(names))
    for offset, figure in ((-0.2, "recall"), (0.2, "precision")):
        values = np.array([cohorts[name][figure] or 0.0 for name in names])
        spans = np.array([cohorts[name][f"{figure}_interval"] for name in names]).T
        errors = np.clip(np.stack([values - spans[0], spans[1] - values]), 0, None)
        axes.bar(places + offset, values, 0.4, yerr=errors, label=figure, capsize=3)
    axes.set_xticks(places, names)
    axes.legend(loc="lower right")


def _confusion(axes: Axes, confusion: dict[str, dict[str, int]]) -> None:
    golds = list(confusion)
    sent = sorted({to for row in confusion.values() for to in row})
    counts = np.array([[confusion[gold].get(to, 0) for to in sent] for gold in golds])
    axes.imshow(counts / np.maximum(counts.sum(1, keepdims=True), 1), cmap="Blues", vmin=0, vmax=1)
    for (y, x), n in np.ndenumerate(counts):
        dark = n > counts[y].sum() / 2
        axes.text(x, y, str(n), ha="center", va="center", fontsize=9, color="white" if dark else "black")
    axes.set_xticks(range(len(sent)), sent, rotation=20)
    axes.set_yticks(range(len(golds)), golds)
    axes.set(xlabel="sent to", ylabel="belongs to", title="What is taken for what")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
