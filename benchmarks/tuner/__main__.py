"""`python -m benchmarks.tuner`: does the search find the optimum, and does its answer hold? Prints the tables of
docs/measurement.md. Everything is simulated, in simulated time, with fixed seeds."""

from __future__ import annotations

import argparse
import os
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from math import exp, log
from multiprocessing import get_context
from statistics import fmean, median

# One process a CPU: the matrices are small, and threads of the linear algebra only take turns.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from benchmarks.tuner import contestants
from benchmarks.tuner.contestants import NEAR, Run
from benchmarks.tuner.testbeds import TESTBEDS, Testbed

MOST_TRIALS = 600
"""A random search that has found nothing near the optimum by then counts as this many trials."""

CONTESTANTS: dict[str, Callable[[Testbed, int], Run]] = {
    "ours": contestants.ours,
    "plain Optuna": contestants.plain_optuna,
    "random": contestants.random_search,
    "grid": contestants.grid,
}


def main() -> None:
    """Run what is asked for and print it as tables."""
    parser = argparse.ArgumentParser(prog="make bench-tuner", description=__doc__)
    parser.add_argument("--seeds", type=int, default=50, help="studies of each testbed and contestant")
    parser.add_argument("--racing-seeds", type=int, default=10, help="studies of each testbed without racing")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    options = parser.parse_args()
    os.nice(10)
    with get_context("fork").Pool(options.processes, initializer=_quiet) as pool:
        jobs = partial(_of_testbed, seeds=options.seeds, racing_seeds=options.racing_seeds)
        found = dict(zip([t.name for t in TESTBEDS], pool.map(jobs, range(len(TESTBEDS)), chunksize=1), strict=True))
    _print_testbeds()
    _print_winners(found)
    _print_trials(found)
    _print_verdicts(found)
    _print_racing(found, options.racing_seeds)


def _quiet() -> None:
    warnings.filterwarnings("ignore")
    import optuna  # noqa: PLC0415

    optuna.logging.set_verbosity(optuna.logging.ERROR)


def _of_testbed(index: int, *, seeds: int, racing_seeds: int) -> dict[str, list[Run]]:
    testbed = TESTBEDS[index]
    runs = {name: [run(testbed, seed) for seed in range(seeds)] for name, run in CONTESTANTS.items()}
    runs["random, long"] = [_until_near(testbed, seed) for seed in range(seeds)]
    runs["A/A"] = [contestants.no_difference(testbed, 1000 + seed) for seed in range(4 * seeds)]
    runs["without racing"] = [contestants.fixed(4)(testbed, seed) for seed in range(racing_seeds)]
    return runs


def _until_near(testbed: Testbed, seed: int) -> Run:
    """Random search goes on until it finds a candidate near the optimum; only the number of trials counts."""
    import random  # noqa: PLC0415

    rng, truths = random.Random(seed), testbed.every  # noqa: S311
    space = testbed.space
    tried = 0
    while tried < MOST_TRIALS:
        tried += 1
        key = space.candidate(space.grid_params(rng.randrange(space.grid_size))).key
        if truths[key] >= NEAR * testbed.best_gbps:
            break
    return Run(0.0, tried, tried, 0.0, 1.0, 1.0, None, "")


Found = dict[str, dict[str, list[Run]]]


def _row(cells: Sequence[object]) -> None:
    print("|", " | ".join(map(str, cells)), "|")


def _head(title: str, cells: Sequence[str]) -> None:
    print(f"\n**{title}**\n")
    _row(cells)
    _row(["---"] * len(cells))


def _percent(share: float) -> str:
    return f"{share:.1%}"


def _print_testbeds() -> None:
    _head("Simulated testbeds", ["testbed", "what", "candidates", "within 5% of the best"])
    for testbed in TESTBEDS:
        near = sum(truth >= NEAR * testbed.best_gbps for truth in testbed.every.values())
        _row([testbed.name, testbed.what, len(testbed.every), near])


def _near_share(runs: Sequence[Run]) -> float:
    return fmean(run.winner_ratio >= NEAR for run in runs)


def _print_winners(found: Found) -> None:
    _head("Winner truly within 5% of the best after 40 trials, share of studies", ["testbed", *CONTESTANTS])
    for name, runs in found.items():
        _row([name, *(_percent(_near_share(runs[contestant])) for contestant in CONTESTANTS)])
    _row(["all", *(_percent(_near_share([r for runs in found.values() for r in runs[c]])) for c in CONTESTANTS)])


def _trials(runs: Sequence[Run]) -> float:
    return fmean(run.trials_to_near or MOST_TRIALS for run in runs)


def _print_trials(found: Found) -> None:
    _head("Trials until one is within 5% of the best, mean", ["testbed", "ours", "random", "random / ours"])
    ratios = []
    for name, runs in found.items():
        ours, chance = _trials(runs["ours"]), _trials(runs["random, long"])
        ratios.append(chance / ours)
        _row([name, f"{ours:.1f}", f"{chance:.1f}", f"{ratios[-1]:.1f}"])
    _row(["all (geometric mean; least)", "", "", f"{exp(fmean(map(log, ratios))):.1f}; {min(ratios):.1f}"])


def _holds(run: Run) -> bool:
    return run.interval is not None and run.interval[0] <= run.true_gain <= run.interval[1]


def _print_verdicts(found: Found) -> None:
    columns = ["true gain in the interval", '"better" where nothing is (A/A)', "plain Optuna claims, over the truth"]
    _head("Verdicts", ["testbed", *columns])
    for name, runs in [*found.items(), ("all", _together(found))]:
        claim = median(run.claimed_gain / run.true_gain for run in runs["plain Optuna"])
        better = fmean(run.conclusion == "better" for run in runs["A/A"])
        covered = fmean(map(_holds, [*runs["ours"], *runs["A/A"]]))
        _row([name, _percent(covered), _percent(better), f"{claim:.2f}x"])


def _together(found: Found) -> dict[str, list[Run]]:
    kinds = next(iter(found.values()))
    return {kind: [run for runs in found.values() for run in runs[kind]] for kind in kinds}


def _print_racing(found: Found, seeds: int) -> None:
    columns = ["racing, s", "without, s", "saved", "near the best, racing", "without"]
    _head(f"Measuring time until the winner is chosen ({seeds} studies)", ["testbed", *columns])
    for name, runs in [*found.items(), ("all", _together(found))]:
        raced = runs["ours"] if name == "all" else runs["ours"][:seeds]
        with_s, without_s = fmean(r.choosing_s for r in raced), fmean(r.choosing_s for r in runs["without racing"])
        shares = [_percent(_near_share(raced)), _percent(_near_share(runs["without racing"]))]
        _row([name, f"{with_s:.0f}", f"{without_s:.0f}", _percent(1 - with_s / without_s), *shares])


if __name__ == "__main__":
    main()
