"""`python -m benchmarks.tuner`: does the search find the optimum, and does its answer hold? Prints the tables of
docs/measurement.md. All is simulated, in simulated time, with fixed seeds; only the time of ask and tell is real."""

from __future__ import annotations

import argparse
import json
import os
import random
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path

# One process a CPU: the matrices are small, and threads of the linear algebra only take turns.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from benchmarks.tuner import contestants, overhead, tables
from benchmarks.tuner.contestants import NEAR, Run
from benchmarks.tuner.tables import FIXED_BLOCKS, MOST_TRIALS, Found
from benchmarks.tuner.testbeds import TESTBEDS, Testbed

AA_STUDIES = 4
"""A/A studies for each seed: they are short, and a rate of a few percent needs many."""


def main() -> None:
    """Run what is asked for and print it as tables."""
    parser = argparse.ArgumentParser(prog="make bench-tuner", description=__doc__)
    parser.add_argument("--seeds", type=int, default=50, help="studies of each testbed and contestant")
    parser.add_argument("--first-seed", type=int, default=1000, help="the others follow it")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--testbeds", nargs="*", default=[], metavar="NAME", help="only these")
    parser.add_argument("--only", nargs="*", default=[], choices=list(KINDS), help="only these contestants; no tables")
    parser.add_argument("--overhead-trials", type=int, default=1000, help="of the study whose ask and tell are timed")
    parser.add_argument("--save", type=Path, metavar="FILE", help="every run as JSON")
    parser.add_argument("--load", type=Path, nargs="*", default=[], metavar="FILE", help="print these, run nothing")
    options = parser.parse_args()
    if options.load:
        tables.print_all(TESTBEDS, _saved(options.load))
        return
    os.nice(10)
    started_s = time.monotonic()
    chosen = [k for k, testbed in enumerate(TESTBEDS) if not options.testbeds or testbed.name in options.testbeds]
    for index in chosen:
        TESTBEDS[index].best_gbps  # noqa: B018  before the fork, so that all processes share it
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    jobs = [(index, kind, seed) for index in chosen for kind in options.only or KINDS for seed in seeds]
    found: Found = {TESTBEDS[index].name: {kind: [] for kind in options.only or KINDS} for index in chosen}
    with get_context("fork").Pool(options.processes, initializer=_quiet) as pool:
        for (index, kind, _), runs in zip(jobs, pool.imap(_run, jobs, chunksize=5), strict=True):
            found[TESTBEDS[index].name][kind] += runs
    if options.save:
        plain = {name: {kind: list(map(asdict, runs)) for kind, runs in kinds.items()} for name, kinds in found.items()}
        options.save.write_text(json.dumps(plain))
    if not options.only:
        minutes = (time.monotonic() - started_s) / 60
        print(f"Seeds {seeds[0]} to {seeds[-1]}; {minutes:.0f} minutes with {options.processes} processes.")
        tables.print_all([TESTBEDS[index] for index in chosen], found)
    if options.overhead_trials:
        overhead.print_table(options.overhead_trials)


def _saved(files: Sequence[Path]) -> Found:
    """Runs of the same testbeds, of one kind or another in each file."""
    found: Found = {}
    for file in files:
        for name, kinds in json.loads(file.read_text()).items():
            found.setdefault(name, {}).update({kind: [Run(**run) for run in runs] for kind, runs in kinds.items()})
    return found


def _quiet() -> None:
    warnings.filterwarnings("ignore")
    import optuna  # noqa: PLC0415

    optuna.logging.set_verbosity(optuna.logging.ERROR)


def _until_near(testbed: Testbed, seed: int) -> Run:
    """Random search goes on until it finds a candidate near the optimum; only the number of trials counts."""
    rng, truths = random.Random(seed), testbed.every  # noqa: S311
    space = testbed.space
    tried = 0
    while tried < MOST_TRIALS:
        tried += 1
        key = space.candidate(space.grid_params(rng.randrange(space.grid_size))).key
        if truths[key] >= NEAR * testbed.best_gbps:
            break
    return Run(0.0, tried, tried, 0.0, 1.0, 1.0, None, "")


KINDS: dict[str, Callable[[Testbed, int], Run]] = {
    "ours": contestants.ours,
    "plain Optuna": contestants.plain_optuna,
    "random": contestants.random_search,
    "grid": contestants.grid,
    "random, long": _until_near,
    "A/A": contestants.no_difference,
    **{f"fixed {blocks}": contestants.fixed(blocks) for blocks in FIXED_BLOCKS},
}


def _run(job: tuple[int, str, int]) -> list[Run]:
    index, kind, seed = job
    seeds = range(AA_STUDIES * seed, AA_STUDIES * (seed + 1)) if kind == "A/A" else [seed]
    return [KINDS[kind](TESTBEDS[index], one) for one in seeds]


if __name__ == "__main__":
    main()
