"""iperf3: one process and one server a flow, because it is single-threaded before 3.16 and ports are chosen a flow."""

from __future__ import annotations

import contextlib
import json
import math
import random
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from wiretune_agent import flows
from wiretune_agent.command import run, spawn
from wiretune_agent.echo import LaneEcho
from wiretune_agent.errors import AgentError

if TYPE_CHECKING:
    from wiretune_agent.rendezvous import Caller
    from wiretune_agent.traffic import Setup

SERVER_PORTS = range(40000, 50000)
SOURCE_PORTS = range(10000, 30000)
LISTEN_TIMEOUT_S = 5.0
EXTRA_TIME_S = 10.0
POLL_S = 0.02
UDP_AND_IPV4_BYTES = 28
UNPACED_BITS_PER_S = 100_000_000_000
"""`-b 0` overruns iperf3's own buffers, so that "as fast as it can" is a pace that no sender reaches."""
MAX_OUTPUT_CHARACTERS = 200_000


class Flow(NamedTuple):
    """One client and its server. A reverse flow's data comes from gateway b; the client runs at a all the same."""

    lane: int
    reverse: bool
    server_port: int
    source_ports: range


def lead(setup: Setup, caller: Caller, index: int, workload: Mapping[str, Any]) -> dict[str, Any]:
    """Gateway a's part of one workload: choose ports, run the clients inside the window."""
    planned = plan(setup.devices, workload)
    version = run(["iperf3", "--version"]).splitlines()[0]
    back = caller.ask("prepare", workload=index, flows=[as_json(flow) for flow in planned])["lanes"]
    there = flows.lanes_of(_paths(setup.inner_address, setup.far_inner_address, workload["protocol"], planned))
    argvs = []
    for number, flow in enumerate(planned):
        width = len(flow.source_ports)
        at_a, at_b = there[number * width :][:width], back[number * width :][:width]
        data, acknowledgements = (at_b, at_a) if flow.reverse else (at_a, at_b)
        chosen = flows.choose(data, acknowledgements, flow.lane)
        if chosen is None:
            raise AgentError(f"no port of {width} leads a flow to lane {flow.lane}", blame="candidate")
        argvs.append(client_argv(setup, workload, flow, flow.source_ports[chosen]))
    caller.ask("open")
    opened = setup.watch.moment()
    echo = LaneEcho(setup.probe_lanes) if workload.get("latency_probe") else None
    with echo or contextlib.nullcontext():
        outputs = run_clients(setup, caller, argvs, run_time_s(workload), echo)
    closed = setup.watch.moment()
    caller.ask("close")
    caller.ask("finish")
    return {
        "opened": opened,
        "closed": closed,
        "argv": argvs,
        "outputs": outputs,
        "reversed": [flow.reverse for flow in planned],
        "tool_version": version,
        "warnings": flows.uneven(workload["flows"], setup.devices),
        "round_trips_ms": echo.round_trips_ms if echo else [],
        "echoes_sent": echo.sent if echo else 0,
    }


class Server:
    """Gateway b's part: one server a flow, each for one run only, since a lasting one can get stuck busy."""

    def __init__(self, setup: Setup, workload: Mapping[str, Any]) -> None:
        self._setup, self._workload = setup, workload
        self._servers: list[subprocess.Popen[str]] = []
        self._argvs: list[list[str]] = []

    def prepare(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """Start the servers, which end with this process; returns the lanes of the way back, for every candidate port.

        iperf3 3.9 of Ubuntu 22.04 knows no --idle-timeout.
        """
        planned = [_from_json(flow) for flow in message["flows"]]
        for flow in planned:
            argv = ["iperf3", "-s", "-1", "-B", self._setup.inner_address, "-p", str(flow.server_port)]
            self._argvs.append(argv)
            self._servers.append(spawn(argv))
        paths = _paths(self._setup.far_inner_address, self._setup.inner_address, self._workload["protocol"], planned)
        lanes = flows.lanes_of(
            [
                path._replace(
                    source=path.destination,
                    destination=path.source,
                    source_port=path.destination_port,
                    destination_port=path.source_port,
                )
                for path in paths
            ]
        )
        self._await_listening([flow.server_port for flow in planned])
        return {"lanes": lanes}

    def opened(self) -> None:
        """The clients do everything."""

    def closing(self) -> None:
        """As above."""

    def finish(self) -> dict[str, Any]:
        """End the servers that have not ended by themselves."""
        _end(self._servers)
        return {"argv": self._argvs}

    def _await_listening(self, ports: Sequence[int]) -> None:
        deadline = time.monotonic() + LISTEN_TIMEOUT_S
        table = Path("/proc/net/tcp6" if ":" in self._setup.inner_address else "/proc/net/tcp")
        while not set(ports) <= listening_ports(table.read_text()):
            for server, port in zip(self._servers, ports, strict=True):
                if server.poll() is not None:
                    output = "".join(server.communicate(timeout=1)).strip()
                    raise AgentError(f"iperf3's server on port {port} ended at once: {output[-300:]}", detail=output)
            if time.monotonic() > deadline:
                raise AgentError(f"iperf3's servers did not listen within {LISTEN_TIMEOUT_S:g} s")
            time.sleep(POLL_S / 4)


def plan(lanes: int, workload: Mapping[str, Any]) -> list[Flow]:
    """The flows of a workload, each with the lane it is meant for and the ports to choose from."""
    directions = {"forward": [False], "reverse": [True], "both": [False, True]}[workload["direction"]]
    count = workload["flows"] * len(directions)
    width = flows.candidates_per_flow(lanes)
    first_server = random.randrange(SERVER_PORTS.start, SERVER_PORTS.stop - count)  # noqa: S311 - spreads ports, no secret
    planned = []
    for number in range(count):
        start = random.randrange(SOURCE_PORTS.start, SOURCE_PORTS.stop - width)  # noqa: S311 - as above
        planned.append(
            Flow(
                lane=(number % workload["flows"]) % lanes,
                reverse=directions[number // workload["flows"]],
                server_port=first_server + number,
                source_ports=range(start, start + width),
            )
        )
    return planned


def client_argv(setup: Setup, workload: Mapping[str, Any], flow: Flow, source_port: int) -> list[str]:
    """The exact command line of one flow's client."""
    argv = ["iperf3", "-c", setup.far_inner_address, "-B", setup.inner_address, "-p", str(flow.server_port)]
    argv += ["--cport", str(source_port), "-t", str(run_time_s(workload)), "-i", "0", "-J"]
    argv += ["--connect-timeout", "3000"]
    if flow.reverse:
        argv.append("-R")
    if workload["protocol"] == "udp":
        load_gbps = workload["offered_load_gbps"]
        bits_per_s = UNPACED_BITS_PER_S if load_gbps is None else load_gbps * 1e9
        payload_bytes = (workload["packet_bytes"] or setup.mtu) - UDP_AND_IPV4_BYTES
        argv += ["-u", "-b", str(max(1, round(bits_per_s / workload["flows"]))), "-l", str(payload_bytes)]
    return argv


def run_time_s(workload: Mapping[str, Any]) -> int:
    """iperf3 counts in whole seconds."""
    return math.ceil(float(workload["duration_s"]))


def listening_ports(proc_net_tcp: str) -> set[int]:
    """Local ports in state LISTEN (0A) out of /proc/net/tcp or tcp6 (proc(5))."""
    rows = (line.split() for line in proc_net_tcp.splitlines()[1:])
    return {int(row[1].rpartition(":")[2], 16) for row in rows if len(row) > 3 and row[3] == "0A"}


def run_clients(
    setup: Setup, caller: Caller, argvs: Sequence[list[str]], duration_s: float, echo: LaneEcho | None = None
) -> list[str]:
    """Standard output of every client, all of them run at the same time, with echo requests beside them."""
    deadline = time.monotonic() + duration_s + EXTRA_TIME_S
    clients: list[subprocess.Popen[str]] = []
    try:
        for argv in argvs:
            clients.append(spawn(argv))
        while any(client.poll() is None for client in clients):
            setup.watch.check()
            caller.check()
            if time.monotonic() > deadline:
                raise AgentError(f"iperf3 did not finish within {duration_s + EXTRA_TIME_S:g} s and was ended")
            if any(client.poll() not in (None, 0) for client in clients):
                break
            if echo is not None:
                echo.collect()
                echo.send()
            time.sleep(POLL_S if echo is None else POLL_S / 4)
        if echo is not None:
            echo.collect()
        finished = [client for client in clients if client.poll() is not None]
        return [_checked(client.returncode, *client.communicate(timeout=1)) for client in finished]
    finally:
        _end(clients)


def error_of(output: str) -> str | None:
    """The reason for which iperf3 gave up; None for a report. With -J it exits with 0 even then (seen with 3.12)."""
    try:
        report = json.loads(output)
    except ValueError:
        return output.strip()[-300:] or "it said nothing"
    return str(report["error"])[:300] if isinstance(report, dict) and "error" in report else None


def _checked(exit_code: int, output: str, errors: str) -> str:
    reason = error_of(output)
    if reason is not None or exit_code != 0:
        raise AgentError(f"iperf3 failed: {reason or errors.strip()[-300:]}", detail=output + errors)
    if len(output) > MAX_OUTPUT_CHARACTERS:
        raise AgentError("iperf3 wrote an implausible amount of output")
    return output


def _end(processes: Sequence[subprocess.Popen[str]]) -> None:
    for process in processes:
        if process.poll() is None:
            process.kill()
    for process in processes:
        with contextlib.suppress(subprocess.TimeoutExpired, ValueError):  # ValueError: its output was read before.
            process.communicate(timeout=5)


def _paths(source: str, destination: str, protocol: str, planned: Sequence[Flow]) -> list[flows.Path4]:
    """Every candidate of every flow, as gateway a sends it."""
    return [
        flows.Path4(protocol, source, destination, source_port, flow.server_port)
        for flow in planned
        for source_port in flow.source_ports
    ]


def as_json(flow: Flow) -> list[Any]:
    return [flow.lane, flow.reverse, flow.server_port, flow.source_ports.start, flow.source_ports.stop]


def _from_json(fields: Sequence[Any]) -> Flow:
    lane, is_reverse, server_port, start, stop = fields
    return Flow(int(lane), bool(is_reverse), int(server_port), range(int(start), int(stop)))
