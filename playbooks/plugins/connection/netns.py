"""Runs modules inside a network namespace of this machine, as if it were a host of its own."""

from __future__ import annotations

import ctypes
import re
import shlex
import shutil
import signal
import subprocess
from pathlib import Path

from ansible.errors import AnsibleConnectionFailure, AnsibleFileNotFound
from ansible.module_utils.common.text.converters import to_text
from ansible.plugins.connection import ConnectionBase

DOCUMENTATION = """
name: netns
short_description: Execute on a network namespace of the controller
description:
  - Enters the namespace with C(ip netns exec) and gives it a C(/run/wireguard) of its own, because two gateways on one
    machine use the same interface names and would otherwise share the UAPI sockets of their data planes.
  - Everything a task started dies with the playbook that started it.
author: Wiretune
options:
  namespace:
    description: Name of the network namespace.
    type: str
    required: true
    vars:
      - name: netns_namespace
  uapi_folder:
    description: Folder that the namespace sees as C(/run/wireguard). It is made when it is missing.
    type: str
    required: true
    vars:
      - name: netns_uapi_folder
extends_documentation_fragment:
  - connection_pipelining
"""

NAMESPACE = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
NAMESPACE_FOLDER = Path("/run/netns")
UAPI_FOLDER = Path("/run/wireguard")
PR_SET_PDEATHSIG = 1

# `ip netns exec` has already made a mount namespace of its own, so the bind mount is seen by this command only.
ENTER = 'mount --bind "$1" /run/wireguard && shift && exec "$@"'

_libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent() -> None:
    """Be killed by the kernel as soon as the parent dies, however it dies."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Connection(ConnectionBase):
    """One network namespace."""

    transport = "netns"
    has_pipelining = True

    def _connect(self):
        namespace = self.get_option("namespace")
        if not NAMESPACE.fullmatch(namespace):
            raise AnsibleConnectionFailure(f"{namespace!r} is not a name of a network namespace")
        if not (NAMESPACE_FOLDER / namespace).exists():
            raise AnsibleConnectionFailure(f"network namespace {namespace} does not exist")
        die_with_parent()
        self._connected = True
        return self

    def exec_command(self, cmd, in_data=None, sudoable=True):
        """Run a command line of Ansible's in the namespace; returns its exit code, output and error output."""
        super().exec_command(cmd, in_data=in_data, sudoable=sudoable)
        uapi_folder = Path(self.get_option("uapi_folder"))
        for folder in (UAPI_FOLDER, uapi_folder):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        argv = ["ip", "netns", "exec", self.get_option("namespace"), "/bin/sh", "-c", ENTER, "netns"]
        with subprocess.Popen(
            [*argv, str(uapi_folder), *_shell_argv(to_text(cmd))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            preexec_fn=die_with_parent,  # noqa: PLW1509 - a worker of Ansible forks for each task, it has one thread
        ) as process:
            stdout, stderr = process.communicate(in_data)
        return process.returncode, stdout, stderr

    def put_file(self, in_path, out_path):
        """Both sides share one file system."""
        self._copy(in_path, out_path)

    def fetch_file(self, in_path, out_path):
        """Both sides share one file system."""
        self._copy(in_path, out_path)

    @staticmethod
    def _copy(source, target):
        if not Path(source).exists():
            raise AnsibleFileNotFound(f"{source} does not exist")
        shutil.copyfile(source, target)

    def close(self):
        """Nothing is kept open between commands."""
        self._connected = False


def _shell_argv(command: str) -> list[str]:
    """The command as arguments. Ansible hands over "/bin/sh -c '…'": run through one more shell, that shell would be a
    child without the request to be killed with its parent."""
    words = shlex.split(command)
    return words if words[:2] == ["/bin/sh", "-c"] and len(words) == 3 else ["/bin/sh", "-c", command]
