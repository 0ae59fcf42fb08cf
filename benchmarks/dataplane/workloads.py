"""What is measured between the gateways. All traffic is real: iperf3, ping, and udp_load of the io crate."""

import contextlib
import json
import re
import statistics
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from testbed import GATEWAYS, Engine, cpu_s, gateways, inside, tunnels

MAX_LOSS_RATIO = 0.001
STREAMS = 2
"""TCP streams over all lanes, at least one each."""


@dataclass(frozen=True)
class Throughput:
    gbps: float
    cpu_s_per_gbit: float


@dataclass(frozen=True)
class Latency:
    p50_us: float
    p99_us: float


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


def latency(engine: Engine, count: int, *, loaded: bool) -> Latency:
    """Round trips of `count` pings, 5 ms apart, through one tunnel; with `loaded` beside two TCP streams."""
    with gateways(), tunnels(engine, 1), contextlib.ExitStack() as stack:
        if loaded:
            _start(stack, inside(GATEWAYS[1], "iperf3", "-s", "-1", "-p", "5300"))
            time.sleep(0.5)
            seconds = str(int(count * 0.005) + 4)
            _start(stack, inside(GATEWAYS[0], "iperf3", "-c", "198.18.128.1", "-p", "5300", "-t", seconds, "-P", "2"))
            time.sleep(1)
        ping = _start(stack, inside(GATEWAYS[0], "ping", "-i", "0.005", "-c", str(count), "198.18.128.1"))
        output = ping.communicate(timeout=count * 0.05 + 60)[0]
    times = [float(ms) * 1000 for ms in re.findall(r"time=([\d.]+) ms", output)]
    if len(times) < count / 2:
        raise RuntimeError(f"{engine.name}: {count - len(times)} of {count} pings lost")
    return Latency(statistics.median(times), statistics.quantiles(times, n=100)[98])


def _start(stack: contextlib.ExitStack, command: list[str]) -> subprocess.Popen[str]:
    """A process that is gone at the end of the stack, whatever happens."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

    def stop() -> None:
        process.kill()
        process.communicate()

    stack.callback(stop)
    return process
