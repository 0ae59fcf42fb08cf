"""`wiretune measure`: one configuration, one workload, no search."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from typing import Annotated, Any

import typer

from app.cli.failures import CommandError, Exit
from app.cli.resources import AsJson, Name, print_json, service_api
from app.cli.tune_options import DirectionName


class RateName(StrEnum):
    """What a rate search looks for."""

    NDR = "ndr"
    PDR = "pdr"


class ProtocolName(StrEnum):
    """What the traffic is made of."""

    TCP = "tcp"
    UDP = "udp"


class ToolName(StrEnum):
    """What generates it."""

    IPERF3 = "iperf3"
    PKTGEN = "pktgen"


def measure(
    testbed: Name,
    *,
    candidate: Annotated[str, typer.Option(help="The configuration as JSON; what is left out has its default.")] = "{}",
    seconds: Annotated[float, typer.Option(min=0.1, max=3600, help="Length of the sample.")] = 3.0,
    direction: Annotated[DirectionName, typer.Option(help="forward: from gateway a to b.")] = DirectionName.FORWARD,
    protocol: Annotated[ProtocolName, typer.Option(help="Of the traffic in the tunnel.")] = ProtocolName.TCP,
    tool: Annotated[ToolName, typer.Option(help="What generates the traffic.")] = ToolName.IPERF3,
    flows: Annotated[int, typer.Option(min=1, max=128, help="Flows in each direction.")] = 4,
    packet_bytes: Annotated[int | None, typer.Option(min=64, max=9000, help="Inner packet size, for udp.")] = None,
    imix: Annotated[bool, typer.Option("--imix", help="For pktgen: 64, 570 and 1400 bytes, 7:4:1 in packets.")] = False,
    rate_search: Annotated[
        RateName | None,
        typer.Option(help="Search the highest rate without loss (ndr), or with at most 0.5% of it (pdr); implies udp."),
    ] = None,
    width: Annotated[float, typer.Option(min=0.005, max=0.5, help="How close the bounds of a rate search get.")] = 0.05,
    as_json: AsJson = False,
) -> None:
    """Measure one configuration on a testbed, without a search.

    wiretune measure demo --candidate '{"engine": "wirelane", "mode": "inline", "lanes": 2}'

    wiretune measure demo --candidate '{"lanes": 2, "spread": "bond", "cpu_sets": {"a": {"read": "1"}}}'

    wiretune measure demo --direction both --seconds 10 --json

    wiretune measure demo --tool pktgen --protocol udp --packet-bytes 64

    wiretune measure demo --tool pktgen --packet-bytes 64 --seconds 1 --rate-search ndr
    """
    try:
        configuration = json.loads(candidate)
    except ValueError as error:
        raise CommandError(f"--candidate is not JSON: {error}", code=Exit.USAGE) from error
    goal = _rate_goal(rate_search, seconds, width) if rate_search else None
    workload = {
        "tool": tool.value,
        "protocol": "udp" if goal else protocol.value,
        "direction": direction.value,
        "flows": flows,
        "duration_s": seconds,
        "packet_bytes": packet_bytes,
        "imix": imix,
        "rate_search": goal,
    }
    api = service_api()
    body = {"testbed": testbed, "candidate": configuration, "workloads": [workload]}
    path = f"/measurements/{api.post('/measurements', body)['id']}"
    unfinished = ("queued", "running", "cancelling")
    measurement = api.wait_while(path, lambda one: one["state"] in unfinished, 600 + (60 if goal else 1) * seconds)
    if measurement is None or measurement["state"] != "completed":
        detail, hint = (measurement["detail"], measurement["hint"]) if measurement else ("it is gone", None)
        raise CommandError(f"the measurement failed: {detail}", hint=hint or "")
    if as_json:
        print_json(measurement)
        return
    sample = measurement["samples"][0]
    if sample["rate"]:
        _print_rate(measurement["words"], sample)
        return
    sys.stdout.write(f"{measurement['words']}\n{sample['throughput_gbps']:.3f} Gbit/s")
    sys.stdout.write(f", {sample['data_plane_cpu_s_per_gbit']:.3f} CPU-seconds a Gbit of the data plane\n")
    for unfit in sample["unfit"]:
        sys.stdout.write(f"taken while unfit to measure: {unfit['words']}\n")


def _rate_goal(name: RateName, seconds: float, width: float) -> dict[str, Any]:
    from tuner.rate_search import RateGoal  # noqa: PLC0415

    goal = RateGoal.named("ndr" if name is RateName.NDR else "pdr", seconds)
    return goal.model_copy(update={"width": width}).model_dump(mode="json")


def _print_rate(words: str, sample: dict[str, Any]) -> None:
    from tuner.rate_search import RateResult  # noqa: PLC0415

    rate = RateResult.model_validate(sample["rate"])
    marked = " (simulated)" if sample["simulated"] else ""
    lines = [words, f"{rate.in_words()}{marked}"]
    for label, bound in (("lower bound", rate.lower_bound_pps), ("upper bound", rate.upper_bound_pps)):
        lines.append(f"{label}  {f'{bound / 1e3:,.1f} kpps' if bound else 'none'}")
    traffic_s = sum(trial.duration_s for trial in rate.trials)
    lines += [f"{len(rate.trials)} trials, {traffic_s:g} s of traffic", rate.goal_words]
    lines += [f"taken while unfit to measure: {unfit['words']}" for unfit in sample["unfit"]]
    lines += [f"warning: {warning}" for warning in sample["warnings"]]
    sys.stdout.write("\n".join(lines) + "\n")
