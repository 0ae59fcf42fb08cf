#!/usr/bin/python3
"""Brings the agent to a host: a module of Ansible's "jsonargs" kind that needs nothing there but python3 and root."""

# Marks the kind; Ansible puts the arguments here: <<INCLUDE_ANSIBLE_MODULE_JSON_ARGS>>

import base64
import contextlib
import errno
import json
import os
import shutil
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


def bring(folder: Path, archive: bytes) -> None:
    """Put the archive into a folder that programs may run from. Nothing is written where it is there already: taking a
    testbed off a host that is full needs no space."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.parent.chmod(0o700)
    if os.statvfs(folder).f_flag & os.ST_NOEXEC:
        options = f"mode=0700,size={SIZE_MIB}m,nosuid,nodev,exec"
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "wiretune", str(folder)], check=True)
    agent, new = folder / "agent.zip", folder / "agent.zip.new"
    if agent.exists() and agent.read_bytes() == archive:
        return
    try:
        new.write_bytes(archive)
        new.replace(agent)
    finally:
        new.unlink(missing_ok=True)


def take_away(state_folder: Path, programs_folder: Path) -> None:
    """What a call that failed has made, so that a host that is refused keeps nothing."""
    with contextlib.suppress(OSError):  # No such program: then nothing was mounted.
        subprocess.run(["umount", "--lazy", str(programs_folder)], check=False, capture_output=True)
    shutil.rmtree(state_folder, ignore_errors=True)
    with contextlib.suppress(OSError):  # Another testbed has something there, or it never was.
        state_folder.parent.rmdir()


def main() -> None:
    """Make the folders, write the archive, print the result."""
    arguments = json.loads("<<INCLUDE_ANSIBLE_MODULE_COMPLEX_ARGS>>")
    state_folder, programs_folder = Path(arguments["state_folder"]), Path(arguments["programs_folder"])
    was_there = state_folder.exists()
    try:
        if os.geteuid() != 0:
            raise OSError("a gateway needs root: log in as root, or set become")
        bring(programs_folder, base64.b64decode(arguments["archive"]))
    except (OSError, subprocess.CalledProcessError) as error:
        if not was_there:
            take_away(state_folder, programs_folder)
        message = f"the agent cannot be put on the host: {error}"
        full = isinstance(error, OSError) and error.errno == errno.ENOSPC
        hint = "free some space on the host: /run and /tmp are used" if full else ""
        told = {"message": message, "blame": "lab", "hint": hint}
        json.dump({"failed": True, "msg": message, "error": told}, sys.stdout)
        return
    json.dump({"changed": True, "result": {}}, sys.stdout)


main()
