"""Running programs: argument lists only, always with a timeout, never outliving the one who asked."""

from __future__ import annotations

import ctypes
import functools
import json
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from wiretune_agent.errors import AgentError

PR_SET_PDEATHSIG = 1
PACKAGES = {
    "ip": "iproute2",
    "iperf3": "iperf3",
    "wg": "wireguard-tools",
    "wireguard-go": "wireguard-go",
    "dpdk-testpmd": "dpdk-dev",
    "taskset": "util-linux",
    "unshare": "util-linux",
    "tc": "iproute2",
    "ss": "iproute2",
    "qemu-system-x86_64": "qemu-system-x86",
    "mmdebstrap": "mmdebstrap",
    "mke2fs": "e2fsprogs",
}
"""Debian's package of each program."""

_libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent(parent_pid: int | None = None) -> None:
    """Be killed by the kernel as soon as the parent dies, however it dies. With `parent_pid` also if it has died before
    this was asked for: a child that is started just then would live on."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if parent_pid is not None and os.getppid() != parent_pid:
        os.kill(os.getpid(), signal.SIGKILL)


def missing_program(program: str) -> AgentError:
    """What to say when `program` is not installed."""
    name = Path(program).name
    package = PACKAGES.get(name)
    hint = f"install it: apt-get install {package}" if package else f"put {name} on the gateway's PATH"
    return AgentError(f"{name} is not installed on the gateway", hint=hint)


def run(argv: Sequence[str], *, stdin: str | None = None, timeout_s: float = 10.0) -> str:
    """Standard output of a program that succeeded. Raises AgentError when it fails, hangs or is not installed."""
    result = attempt(argv, stdin=stdin, timeout_s=timeout_s)
    if result.returncode != 0:
        detail = (result.stderr or result.stdout).strip()
        raise AgentError(
            f"{' '.join(argv[:6])} failed with exit code {result.returncode}: {detail[:300]}", detail=detail
        )
    return result.stdout


def attempt(
    argv: Sequence[str], *, stdin: str | None = None, timeout_s: float = 10.0
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, whatever its exit code. Raises AgentError when it hangs or is not installed."""
    try:
        return subprocess.run(
            list(argv),
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
            preexec_fn=functools.partial(die_with_parent, os.getpid()),
        )
    except FileNotFoundError:
        raise missing_program(argv[0]) from None
    except subprocess.TimeoutExpired:
        raise AgentError(f"{argv[0]} did not finish within {timeout_s:g} s", detail=" ".join(argv)) from None


def run_json(argv: Sequence[str], *, timeout_s: float = 10.0) -> Any:
    """Standard output of a program, parsed as JSON; an empty output is an empty list, as `ip -j` means it."""
    text = run(argv, timeout_s=timeout_s)
    return json.loads(text) if text.strip() else []


def spawn(
    argv: Sequence[str], *, stdin: int | IO[bytes] = subprocess.DEVNULL, env: Mapping[str, str] | None = None
) -> subprocess.Popen[str]:
    """Start a program that ends with the caller, its output in pipes. Raises AgentError when it is not installed."""
    try:
        return subprocess.Popen(
            list(argv),
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env={**os.environ, **(env or {})},
            preexec_fn=functools.partial(die_with_parent, os.getpid()),  # noqa: PLW1509 - the agent has one thread
        )
    except FileNotFoundError:
        raise missing_program(argv[0]) from None
