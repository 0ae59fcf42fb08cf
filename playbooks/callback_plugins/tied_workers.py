"""Ties Ansible's workers to it: the kernel kills them as soon as it dies, however it dies."""

from __future__ import annotations

import ctypes
import os
import signal

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: tied_workers
type: aggregate
short_description: Workers end with Ansible
description:
  - A killed ansible-playbook would leave its workers, and with them the connections to the hosts.
author: Wiretune
"""

PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None)


def _die_with_parent() -> None:
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class CallbackModule(CallbackBase):
    """Does its work as it is loaded."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "tied_workers"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        os.register_at_fork(after_in_child=_die_with_parent)
