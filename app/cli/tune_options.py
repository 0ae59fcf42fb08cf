"""Options of `wiretune tune` and what they become."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli.limits import AT_LEAST_HELP, AT_MOST_HELP, constraints_of, workload_of

DEFAULT_TRIALS = 12
DEFAULT_SECONDS = 3.0
DEFAULT_SAMPLES_IN_BUDGET = 110
"""Samples that the default budget has time for: 330 seconds with samples of three."""

OBJECTIVE_HELP = (
    "What is optimised. pareto: throughput and efficiency; pareto_latency: throughput and p99 latency; ndr, pdr:"
    " packets/s without loss, or with at most 0.5% of it."
)
SPREAD_HELP = (
    "How flows come to several lanes of wirelane; give it twice to compare. ecmp (the default): a device a lane, routes"
    " with a hash over all. bond: one device for all lanes, each new flow goes to the least loaded one."
)
SAMPLER_HELP = "How candidates are chosen. random and grid are for comparison; gp needs `pip install wiretune[gp]`."


class DirectionName(StrEnum):
    """Where the traffic flows."""

    FORWARD = "forward"
    REVERSE = "reverse"
    BOTH = "both"


class DriverName(StrEnum):
    """Testbeds that `wiretune tune` can make on the spot."""

    NETNS = "netns"
    SIM = "sim"


class ObjectiveName(StrEnum):
    """What is optimised."""

    THROUGHPUT = "throughput"
    EFFICIENCY = "efficiency"
    LATENCY = "latency"
    PACKET_RATE = "packet_rate"
    PARETO = "pareto"
    PARETO_LATENCY = "pareto_latency"
    NDR = "ndr"
    PDR = "pdr"


class EngineName(StrEnum):
    """What carries the tunnels."""

    WIRELANE = "wirelane"
    KERNEL = "kernel"
    WIREGUARD_GO = "wireguard-go"


class SpreadName(StrEnum):
    """How flows come to lanes."""

    ECMP = "ecmp"
    BOND = "bond"


class SamplerName(StrEnum):
    """How candidates are chosen."""

    TPE = "tpe"
    GP = "gp"
    RANDOM = "random"
    GRID = "grid"


def space_of(spread: list[SpreadName] | None) -> dict[str, Any] | None:
    """What the options say to the search space."""
    return {"spread": [one.value for one in spread]} if spread else None


def tune_command(
    *,
    testbed: Annotated[
        DriverName,
        typer.Option(help="netns: two namespaces on this machine, needs root. sim: the cost model, needs nothing."),
    ] = DriverName.NETNS,
    trials: Annotated[
        int | None,
        typer.Option(
            min=1, max=10_000, help="Candidates to try. Default: up to 12, as many as fit five minutes and a half."
        ),
    ] = None,
    seconds: Annotated[float, typer.Option(min=0.1, max=3600, help="Length of one sample.")] = DEFAULT_SECONDS,
    repeats: Annotated[int, typer.Option(min=1, max=50, help="Most blocks a trial during the search.")] = 4,
    finalists: Annotated[int, typer.Option(min=1, max=10, help="Most candidates that a playoff round measures.")] = 5,
    playoff_rounds: Annotated[int, typer.Option(min=1, max=100, help="Most rounds that choose the best of them.")] = 10,
    verdict_rounds: Annotated[
        int,
        typer.Option(min=3, max=1000, help="Fresh, interleaved rounds of best and baseline; only these are reported."),
    ] = 8,
    explain_rounds: Annotated[
        int,
        typer.Option(
            min=0, max=100, help="Rounds that measure each change on the way from baseline to winner; 0: none of them."
        ),
    ] = 4,
    objective: Annotated[ObjectiveName, typer.Option(help=OBJECTIVE_HELP)] = ObjectiveName.THROUGHPUT,
    at_most: Annotated[list[str] | None, typer.Option(metavar="METRIC=LIMIT", help=AT_MOST_HELP)] = None,
    at_least: Annotated[list[str] | None, typer.Option(metavar="METRIC=LIMIT", help=AT_LEAST_HELP)] = None,
    offered_gbps: Annotated[
        float | None,
        typer.Option(min=0.001, max=1000, help="Offer UDP at this load in place of TCP; a limit on loss needs it."),
    ] = None,
    direction: Annotated[DirectionName, typer.Option(help="forward: from gateway a to b.")] = DirectionName.FORWARD,
    engine: Annotated[
        list[EngineName] | None, typer.Option(help="Engines to try; give it several times. Default: all that can run.")
    ] = None,
    spread: Annotated[list[SpreadName] | None, typer.Option(help=SPREAD_HELP)] = None,
    warm_start: Annotated[
        bool, typer.Option(help="Begin with the winners of earlier studies on hosts like these, where there are any.")
    ] = True,
    sampler: Annotated[SamplerName, typer.Option(help=SAMPLER_HELP)] = SamplerName.TPE,
    racing: Annotated[
        bool,
        typer.Option(help="Stop measuring a candidate that cannot win any more; without, each gets --repeats blocks."),
    ] = True,
    time_budget: Annotated[
        float | None, typer.Option(min=1, help="Seconds for everything. Default: no limit once --trials is given.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, max=2**32 - 1, help="For a search that can be repeated.")] = None,
    json_path: Annotated[
        Path | None, typer.Option("--json", help="Write the result here: baseline, best, gain, every trial.")
    ] = None,
    bundle: Annotated[
        Path | None, typer.Option(help="Write the bundle here. Default: its own name in this folder.")
    ] = None,
    sim_cores: Annotated[int, typer.Option(min=1, max=128, help="Cores a socket of the simulated hosts.")] = 4,
    sim_sockets: Annotated[int, typer.Option(min=1, max=8, help="Sockets of the simulated hosts.")] = 1,
    sim_noise: Annotated[
        float, typer.Option(min=0, max=0.5, help="Noise of the simulated samples, as a ratio.")
    ] = 0.02,
    sim_drift: Annotated[
        float, typer.Option(min=-0.9, max=1, help="Drift of the simulated hosts: -0.1 loses 10% an hour.")
    ] = 0.0,
    sim_outliers: Annotated[
        float, typer.Option(min=0, max=1, help="Share of simulated samples that something else disturbs.")
    ] = 0.0,
    sim_time: Annotated[float, typer.Option(min=0, max=1, help="Share of simulated time that really passes.")] = 0.0,
) -> None:
    """Tune a link from start to end: testbed, baseline, search, playoff, verdict, bundle; nothing is left behind.

    Ctrl-C at any moment stops it and removes everything it made. The default budget takes about five minutes.

        sudo wiretune tune

        sudo wiretune tune --trials 6 --seconds 2 --json result.json --bundle out.tar.gz

        sudo wiretune tune --objective efficiency --engine wirelane

        sudo wiretune tune --spread ecmp --spread bond

        sudo wiretune tune --at-most p99=5 --at-most cpus=1.1x

        sudo wiretune tune --objective efficiency --at-least throughput=0.95x

        sudo wiretune tune --offered-gbps 1.5 --at-most loss=0.1% --objective efficiency

        sudo wiretune tune --objective ndr --trials 6 --seconds 1

        wiretune tune --testbed sim --sim-cores 16 --sim-sockets 2
    """
    from rich.console import Console  # noqa: PLC0415

    from app.cli.tune import TuneRequest, tune  # noqa: PLC0415
    from app.settings import Settings  # noqa: PLC0415

    if trials is None and time_budget is None:
        time_budget = DEFAULT_SAMPLES_IN_BUDGET * max(DEFAULT_SECONDS, seconds)
    simulation: dict[str, Any] | None = None
    if testbed is DriverName.SIM:
        simulation = {"sockets": sim_sockets, "cores_per_socket": sim_cores, "noise_ratio": sim_noise}
        simulation |= {"sample_time_ratio": sim_time, "drift_per_hour": sim_drift, "outlier_ratio": sim_outliers}
    study: dict[str, Any] = {
        "label": "wiretune tune",
        "objective": objective.value,
        "constraints": constraints_of(at_most, at_least),
        "racing": racing,
        "engines": [one.value for one in engine] if engine else None,
        "space": space_of(spread),
        "trials": trials or DEFAULT_TRIALS,
        "sample_seconds": seconds,
        "repeats": repeats,
        "finalists": finalists,
        "playoff_rounds": playoff_rounds,
        "verdict_rounds": verdict_rounds,
        "explain_rounds": explain_rounds,
        "time_budget_s": time_budget,
        "warm_start": warm_start,
        "sampler": sampler.value,
        "seed": seed,
    }
    study["workloads"] = workload_of(study, offered_gbps, direction.value)
    request = TuneRequest(testbed.value, simulation, study, json_path, bundle)
    tune(Settings(), request, Console(stderr=False))
