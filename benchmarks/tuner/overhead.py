"""How long the search itself takes: ask and tell of a long study, real time on this machine. Part of `make
bench-tuner`; alone: `python -m benchmarks.tuner.overhead`."""

from __future__ import annotations

import math
import random
import tempfile
import time
from pathlib import Path
from statistics import median

from benchmarks.tuner.tables import print_head, print_row
from benchmarks.tuner.testbeds import TESTBEDS
from tuner.objectives import OBJECTIVES, BlockMetrics
from tuner.outcomes import Measured
from tuner.search import StudySearch
from tuner.tunables import Narrowing

FLOOR_MS = 50
_WINDOW = 50


def print_table(trials: int) -> None:
    """Times of the last trials of a study on the testbed with most CPUs, in a journal on disk, as `app` has it."""
    testbed = TESTBEDS[-1]
    space, rng = testbed.space_with(Narrowing()), random.Random(0)  # noqa: S311
    asks, tells = [], []
    with (
        tempfile.TemporaryDirectory() as folder,
        StudySearch.open(Path(folder) / "journal", "s", space, OBJECTIVES["throughput"], seed=0) as search,
    ):
        for _ in range(trials):
            began_s = time.perf_counter()
            asked = search.ask()
            asks.append(time.perf_counter() - began_s)
            if asked is None:
                break
            looks = testbed.truth(asked.candidate) * math.exp(rng.gauss(0, 0.05))
            outcome = Measured(metrics=BlockMetrics(throughput_gbps=looks, gbit_per_cpu_s=None, simulated=True))
            began_s = time.perf_counter()
            search.tell(asked.number, outcome)
            tells.append(time.perf_counter() - began_s)
    title = f"Real time of the search at trial {len(tells)}, ms ({space.size:,} combinations)"
    print_head(title, ["", "median of the last 50", "slowest of them", "floor"])
    for name, times_s in (("ask", asks), ("tell", tells)):
        last = [1e3 * seconds for seconds in times_s[-_WINDOW:]]
        print_row([name, f"{median(last):.1f}", f"{max(last):.1f}", f"{FLOOR_MS}"])


if __name__ == "__main__":
    print_table(1000)
