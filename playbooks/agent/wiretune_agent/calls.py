"""The agent's calls by name, and the one place where its errors become JSON."""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from typing import Any

from wiretune_agent import facts, gateway, host, lease, machines, namespaces, readback, reference, traffic
from wiretune_agent.command import die_with_parent
from wiretune_agent.errors import AgentError

CALLS: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "create_namespaces": namespaces.create,
    "remove_namespaces": namespaces.remove,
    "build_image": machines.build_image,
    "start_machines": machines.start,
    "remove_machines": machines.remove,
    "prepare_host": host.prepare,
    "release_host": host.release,
    "confirm": lease.confirm,
    "prepare": gateway.prepare,
    "facts": facts.gather,
    "apply": gateway.apply,
    "verify": readback.verify,
    "measure": traffic.measure,
    "reference": reference.measure,
    "rollback": gateway.rollback,
}


def dispatch(call: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Result of one call, or what went wrong, in the shape that an Ansible module returns."""
    die_with_parent()
    threading.Thread(target=_die_with_caller, daemon=True).start()
    try:
        if call not in CALLS:
            raise AgentError(f"the agent has no call {call!r}")
        return {"changed": call not in ("facts", "verify", "measure", "reference"), "result": CALLS[call](arguments)}
    except AgentError as error:
        return {"failed": True, "msg": error.message, "error": error.as_json()}
    except Exception as error:  # noqa: BLE001 - a defect of the agent must reach the caller as JSON, with its place
        wrapped = AgentError(f"the agent failed: {type(error).__name__}: {error}", detail=traceback.format_exc())
        return {"failed": True, "msg": wrapped.message, "error": wrapped.as_json()}


def _die_with_caller() -> None:
    """Be killed as soon as nobody reads our output any more: over SSH the caller is no ancestor of ours."""
    poll = select.poll()
    poll.register(sys.__stdout__.fileno() if sys.__stdout__ else 1, 0)  # POLLERR and POLLHUP always count.
    poll.poll()
    os.kill(os.getpid(), signal.SIGKILL)
