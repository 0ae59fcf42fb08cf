"""Measuring on both gateways at the same time: gateway a leads, gateway b follows, each counts for itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from wiretune_agent import iperf3, lease, pktgen
from wiretune_agent.errors import AgentError
from wiretune_agent.reachability import DISCARD_PORT, Link, reach
from wiretune_agent.rendezvous import Answerer, Caller
from wiretune_agent.surroundings import Surroundings, interface_of
from wiretune_agent.window import EngineWatch

LANE_PROBE_TIMEOUT_S = 2.0


@dataclass(frozen=True)
class Setup:
    """What both tools need to know of the gateway they run on."""

    inner_address: str
    far_inner_address: str
    devices: int
    mtu: int
    state_folder: Path
    probe_lanes: tuple[str, ...]
    watch: EngineWatch
    link: Link
    data_plane_cpus: frozenset[int] = frozenset()

    def blame(self, error: AgentError) -> AgentError:
        """The same error, blamed on the candidate if its data plane is dead or a lane no longer answers while the link
        does."""
        try:
            self.watch.check()
        except AgentError as dead:
            return dead
        silent = self._silent(self.probe_lanes)
        if not silent or error.blame == "candidate":
            return error
        if dead_link := self.link.fault(error):
            return dead_link
        silent = self._silent(silent)  # The link may have come back just now, and the lanes with it.
        if not silent:
            return error
        return AgentError(
            f"the tunnel stopped carrying traffic ({', '.join(silent)} silent): {error.message}",
            blame="candidate",
            hint=error.hint,
            detail=error.detail,
        )

    @staticmethod
    def _silent(lanes: Sequence[str]) -> list[str]:
        return [address for address in lanes if reach(address, DISCARD_PORT, LANE_PROBE_TIMEOUT_S)]


class Follower(Protocol):
    """Gateway b's part of one workload, step by step."""

    def prepare(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """Everything up to the moment before the traffic that counts."""
        ...

    def opened(self) -> None:
        """The window has opened."""
        ...

    def closing(self) -> None:
        """The window is about to close."""
        ...

    def finish(self) -> dict[str, Any]:
        """Stop what `prepare` started; returns what is worth reporting."""
        ...


def measure(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Run all workloads. `arguments`: gateway, state_folder, underlay_address, far_underlay_address, rendezvous_port,
    token, inner_address, far_inner_address, devices, mtu, probe_lanes, data_plane_cpus, workloads (as
    tuner's Workload).

    Returns per workload the counters as the window opened and closed, what else happened on the gateway around it, and
    on the leading side what the tools said.
    """
    if arguments["lease_s"]:
        lease.confirm(arguments)
    watch = EngineWatch(Path(arguments["state_folder"]))
    setup = Setup(
        inner_address=arguments["inner_address"],
        far_inner_address=arguments["far_inner_address"],
        devices=arguments["devices"],
        mtu=arguments["mtu"],
        state_folder=Path(arguments["state_folder"]),
        probe_lanes=tuple(arguments["probe_lanes"]),
        watch=watch,
        link=Link(arguments["far_underlay_address"], arguments["rendezvous_port"]),
        data_plane_cpus=frozenset(arguments["data_plane_cpus"]),
    )
    if arguments["gateway"] == "a":
        return {"workloads": _lead(setup, arguments)}
    return {"workloads": _follow(setup, arguments)}


def _lead(setup: Setup, arguments: Mapping[str, Any]) -> list[dict[str, Any]]:
    link = interface_of(arguments["underlay_address"])
    caller = Caller(
        arguments["underlay_address"],
        arguments["far_underlay_address"],
        arguments["rendezvous_port"],
        arguments["token"],
    )
    results = []
    try:
        for index, workload in enumerate(arguments["workloads"]):
            lead = iperf3.lead if workload["tool"] == "iperf3" else pktgen.lead
            surroundings = Surroundings(setup.state_folder, link)
            measured = lead(setup, caller, index, workload)
            results.append({**measured, "surroundings": surroundings.report()})
        caller.ask("done")
    except AgentError as error:
        blamed = setup.blame(error)
        caller.give_up(blamed)
        raise blamed from error
    finally:
        caller.close()
    return results


def _follow(setup: Setup, arguments: Mapping[str, Any]) -> list[dict[str, Any]]:
    link = interface_of(arguments["underlay_address"])
    answerer = Answerer(arguments["underlay_address"], arguments["rendezvous_port"], arguments["token"])
    follower: Follower | None = None
    results: list[dict[str, Any]] = []
    # The first look is beside gateway a's, not after it.
    surroundings = Surroundings(setup.state_folder, link)

    def handle(message: dict[str, Any]) -> dict[str, Any]:
        nonlocal follower, surroundings
        match message.get("step"):
            case "prepare":
                index = int(message["workload"])
                if index > 0:
                    surroundings = Surroundings(setup.state_folder, link)
                workload = arguments["workloads"][index]
                kind = iperf3.Server if workload["tool"] == "iperf3" else pktgen.FarEnd
                follower = kind(setup, workload)
                return follower.prepare(message)
            case "open" if follower is not None:
                results.append({"opened": setup.watch.moment()})
                follower.opened()
                return {}
            case "close" if follower is not None:
                follower.closing()
                results[-1]["closed"] = setup.watch.moment()
                return {}
            case "drained":
                results[-1]["drained_net_dev"] = setup.watch.moment()["net_dev"]
                return {}
            case "finish" if follower is not None:
                results[-1] |= follower.finish()
                results[-1]["surroundings"] = surroundings.report()
                follower = None
                return {}
            case step:
                raise AgentError(f"gateway a asked for an unknown step {step!r}")

    try:
        answerer.serve(handle, setup.watch.check)
    except AgentError as error:
        raise setup.blame(error) from error
    finally:
        answerer.close()
        if follower is not None:
            follower.finish()
    return results
