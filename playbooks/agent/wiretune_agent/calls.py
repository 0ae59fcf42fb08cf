"""The agent's calls by name, and the one place where its errors become JSON."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from typing import Any

from wiretune_agent import facts, gateway, namespaces, readback, reference, traffic
from wiretune_agent.command import die_with_parent
from wiretune_agent.errors import AgentError

CALLS: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "create_namespaces": namespaces.create,
    "remove_namespaces": namespaces.remove,
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
    try:
        if call not in CALLS:
            raise AgentError(f"the agent has no call {call!r}")
        return {"changed": call not in ("facts", "verify", "measure", "reference"), "result": CALLS[call](arguments)}
    except AgentError as error:
        return {"failed": True, "msg": error.message, "error": error.as_json()}
    except Exception as error:  # noqa: BLE001 - a defect of the agent must reach the caller as JSON, with its place
        wrapped = AgentError(f"the agent failed: {type(error).__name__}: {error}", detail=traceback.format_exc())
        return {"failed": True, "msg": wrapped.message, "error": wrapped.as_json()}
