"""Starting and stopping the data plane: a process for wirelane, one a lane for wireguard-go, none for the kernel."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import stat
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from wiretune_agent import control, kernel_wireguard, keys
from wiretune_agent.command import attempt, missing_program, run
from wiretune_agent.errors import AgentError
from wiretune_agent.processes import POLL_S, Process, ancestors, stop

RECORD = "engine.json"
LANES_RECORD = "lanes.json"
NETWORK = Path("/sys/class/net")
TUN = Path("/dev/net/tun")
UAPI_FOLDER = Path("/run/wireguard")
START_TIMEOUT_S = 20.0
LOG_TAIL_BYTES = 2000


def available(engine: str, paths: Sequence[str]) -> bool:
    """Whether this gateway can run the engine: a program that is there may still lack its libraries or its kernel."""
    if engine == "kernel":
        return kernel_wireguard.present()
    program = find(paths)
    return program is not None and attempt([program, "--version"], timeout_s=15).returncode == 0


def find(paths: Sequence[str]) -> str | None:
    """The first of the given programs (names on the PATH, or paths) that can be executed."""
    return next((found for path in paths if (found := shutil.which(path))), None)


def start(state_folder: Path, arguments: Mapping[str, Any]) -> None:
    """Start the engine of `arguments` (see `gateway.apply`); returns when every lane forwards."""
    for lane in arguments["lanes"]:
        _require_free(lane)
    (state_folder / control.NAME).unlink(missing_ok=True)  # of a wirelane that was killed
    # In a bond all lanes are of one device.
    devices = list(dict.fromkeys(lane["interface"] for lane in arguments["lanes"]))
    (state_folder / LANES_RECORD).write_text(json.dumps(devices))
    try:
        if arguments["engine"] == "kernel":
            _start_kernel(state_folder, arguments)
            return
        _require_tun()
        program = find(arguments["engine_paths"])
        if program is None:
            raise missing_program(arguments["engine_paths"][0])
        if arguments["engine"] == "wirelane":
            _start_wirelane(state_folder, program, arguments)
        else:
            _start_wireguard_go(state_folder, program, arguments)
    except BaseException:
        stop_recorded(state_folder)
        raise


def recorded(state_folder: Path) -> list[Process]:
    """The engine's processes, or its kernel threads, as `start` left them; empty when none was started."""
    with contextlib.suppress(FileNotFoundError, ValueError, TypeError, KeyError):
        return [Process(int(pid), int(ticks)) for pid, ticks in json.loads((state_folder / RECORD).read_text())]
    return []


def lanes_of(state_folder: Path) -> list[str]:
    """The devices of the engine that `start` has started; empty when none was."""
    with contextlib.suppress(FileNotFoundError, ValueError):
        return [str(interface) for interface in json.loads((state_folder / LANES_RECORD).read_text())]
    return []


def fault(state_folder: Path) -> str | None:
    """What is missing of the engine that was started: a process that died, a lane that is gone; None: all is there."""
    for process in recorded(state_folder):
        if not process.alive:
            return f"process {process.pid} is gone"
    for interface in lanes_of(state_folder):
        if not (NETWORK / interface).exists():
            return f"{interface} is gone"
    return None


def stop_recorded(state_folder: Path, namespace: str = "") -> None:
    """End the engine that `start` had started here, if it still runs, and remove lanes that outlived it.

    `namespace`: where the lanes are, for a caller outside of it.
    """
    own = ancestors()
    # Kernel threads heed no signal: they end with their device.
    stop(one for one in recorded(state_folder) if one.pid not in own and not one.of_kernel)
    lanes = lanes_of(state_folder)
    if lanes:
        # Most are gone with their engine, or go just now: no complaint then.
        argv = ["ip", *(["-n", namespace] if namespace else []), "-force", "-batch", "-"]
        attempt(argv, stdin="".join(f"link delete {interface}\n" for interface in lanes))
    for record in (RECORD, LANES_RECORD):
        (state_folder / record).unlink(missing_ok=True)


def log_tail(state_folder: Path) -> str:
    """The last lines that the engine wrote."""
    texts = []
    for path in sorted(state_folder.glob("engine*.log")):
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - LOG_TAIL_BYTES))
            texts.append(file.read().decode(errors="replace").strip())
    return "\n".join(text for text in texts if text)[-LOG_TAIL_BYTES:]


def _start_wirelane(state_folder: Path, program: str, arguments: Mapping[str, Any]) -> None:
    config = state_folder / "wirelane.toml"
    config.write_text(arguments["config"])
    log = state_folder / "engine.log"
    process = _launch(state_folder, [program, "run", "--config", str(config)], log)
    _wait(
        [process], state_folder, lambda: any(line == "ready" for line in log.read_text(errors="replace").splitlines())
    )


def _start_wireguard_go(state_folder: Path, program: str, arguments: Mapping[str, Any]) -> None:
    lanes = arguments["lanes"]
    confined = ["taskset", "--cpu-list", arguments["process_cpu_set"]] if arguments["process_cpu_set"] else []
    started = []
    for lane in lanes:
        interface = lane["interface"]
        (UAPI_FOLDER / f"{interface}.sock").unlink(missing_ok=True)
        log = state_folder / f"engine-{interface}.log"
        started.append(_launch(state_folder, [*confined, program, "-f", interface], log))
    _wait(started, state_folder, lambda: all((UAPI_FOLDER / f"{lane['interface']}.sock").exists() for lane in lanes))
    _configure(state_folder, arguments)


def _start_kernel(state_folder: Path, arguments: Mapping[str, Any]) -> None:
    kernel_wireguard.make_devices(arguments["lanes"])
    _configure(state_folder, arguments)
    if arguments["threaded_napi"]:
        for thread in kernel_wireguard.thread_receivers(
            arguments["lanes"], arguments["stage_cpu_sets"].get("napi", [])
        ):
            _record(state_folder, thread)


def _configure(state_folder: Path, arguments: Mapping[str, Any]) -> None:
    """Keys, peer, address, MTU and routes of devices that take them from `wg` and `ip`."""
    lanes = arguments["lanes"]
    for index, lane in enumerate(lanes):
        peer = ["peer", lane["peer_public_key"], "endpoint", lane["endpoint"]]
        peer += ["allowed-ips", ",".join(lane["allowed_ips"])]
        private_key = ["private-key", str(keys.path(state_folder, index))]
        run(["wg", "set", lane["interface"], "listen-port", str(lane["listen_port"]), *private_key, *peer])
    commands = []
    for lane in lanes:
        commands.append(f"address add {lane['address']} dev {lane['interface']}")
        commands.append(f"link set {lane['interface']} mtu {arguments['mtu']} up")
    nexthops = " ".join(f"nexthop dev {lane['interface']}" for lane in lanes)
    for route in arguments["routes"]:
        commands.append(f"route replace {route} src {arguments['route_source']} {nexthops}")
    run(["ip", "-batch", "-"], stdin="\n".join(commands) + "\n")


def _launch(state_folder: Path, argv: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    """Start a process that outlives this call, and record it before anything else can go wrong."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        process = subprocess.Popen(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=descriptor,
            start_new_session=True,
            env={**os.environ, "LOG_LEVEL": "error"},
            cwd="/",
        )
    finally:
        os.close(descriptor)
    identity = Process.of(process.pid)
    if identity is not None:
        _record(state_folder, identity)
    return process


def _record(state_folder: Path, process: Process) -> None:
    (state_folder / RECORD).write_text(json.dumps([*recorded(state_folder), process]))


def _wait(started: Sequence[subprocess.Popen[bytes]], state_folder: Path, ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while not ready():
        for process in started:
            if process.poll() is not None:
                raise AgentError(
                    f"{Path(str(process.args[0])).name} ended with exit code {process.returncode} as it started: "  # type: ignore[index]
                    + log_tail(state_folder)[-300:],
                    blame="candidate",
                    detail=log_tail(state_folder),
                )
        if time.monotonic() > deadline:
            raise AgentError(
                f"the engine was not ready within {START_TIMEOUT_S:g} s",
                blame="candidate",
                detail=log_tail(state_folder),
            )
        time.sleep(POLL_S)


def _require_tun() -> None:
    hint = "load it: modprobe tun; in a container, pass the device: --device /dev/net/tun"
    try:
        if not stat.S_ISCHR(TUN.stat().st_mode):
            raise AgentError(f"{TUN} is not a device", hint=hint)
        os.close(os.open(TUN, os.O_RDWR))
    except OSError as error:
        raise AgentError(f"the gateway has no TUN device: {TUN}: {error.strerror}", hint=hint) from error


def _require_free(lane: Mapping[str, Any]) -> None:
    port, interface = lane["listen_port"], lane["interface"]
    if (NETWORK / interface).exists():
        raise AgentError(
            f"the gateway has an interface {interface} that is not of this testbed",
            hint="remove or rename it, or tear down the testbed that made it",
        )
    listeners = attempt(["ss", "-H", "-u", "-n", "-a", "-p", f"sport = :{port}"]).stdout.strip()
    if listeners:
        raise AgentError(
            f"UDP port {port} of the gateway is in use",
            hint="stop the program that holds it, or tear the testbed down and provision it again",
            detail=listeners,
        )
