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
    overhead = result["trial_overhead_median_s"]
    if overhead is not None:
        console.print(f"Median time of a block that was not spent measuring: {overhead:.2f} s", highlight=False)
