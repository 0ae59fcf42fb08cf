#!/usr/bin/python3
"""Brings the agent to a host: a module of Ansible's "jsonargs" kind that needs nothing there but python3 and root."""

# Marks the kind; Ansible puts the arguments here: <<INCLUDE_ANSIBLE_MODULE_JSON_ARGS>>

import base64
import errno
import json
import os
import subprocess
import sys
from pathlib import Path

DOCUMENTATION = """
module: bootstrap
short_description: Put the Wiretune agent on a host
description:
  - Writes the agent under the testbed's state folder, as one archive; where C(/run) itself forbids programs, into a
    small file system in memory that is mounted there. Nothing of it outlasts a reboot.
options:
  state_folder: {description: The testbed's folder on the host., type: path, required: true}
  programs_folder: {description: Folder below it for programs., type: path, required: true}
  archive: {description: "The agent, a zip archive in base64.", type: str, required: true}
author: Wiretune
"""

SIZE_MIB = 64


def main() -> None:
    """Make the folders, write the archive, print the result."""
    arguments = json.loads("<<INCLUDE_ANSIBLE_MODULE_COMPLEX_ARGS>>")
    try:
        if os.geteuid() != 0:
            raise OSError("a gateway needs root: log in as root, or set become")
        folder = Path(arguments["programs_folder"])
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.parent.chmod(0o700)
        if os.statvfs(folder).f_flag & os.ST_NOEXEC:
            options = f"mode=0700,size={SIZE_MIB}m,nosuid,nodev,exec"
            subprocess.run(["mount", "-t", "tmpfs", "-o", options, "wiretune", str(folder)], check=True)
        new = folder / "agent.zip.new"
        new.write_bytes(base64.b64decode(arguments["archive"]))
        new.replace(folder / "agent.zip")
    except (OSError, subprocess.CalledProcessError) as error:
        message = f"the agent cannot be put on the host: {error}"
        full = isinstance(error, OSError) and error.errno == errno.ENOSPC
        hint = "free some space on the host: /run and /tmp are used" if full else ""
        told = {"message": message, "blame": "lab", "hint": hint}
        json.dump({"failed": True, "msg": message, "error": told}, sys.stdout)
        return
    json.dump({"changed": True, "result": {}}, sys.stdout)


main()
