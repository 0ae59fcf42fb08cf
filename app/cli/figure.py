"""Figures as SVG and PNG files: the paper's grid, and the planner's curve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

from app.cli.failures import CommandError

mpl.use("Agg")  # no display is needed, or looked for

from matplotlib import pyplot as plt
from matplotlib.figure import Figure

_MISSING = "0.45"


def paper_figure(report: Mapping[str, Any], title: str, paths: Sequence[Path]) -> None:
    """One bar a cell with its 95% interval; cells that are missing say why. Raises CommandError."""
    cells = report["cells"]
    figure, axes = plt.subplots(figsize=(9, 0.45 * len(cells) + 1.6), layout="constrained")
    most = max((cell["high_gbps"] or 0 for cell in cells), default=1.0) or 1.0
    for row, cell in enumerate(cells):
        value = cell["throughput_gbps"]
        if value is None:
            axes.text(most * 0.01, row, cell["missing_because"], va="center", color=_MISSING, style="italic")
            continue
        error = [[value - cell["low_gbps"]], [cell["high_gbps"] - value]]
        colour = "tab:blue" if "inline" in cell["name"] else "tab:gray"
        axes.barh(row, value, xerr=error, color=colour, ecolor="black", capsize=3, height=0.65)
        axes.text(cell["high_gbps"] + most * 0.01, row, f"{value:.2f}", va="center")
    axes.set_yticks(range(len(cells)), [cell["label"] for cell in cells])
    axes.invert_yaxis()
    axes.set_xlim(0, most * 1.12)
    axes.set_xlabel("Gbit/s of goodput, geometric mean with 95% interval")
    axes.set_title(title, loc="left", fontsize="medium")
    axes.spines[["top", "right"]].set_visible(False)
    _save(figure, paths)


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
