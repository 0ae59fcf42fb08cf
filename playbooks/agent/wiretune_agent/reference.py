"""What the hosts can do without a tunnel: TCP over the underlay, and the AEAD on one CPU of each gateway.

It needs no candidate and says nothing about one. Both gateways take part, as in `traffic`; the AEAD runs on one after
the other, since both may be one machine.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wiretune_agent import engines, iperf3
from wiretune_agent.command import attempt, run
from wiretune_agent.errors import AgentError
from wiretune_agent.reachability import Link
from wiretune_agent.rendezvous import Answerer, Caller
from wiretune_agent.traffic import Setup
from wiretune_agent.window import NoEngine


def measure(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """`arguments`: gateway, state_folder, underlay_address, far_underlay_address, rendezvous_port, token, workload,
    packet_bytes, wirelane_paths. Returns on gateway a what iperf3 said, and on both what the AEAD did."""
    setup = Setup(
        inner_address=arguments["underlay_address"],
        far_inner_address=arguments["far_underlay_address"],
        devices=1,
        mtu=arguments["packet_bytes"],
        state_folder=Path(arguments["state_folder"]),
        probe_lanes=(),
        watch=NoEngine(),
        link=Link(arguments["far_underlay_address"], arguments["rendezvous_port"]),
    )
    return _lead(setup, arguments) if arguments["gateway"] == "a" else _follow(setup, arguments)


def _lead(setup: Setup, arguments: Mapping[str, Any]) -> dict[str, Any]:
    caller = Caller(setup.inner_address, setup.far_inner_address, arguments["rendezvous_port"], arguments["token"])
    workload = arguments["workload"]
    try:
        planned = iperf3.plan(1, workload)
        version = run(["iperf3", "--version"]).splitlines()[0]
        caller.ask("prepare", workload=0, flows=[iperf3.as_json(flow) for flow in planned])
        argvs = [iperf3.client_argv(setup, workload, flow, flow.source_ports[0]) for flow in planned]
        outputs = iperf3.run_clients(setup, caller, argvs, iperf3.run_time_s(workload))
        caller.ask("finish")
        aead = _aead_rate(arguments)
        caller.ask("aead")
        caller.ask("done")
    except AgentError as error:
        caller.give_up(error)
        raise
    finally:
        caller.close()
    return {"outputs": outputs, "argv": argvs, "tool_version": version, "aead": aead}


def _follow(setup: Setup, arguments: Mapping[str, Any]) -> dict[str, Any]:
    answerer = Answerer(setup.inner_address, arguments["rendezvous_port"], arguments["token"])
    server = iperf3.Server(setup, arguments["workload"])
    result: dict[str, Any] = {"argv": [], "aead": None}

    def handle(message: dict[str, Any]) -> dict[str, Any]:
        match message.get("step"):
            case "prepare":
                server.prepare(message)
            case "finish":
                result["argv"] = server.finish()["argv"]
            case "aead":
                result["aead"] = _aead_rate(arguments)
            case step:
                raise AgentError(f"gateway a asked for an unknown step {step!r}")
        return {}

    try:
        answerer.serve(handle, lambda: None)
    finally:
        answerer.close()
        server.finish()
    return result


def _aead_rate(arguments: Mapping[str, Any]) -> Any:
    """None where there is no wirelane that could tell."""
    program = engines.find(arguments["wirelane_paths"])
    if program is None:
        return None
    answer = attempt([program, "aead-rate", "--json", "--packet-bytes", str(arguments["packet_bytes"])])
    try:
        return json.loads(answer.stdout) if answer.returncode == 0 else None
    except ValueError:
        return None  # An older wirelane; what it lacks is a figure, not a fault.
