#!/usr/bin/python3
"""Calls the agent on a gateway: one call configures, reads back or measures it.

A module of Ansible's "jsonargs" kind, which is sent down the pipeline as it stands and needs nothing but python3 on
the gateway. That costs 0.04 s a task; a module with Ansible's own module_utils costs 0.5 s.
"""

# Marks the kind; Ansible puts the arguments here: <<INCLUDE_ANSIBLE_MODULE_JSON_ARGS>>

import json
import sys

DOCUMENTATION = """
module: gateway
short_description: Call the Wiretune agent on a gateway
description:
  - Runs one function of the agent in I(agent_folder) and returns its result, or an error that says whose fault it is.
options:
  call:
    description: Name of the function, see C(wiretune_agent/calls.py).
    type: str
    required: true
  agent_folder:
    description: Folder on the gateway that holds the package C(wiretune_agent).
    type: str
    required: true
  arguments:
    description: What the function takes.
    type: dict
    required: true
author: Wiretune
"""


def main() -> None:
    """Read the arguments that Ansible has put in, call, print the result."""
    parameters = json.loads("<<INCLUDE_ANSIBLE_MODULE_COMPLEX_ARGS>>")
    sys.path.insert(0, parameters["agent_folder"])
    from wiretune_agent.calls import dispatch  # noqa: PLC0415 - its place is known only now

    json.dump(dispatch(parameters["call"], parameters["arguments"]), sys.stdout)


main()
