"""The end of a study on the terminal: baseline and best with the gain and its interval, and the winner in words."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from app.cli.progress import gain_words


def print_result(console: Console, result: dict[str, Any]) -> None:
    """Print what a completed study found."""
    verdict = result["verdict"]
    marked = " (simulated)" if result["simulated"] else ""
    table = Table(title=f"Study {result['study']} on {result['testbed']}{marked}", title_justify="left")
    table.add_column("")  # the only column that may wrap on a narrow terminal: figures are never cut
    for column in ("baseline", "best", "gain", "95% interval"):
        table.add_column(column, justify="right", no_wrap=True)
    for metric in verdict["metrics"]:
        table.add_row(
            f"{metric['label']}, {metric['unit']}",
            f"{metric['baseline_median']:.2f}",
            f"{metric['best_median']:.2f}",
            gain_words(metric["gain"]),
            f"{gain_words(metric['gain_low'])} to {gain_words(metric['gain_high'])}",
        )
    console.print()
    console.print(table)
    console.print(f"Verdict   {verdict['words']}", highlight=False, markup=False, soft_wrap=True)
    console.print(f"Baseline  {result['baseline']['words']}", highlight=False, markup=False, soft_wrap=True)
    console.print(f"Winner    {result['best']['words']}", highlight=False, markup=False, soft_wrap=True)
    _print_explanation(console, result["explanation"])
    overhead = result["trial_overhead_median_s"]
    if overhead is not None:
        console.print(f"Median time of a block that was not spent measuring: {overhead:.2f} s", highlight=False)


def _print_explanation(console: Console, explanation: dict[str, Any] | None) -> None:
    """Why the winner wins: the measured path to it, and what holds both back."""
    if explanation is None:
        return
    ablation = explanation["ablation"]
    if ablation is not None and ablation["state"] != "skipped":
        table = Table(title="Why it wins: from the baseline to the winner", title_justify="left")
        table.add_column("change", overflow="fold")
        for column in ("gain of the step", "95% interval"):
            table.add_column(column, justify="right", no_wrap=True)
        for step in ablation["steps"]:
            gain = step["gain"]
            if gain is None:
                table.add_row(step["words"], "not measured", step["detail"] or "")
            else:
                interval = f"{gain_words(gain['gain_low'])} to {gain_words(gain['gain_high'])}"
                table.add_row(step["words"], gain_words(gain["gain"]), interval)
        console.print(table)
    for name in ("baseline", "best"):
        limit = explanation[f"bottleneck_{name}"]
        if limit is not None:
            label = {"baseline": "Baseline limit", "best": "Winner limit"}[name]
            console.print(f"{label:15} {limit['words']}", highlight=False, markup=False, soft_wrap=True)
    words = explanation["importance"]["words"]
    console.print(f"{'Importance':15} {words}", highlight=False, markup=False, soft_wrap=True)
