"""Several configurations in interleaved rounds through the API, on a testbed that exists or a throw-away one."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console

from app.cli.child_service import service_for_one_command
from app.cli.client import Api
from app.cli.failures import CommandError, Exit, Interrupted
from app.cli.progress import duration_words
from app.cli.signals import ignore_interrupts
from app.cli.tune import THROW_AWAY_PREFIX, cancel_work, make_testbed, remove_abandoned, remove_testbed
from app.settings import Settings

THROW_AWAY_DRIVERS = ("netns", "sim")
_UNFINISHED = ("queued", "running", "cancelling")
_TIMEOUT_S = 900.0

Rounds = list[dict[str, Any]]
"""For each round the measurement of each configuration by its name, as the API shows it."""


@contextmanager
def testbed_for_one_command(
    settings: Settings, testbed: str, simulation: Mapping[str, Any] | None, console: Console
) -> Iterator[tuple[Api, dict[str, Any]]]:
    """A testbed: `netns` and `sim` are made and removed again, any other name is one that exists and stays.

    Whatever still runs on it at the end is cancelled. Raises CommandError; Interrupted once everything is cleaned up.
    """
    throw_away = testbed in THROW_AWAY_DRIVERS
    name = f"{THROW_AWAY_PREFIX}{os.getpid()}" if throw_away else testbed
    console.print("Starting …", style="dim")
    with service_for_one_command(settings) as (api, _):
        try:
            if throw_away:
                remove_abandoned(api, console)
                yield api, make_testbed(api, name, testbed, dict(simulation) if simulation else None, console)
            else:
                yield api, _existing(api, name)
        except Interrupted:
            console.print("Stopping: rolling the hosts back …")
            raise
        finally:
            ignore_interrupts()
            if throw_away:
                remove_testbed(api, name)


def _existing(api: Api, name: str) -> dict[str, Any]:
    testbed = api.find(f"/testbeds/{name}")
    if testbed is None:
        known = ", ".join(["netns", "sim", *(one["name"] for one in api.get("/testbeds", limit=1000)["items"])])
        raise CommandError(f"there is no testbed {name}", hint=f"Known are: {known}.", code=Exit.USAGE)
    if testbed["state"] != "ready":
        raise CommandError(f"testbed {name} is {testbed['state']}", hint=testbed["hint"] or "", code=Exit.MACHINE)
    return dict(testbed)


def measure_rounds(
    api: Api,
    testbed: str,
    configurations: Mapping[str, Mapping[str, Any]],
    workloads: Mapping[str, Sequence[Mapping[str, Any]]],
    *,
    rounds: int,
    seed: int,
    say: Callable[[str], None],
) -> tuple[Rounds, dict[str, str]]:
    """Every configuration once a round, in random order. One that cannot run here is measured no more; the second value
    says why. A fault of the lab leaves a gap in its round. Raises CommandError when nothing could be measured."""
    shuffle = random.Random(seed)  # noqa: S311 (an order, no secret)
    broken: dict[str, str] = {}
    done: Rounds = []
    begin, total, count = time.monotonic(), rounds * len(configurations), 0
    for number in range(rounds):
        found: dict[str, Any] = {}
        order = [name for name in configurations if name not in broken]
        shuffle.shuffle(order)
        for name in order:
            measurement = _measure(api, testbed, configurations[name], workloads[name])
            count += 1
            left_s = (time.monotonic() - begin) / count * (total - count)
            if measurement["state"] == "completed":
                found[name] = measurement
                came = " · ".join(f"{sample['throughput_gbps']:.2f} Gbit/s" for sample in measurement["samples"])
            else:
                came = f"{measurement['state']}: {measurement['detail']}"
                if measurement["state"] == "infeasible":
                    broken[name] = str(measurement["detail"])
            say(f"round {number + 1} of {rounds}, {name}: {came} · {duration_words(left_s)} left")
        done.append(found)
    if not any(done):
        raise CommandError("nothing could be measured: " + (next(iter(broken.values()), "the lab failed each time")))
    return done, broken


def _measure(
    api: Api, testbed: str, candidate: Mapping[str, Any], workloads: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    body = {"testbed": testbed, "candidate": dict(candidate), "workloads": [dict(one) for one in workloads]}
    path = f"/measurements/{api.post('/measurements', body)['id']}"
    try:
        measurement = api.wait_while(path, lambda one: one["state"] in _UNFINISHED, _TIMEOUT_S)
    except Interrupted:
        ignore_interrupts()
        cancel_work(api, path)
        raise
    if measurement is None or measurement["state"] == "cancelled":
        raise CommandError("the measurement was cancelled by somebody else")
    return dict(measurement)
