"""What is measured between the gateways. All traffic is real: iperf3, ping, and udp_load of the io crate."""

import contextlib
import json
import re
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from testbed import GATEWAYS, Engine, cpu_s, gateways, inside, tunnels

MAX_LOSS_RATIO = 0.001
STREAMS = 2
"""TCP streams over all lanes, at least one each."""
PINGS, PING_INTERVAL_S = 200, 0.005
"""Of each round."""


@dataclass(frozen=True)
class Throughput:
    gbps: float
    cpu_s_per_gbit: float


def tcp(engine: Engine, lanes: int, seconds: int, *, forwarded: bool = False) -> Throughput:
    """iperf3 over all lanes at once; with `forwarded` between the networks behind the gateways."""
    client_at, server_at = (f"{GATEWAYS[0]}-lan", f"{GATEWAYS[1]}-lan") if forwarded else GATEWAYS
    with gateways(), tunnels(engine, lanes) as planes, contextlib.ExitStack() as stack:
        for lane in range(lanes):
            _start(stack, inside(server_at, "iperf3", "-s", "-1", "-p", str(5300 + lane)))
        time.sleep(0.5)
        before = cpu_s(planes)
        clients = []
        for lane in range(lanes):
            address = "198.19.2.2" if forwarded else f"198.18.128.{2 * lane + 1}"
            streams = str(max(1, STREAMS // lanes))
            clients.append(_start(stack, inside(client_at, "iperf3", "-c", address, "-p", str(5300 + lane), "-J",
                                                "-t", str(seconds), "-P", streams)))  # fmt: skip
        reports = [json.loads(client.communicate(timeout=seconds + 30)[0]) for client in clients]
        used = cpu_s(planes) - before
    gbit = sum(report["end"]["sum_received"]["bytes"] for report in reports) * 8 / 1e9
    return Throughput(gbit / seconds, used / gbit)


def udp_pps(engine: Engine, load: Path, payload_bytes: int, seconds: float, steps: int, *, gso: bool) -> float:
    """The highest rate that arrives with at most 0.1% loss, by bisection on a logarithmic scale, in packets/s."""
    low, high = 10_000.0, 2_000_000.0
    best = 0.0
    with gateways(), tunnels(engine, 1):
        for _ in range(steps):
            pps = (low * high) ** 0.5
            # One loss may be the machine's; a rate counts as too high only if it loses twice.
            for _ in range(2):
                delivered, reached = _udp_trial(load, payload_bytes, pps, seconds, gso=gso)
                if delivered:
                    break
            if delivered:
                best, low = max(best, reached), pps
                if reached < 0.9 * pps:
                    break  # the generator's end, not the data plane's
            else:
                high = pps
    return best


def _udp_trial(load: Path, payload_bytes: int, pps: float, seconds: float, *, gso: bool) -> tuple[bool, float]:
    """Whether all but 0.1% arrived, and how many a second did."""
    with contextlib.ExitStack() as stack:
        receiver = _start(stack, inside(GATEWAYS[1], str(load), "receive", "198.18.128.1:5400", "5"))
        time.sleep(0.1)
        words = [str(seconds), str(payload_bytes), f"{pps:.0f}", *(["gso"] if gso else [])]
        sender = _start(stack, inside(GATEWAYS[0], str(load), "send", "198.18.128.1:5400", *words))
        sent = json.loads(sender.communicate(timeout=seconds + 30)[0])
        received = json.loads(receiver.communicate(timeout=30)[0])
    arrived = received["datagrams"]
    return arrived >= sent["offered"] * (1 - MAX_LOSS_RATIO), arrived / sent["seconds"]


def latency(engines: Sequence[Engine], rounds: int, *, loaded: bool) -> dict[str, list[list[float]]]:
    """Round trips in us of each engine, round by round: pings 5 ms apart; with `loaded` beside two TCP streams.

    The tunnels of all engines stand all the while and are pinged in turns, each time another one first, so that what
    else happens on the machine meets all of them alike. Those that are not pinged carry nothing.
    """
    trips: dict[str, list[list[float]]] = {engine.name: [] for engine in engines}
    with gateways(), contextlib.ExitStack() as stack:
        for lane, engine in enumerate(engines):
            stack.enter_context(tunnels(engine, 1, first_lane=lane))
        for turn in range(rounds):
            for k in range(len(engines)):
                lane = (turn + k) % len(engines)
                trips[engines[lane].name].append(_round_trips_us(f"198.18.128.{2 * lane + 1}", loaded=loaded))
    return trips


def _round_trips_us(target: str, *, loaded: bool) -> list[float]:
    with contextlib.ExitStack() as stack:
        if loaded:
            server = _start(stack, inside(GATEWAYS[1], "iperf3", "-s", "-1", "--forceflush"))
            if not any("Server listening" in line for line in iter(server.stdout.readline, "")):
                raise RuntimeError("iperf3's server does not start")
            seconds = str(int(PINGS * PING_INTERVAL_S) + 4)
            _start(stack, inside(GATEWAYS[0], "iperf3", "-c", target, "-t", seconds, "-P", "2"))
            time.sleep(0.5)
        ping = _start(stack, inside(GATEWAYS[0], "ping", "-i", str(PING_INTERVAL_S), "-c", str(PINGS), target))
        output = ping.communicate(timeout=PINGS * 0.05 + 60)[0]
    times = [float(ms) * 1000 for ms in re.findall(r"time=([\d.]+) ms", output)]
    if len(times) < PINGS / 2:
        raise RuntimeError(f"{PINGS - len(times)} of {PINGS} pings to {target} lost")
    return times


def _start(stack: contextlib.ExitStack, command: list[str]) -> subprocess.Popen[str]:
    """A process that is gone at the end of the stack, whatever happens."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

    def stop() -> None:
        process.kill()
        process.communicate()

    stack.callback(stop)
    return process
