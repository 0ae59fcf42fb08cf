"""Figures as SVG and PNG files: the paper's grid, and the planner's curve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

from app.cli.failures import CommandError

mpl.use("Agg")  # no display is needed, or looked for

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

_MISSING = "0.45"
_INLINE, _PIPELINED, _PAPER = "tab:blue", "0.6", "tab:orange"


def paper_figure(report: Mapping[str, Any], title: str, paths: Sequence[Path]) -> None:
    """Throughput of each cell, and below it the ratios that the paper is about, each with its 95% interval; what is
    missing says why. Raises CommandError."""
    cells, ratios = report["cells"], report["ratios"]
    rows = [len(cells) + 1, len(ratios) + 1]
    figure, (above, below) = plt.subplots(
        2, 1, figsize=(9, 0.4 * sum(rows) + 1.6), height_ratios=rows, layout="constrained"
    )
    figure.suptitle(title, x=0.01, ha="left", fontsize="medium")
    _cells(above, cells)
    _ratios(
        below, ratios, "simulated" if report["simulated"] else "emulated" if report["emulated"] else "measured here"
    )
    _save(figure, paths)


def _cells(axes: Axes, cells: Sequence[Mapping[str, Any]]) -> None:
    most = max((cell["high_gbps"] or 0 for cell in cells), default=1.0) or 1.0
    for row, cell in enumerate(cells):
        value = cell["throughput_gbps"]
        if value is None:
            axes.text(most * 0.01, row, cell["missing_because"], va="center", color=_MISSING, style="italic")
            continue
        error = [[value - cell["low_gbps"]], [cell["high_gbps"] - value]]
        colour = _INLINE if "inline" in cell["name"] else _PIPELINED
        axes.barh(row, value, xerr=error, color=colour, ecolor="black", capsize=3, height=0.65)
        axes.text(cell["high_gbps"] + most * 0.01, row, f"{value:.2f}", va="center")
    axes.set_yticks(range(len(cells)), [cell["label"] for cell in cells])
    axes.invert_yaxis()
    axes.set_xlim(0, most * 1.12)
    axes.set_xlabel("Gbit/s of goodput, with 95% interval")
    axes.legend(
        handles=[Patch(color=_PIPELINED, label="pipelined"), Patch(color=_INLINE, label="inline")], frameon=False
    )
    axes.spines[["top", "right"]].set_visible(False)


def _ratios(axes: Axes, ratios: Sequence[Mapping[str, Any]], whose: str) -> None:
    """Measured ratios as dots with whiskers on a logarithmic axis; the paper's numbers as diamonds."""
    for row, ratio in enumerate(ratios):
        value, published = ratio["ratio"], ratio["paper_ratio"]
        if value is None:
            axes.text(1.02, row, ratio["missing_because"], va="center", color=_MISSING, style="italic")
        else:
            error = [[value - ratio["low"]], [ratio["high"] - value]]
            axes.errorbar(value, row, xerr=error, fmt="o", color="black", capsize=3)
            axes.annotate(
                f"{value:.2f}x", (value, row), (0, 7), textcoords="offset points", ha="center", fontsize="small"
            )
        if published is not None:
            axes.plot(published, row, "D", color=_PAPER)
            axes.annotate(
                ratio["paper"],
                (published, row),
                (0, 7),
                textcoords="offset points",
                ha="center",
                fontsize="small",
                color=_PAPER,
            )
    axes.axvline(1, color=_MISSING, linewidth=1)
    axes.set_xscale("log")
    low = min([ratio["low"] for ratio in ratios if ratio["low"]], default=0.8)
    high = max([ratio["high"] for ratio in ratios if ratio["high"]], default=2.0)
    axes.set_xlim(min(0.8, low) * 0.85, max(24.0, high * 1.2))
    ticks = [tick for tick in (0.25, 0.5, 1, 2, 4, 8, 16, 32) if axes.get_xlim()[0] <= tick <= axes.get_xlim()[1]]
    axes.set_xticks(ticks, [f"{tick:g}x" for tick in ticks])
    axes.minorticks_off()
    axes.set_yticks(range(len(ratios)), [ratio["label"] for ratio in ratios])
    axes.set_ylim(len(ratios) - 0.5, -0.8)
    axes.set_xlabel("ratio within a round, with 95% interval")
    marks = [Line2D([], [], color="black", marker="o", linestyle="", label=whose)]
    if any(ratio["paper_ratio"] for ratio in ratios):
        marks.append(Line2D([], [], color=_PAPER, marker="D", linestyle="", label="the paper, 100G hardware"))
    axes.legend(handles=marks, frameon=False, loc="lower right")
    axes.spines[["top", "right"]].set_visible(False)


def plan_figure(curve: Sequence[Mapping[str, Any]], target_gbps: float, title: str, paths: Sequence[Path]) -> None:
    """Throughput by lanes, one line a mode. Raises CommandError."""
    figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    for mode in dict.fromkeys(point["mode"] for point in curve):
        points = [point for point in curve if point["mode"] == mode]
        lanes, values = [point["lanes"] for point in points], [point["throughput_gbps"] for point in points]
        axes.plot(lanes, values, marker="o", label=mode)
    axes.axhline(target_gbps, color=_MISSING, linestyle="--", label=f"target {target_gbps:g} Gbit/s")
    axes.set_xscale("log", base=2)
    axes.set_xlabel("lanes")
    axes.set_ylabel("Gbit/s, modelled")
    axes.set_ylim(bottom=0)
    axes.set_title(title, loc="left", fontsize="medium")
    axes.legend()
    axes.spines[["top", "right"]].set_visible(False)
    _save(figure, paths)


def _save(figure: Figure, paths: Sequence[Path]) -> None:
    try:
        for path in paths:
            figure.savefig(path, dpi=150)
    except OSError as error:
        raise CommandError(f"cannot write {error.filename}: {error.strerror}") from error
    finally:
        plt.close(figure)
