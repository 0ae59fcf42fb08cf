"""The end of a study on the terminal: baseline and best with the gain and its interval, and the winner in words."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from app.cli.progress import gain_words

_SHOWN_TRIALS = 12


def print_result(console: Console, result: dict[str, Any]) -> None:
    """Print what a completed study found."""
    verdict = result["verdict"]
    marked = " (simulated)" if result["simulated"] else " (emulated)" if result["emulated"] else ""
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
    _print_limits(console, result)
    _print_race(console, result["trials"])
    console.print(f"Hosts     {result['fitness']['words']}", highlight=False, markup=False, soft_wrap=True)
    for name, gateway in result["gateways"].items():
        proposed = [f"proposed, needs a reboot: {words}" for words in gateway["proposals"]]
        for words in [*gateway["notices"], *proposed]:
            console.print(f"Gateway {name} {words}", highlight=False, markup=False, soft_wrap=True)
    _print_explanation(console, result["explanation"])
    if result["overhead"] is not None:
        console.print(overhead_words(result["overhead"]), highlight=False, soft_wrap=True)


def overhead_words(overhead: dict[str, Any]) -> str:
    """ "Overhead of a block 1.31 s: start 0.72, apply 0.21, verify 0.05, collect 0.33 (medians of 64)"."""
    phases = ", ".join(f"{name} {overhead[f'{name}_s']:.2f}" for name in ("start", "apply", "verify", "collect"))
    return f"Overhead of a block {overhead['total_s']:.2f} s: {phases} (medians of {overhead['blocks']})"


def _print_limits(console: Console, result: dict[str, Any]) -> None:
    """What the verdict's blocks say of each constraint, and what was turned down because of one."""
    for check in result["verdict"]["constraints"]:
        console.print(f"{'Limit':9} {check_words(check)}", highlight=False, markup=False, soft_wrap=True)
    beyond = [trial for trial in result["trials"] if any(check["violation"] > 0 for check in trial["constraints"])]
    for trial in beyond if result["spec"]["constraints"] else ():
        if trial["standing"] is not None:
            worst = max(trial["constraints"], key=lambda check: check["violation"])
            console.print(
                f"Beyond    trial {trial['number']}, {check_words(worst)}: {trial['words']}",
                highlight=False,
                markup=False,
            )


def check_words(check: dict[str, Any]) -> str:
    """ "p99 latency under load at most 5 ms: 6.2, 24% beyond"."""
    if check["value"] is None or check["limit"] is None:
        return f"{check['words']}: not measured"
    stands = f"{check['violation']:.0%} beyond" if check["violation"] > 0 else "kept"
    limit = f" (limit {check['limit']:.4g})" if check["constraint"]["of_baseline"] else ""
    return f"{check['words']}{limit}: {check['value']:.4g}, {stands}"


def _print_race(console: Console, trials: list[dict[str, Any]]) -> None:
    """How the search went: each trial's blocks, interval, and why it got no more of them."""
    raced = [trial for trial in trials if trial["standing"] is not None]
    table = Table(title="The search, against the baseline: no result yet", title_justify="left", box=None)
    for column in ("trial", "blocks", "95% interval"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("race", no_wrap=True)
    table.add_column("configuration", overflow="fold", ratio=1)
    for trial in sorted(raced, key=lambda trial: -(trial["standing"]["gain"] or 0.0))[:_SHOWN_TRIALS]:
        standing = trial["standing"]
        ends = [standing["gain_low"], standing["gain_high"]]
        interval = "" if ends[0] is None else f"{gain_words(ends[0])} to {gain_words(ends[1])}"
        table.add_row(str(trial["number"]), str(standing["blocks"]), interval, standing["race"], trial["words"])
    console.print()
    console.print(table)
    if len(raced) > _SHOWN_TRIALS:
        console.print(f"… and {len(raced) - _SHOWN_TRIALS} more trials; --json has them all.", highlight=False)


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
