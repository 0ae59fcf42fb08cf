"""The tables of `make bench-tuner`, with the floors beside them."""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, log, sqrt
from statistics import fmean, median

from benchmarks.tuner.contestants import NEAR, Run
from benchmarks.tuner.testbeds import Testbed

MOST_TRIALS = 600
"""A search that has tried nothing near the optimum counts as this many trials."""
FIXED_BLOCKS = (2, 4, 8)
CONTESTANTS = ("ours", "plain Optuna", "random", "grid")
Found = dict[str, dict[str, list[Run]]]
_ALL = "all"


def print_row(cells: Sequence[object]) -> None:
    """A row of a Markdown table."""
    print("|", " | ".join(map(str, cells)), "|")


def print_head(title: str, cells: Sequence[str]) -> None:
    """Title and head of a table."""
    print(f"\n**{title}**\n")
    print_row(cells)
    print_row(["---"] * len(cells))


def print_all(testbeds: Sequence[Testbed], found: Found) -> None:
    """Every table."""
    together = {kind: [run for runs in found.values() for run in runs[kind]] for kind in next(iter(found.values()))}
    rows = found | {_ALL: together}
    _print_testbeds(testbeds)
    _print_winners(rows)
    _print_trials(rows)
    _print_verdicts(testbeds, rows)
    _print_racing(rows)


def _percent(share: float) -> str:
    return f"{share:.1%}"


def _met(value: float, floor: float) -> str:
    return "yes" if value >= floor else "**no**"


def _print_testbeds(testbeds: Sequence[Testbed]) -> None:
    print_head("Simulated testbeds", ["testbed", "what", "candidates", "within 5% of the best"])
    for testbed in testbeds:
        near = sum(truth >= NEAR * testbed.best_gbps for truth in testbed.every.values())
        print_row([testbed.name, testbed.what, len(testbed.every), near])


def _near_share(runs: Sequence[Run]) -> float:
    return fmean(run.winner_ratio >= NEAR for run in runs)


def _print_winners(rows: Found) -> None:
    title = "Winner truly within 5% of the best after 40 trials, share of studies"
    print_head(title, ["testbed", *CONTESTANTS, "floor of 90% met"])
    for name, runs in rows.items():
        shares = [_near_share(runs[contestant]) for contestant in CONTESTANTS]
        print_row([name, *map(_percent, shares), _met(shares[0], 0.9)])


def _trials(runs: Sequence[Run]) -> float:
    return fmean(run.trials_to_near or MOST_TRIALS for run in runs)


def _print_trials(rows: Found) -> None:
    columns = ["testbed", "ours", "plain Optuna", "random", "random / ours", "floor of 3x met"]
    print_head("Trials until one is within 5% of the best, mean", columns)
    ratios = []
    for name, runs in rows.items():
        if name == _ALL:
            continue
        counts = [_trials(runs[kind]) for kind in ("ours", "plain Optuna", "random, long")]
        ratios.append(counts[2] / counts[0])
        print_row([name, *(f"{count:.1f}" for count in counts), f"{ratios[-1]:.1f}", _met(ratios[-1], 3)])
    mean = exp(fmean(map(log, ratios)))
    print_row(["all (geometric mean)", "", "", "", f"{mean:.1f}", _met(mean, 3)])


def _holds(run: Run) -> bool:
    return run.interval is not None and run.interval[0] <= run.true_gain <= run.interval[1]


def _print_verdicts(testbeds: Sequence[Testbed], rows: Found) -> None:
    columns = [
        "testbed", "true gain in the interval", "the same, 10 more verdicts each", "the same, A/A",
        '"better" where nothing is (A/A)', "plain Optuna claims, over the truth",
    ]  # fmt: skip
    print_head("Verdicts (floors: 93 to 97%, and at most 5%)", columns)
    noisy = [testbed.name for testbed in testbeds if testbed.noise.spread >= 0.2]
    if noisy:
        kinds = rows[_ALL]
        rows = rows | {"20% noise": {kind: [run for name in noisy for run in rows[name][kind]] for kind in kinds}}
    for name, runs in rows.items():
        claim = median(run.claimed_gain / run.true_gain for run in runs["plain Optuna"])
        again = [held for run in runs["ours"] for held in run.again]
        better = [run.conclusion == "better" for run in runs["A/A"]]
        held = [[_holds(run) for run in runs["ours"]], again, [_holds(run) for run in runs["A/A"]]]
        print_row([name, *(_share(each) for each in held), _share(better), f"{claim:.2f}x"])


def _share(flags: Sequence[bool]) -> str:
    """With its standard error, by which a share of so many studies may be off."""
    share = fmean(flags)
    return f"{share:.1%} ± {sqrt(max(share * (1 - share), 0.5 / len(flags)) / len(flags)):.1%}"


def _shortfall(runs: Sequence[Run]) -> float:
    """How far the winners are from the true best, mean."""
    return 1 - fmean(run.winner_ratio for run in runs)


def _print_racing(rows: Found) -> None:
    """Against the least fixed number of blocks whose winners are as good."""
    columns = ["testbed", "racing", *(f"{blocks} each" for blocks in FIXED_BLOCKS), "saved", "floor of 30% met"]
    print_head("Measuring time until the winner is chosen, s; in brackets how far it is from the best", columns)
    for name, runs in rows.items():
        kinds = ["ours", *(f"fixed {blocks}" for blocks in FIXED_BLOCKS)]
        spent = [fmean(run.choosing_s for run in runs[kind]) for kind in kinds]
        short = [_shortfall(runs[kind]) for kind in kinds]
        equal = next((k for k in range(1, len(kinds)) if short[k] <= short[0]), None)
        saved = None if equal is None else 1 - spent[0] / spent[equal]
        cells = [f"{time_s:.0f} ({away:.1%})" for time_s, away in zip(spent, short, strict=True)]
        shown = f"more than {1 - spent[0] / spent[-1]:.0%}" if saved is None else f"{saved:.0%}"
        print_row([name, *cells, shown, "yes" if saved is None else _met(saved, 0.3)])
