"""Two gateways in network namespaces, each with a network behind it, and a data plane between them."""

import contextlib
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
GATEWAYS = ("wlbench-a", "wlbench-b")
"""Gateways; the hosts behind them are these names with "-lan" appended."""
MTU = 1420


@dataclass(frozen=True)
class Engine:
    """A program that is started as `PATH -f IFNAME` and configured with wg."""

    name: str
    path: Path
    environment: dict[str, str] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()


def run(*command: str, stdin: str | None = None) -> str:
    """Run a program to its end; its output. A failure names the command and what it said."""
    done = subprocess.run(command, check=False, text=True, capture_output=True, input=stdin)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def inside(namespace: str, *command: str) -> list[str]:
    return ["ip", "netns", "exec", namespace, *command]


def cpu_s(processes: list[subprocess.Popen[str]]) -> float:
    """CPU time of the processes so far, user and system."""
    total = 0
    for process in processes:
        fields = Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICKS_PER_S


def _delete_namespaces() -> None:
    for gateway in GATEWAYS:
        for namespace in (gateway, f"{gateway}-lan"):
            subprocess.run(["ip", "netns", "del", namespace], check=False, capture_output=True)


def _connect(left: tuple[str, str, str], right: tuple[str, str, str]) -> None:
    """A veth pair; each end is (namespace, device, address)."""
    run("ip", "link", "add", left[1], "netns", left[0], "type", "veth", "peer", "name", right[1], "netns", right[0])
    for namespace, device, address in (left, right):
        run("ip", "-n", namespace, "addr", "add", address, "dev", device)
        run("ip", "-n", namespace, "link", "set", device, "up")


@contextlib.contextmanager
def gateways() -> Iterator[None]:
    """Both gateways, their link and the networks behind them; all of it is gone afterwards."""
    _delete_namespaces()
    try:
        for gateway in GATEWAYS:
            for namespace in (gateway, f"{gateway}-lan"):
                run("ip", "netns", "add", namespace)
                run("ip", "-n", namespace, "link", "set", "lo", "up")
        a, b = GATEWAYS
        _connect((a, "underlay", "198.18.0.1/30"), (b, "underlay", "198.18.0.2/30"))
        for side, gateway in enumerate(GATEWAYS, 1):
            _connect((gateway, "inside", f"198.19.{side}.1/24"), (f"{gateway}-lan", "host", f"198.19.{side}.2/24"))
            run("ip", "-n", f"{gateway}-lan", "route", "add", "default", "via", f"198.19.{side}.1")
            run(*inside(gateway, "sysctl", "-qw", "net.ipv4.ip_forward=1"))
        yield
    finally:
        _delete_namespaces()


@contextlib.contextmanager
def tunnels(engine: Engine, lanes: int, first_lane: int = 0) -> Iterator[list[subprocess.Popen[str]]]:
    """`lanes` tunnels between the gateways, handshake done; yields the data-plane processes of both ends.

    Lane i is 198.18.128.(2i) on gateway a and one more on b. The first lane carries the networks behind them, too.
    """
    processes: list[subprocess.Popen[str]] = []
    with tempfile.TemporaryDirectory(prefix="wlbench-") as folder:
        log_path = Path(folder) / "log"
        with log_path.open("w") as log:
            try:
                for lane in range(first_lane, first_lane + lanes):
                    processes += _start_lane(engine, lane, Path(folder), log)
                for lane in range(first_lane, first_lane + lanes):
                    run(*inside(GATEWAYS[0], "ping", "-c", "1", "-W", "5", f"198.18.128.{2 * lane + 1}"))
                yield processes
            except RuntimeError as error:
                raise RuntimeError(f"{error}\n{log_path.read_text()[-2000:]}") from error
            finally:
                for process in processes:
                    process.terminate()
                for process in processes:
                    try:
                        process.wait(5)
                    except subprocess.TimeoutExpired:
                        process.kill()
                        process.wait()


def _start_lane(engine: Engine, lane: int, folder: Path, log: object) -> list[subprocess.Popen[str]]:
    devices = [f"wlb{side}{lane}" for side in "ab"]
    processes = []
    for gateway, device in zip(GATEWAYS, devices, strict=True):
        command = inside(gateway, str(engine.path), *engine.arguments, device)
        environment = os.environ | {"LOG_LEVEL": "error", "WG_PROCESS_FOREGROUND": "1"} | engine.environment
        processes.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log, text=True))  # type: ignore[call-overload]
    public = []
    for device in devices:
        key = run("wg", "genkey")
        path = folder / device
        path.touch(mode=0o600)
        path.write_text(key)
        public.append(run("wg", "pubkey", stdin=key).strip())
    for side, (gateway, device) in enumerate(zip(GATEWAYS, devices, strict=True)):
        _wait_for_device(gateway, device, processes[side])
        other = 1 - side
        networks = f",198.19.{other + 1}.0/24" if lane == 0 else ""
        run(*inside(gateway, "wg", "set", device, "listen-port", str(51820 + lane), "private-key", str(folder / device),
                    "peer", public[other], "allowed-ips", f"198.18.128.{2 * lane + other}/32{networks}",
                    "endpoint", f"198.18.0.{other + 1}:{51820 + lane}"))  # fmt: skip
        run("ip", "-n", gateway, "addr", "add", f"198.18.128.{2 * lane + side}/31", "dev", device)
        run("ip", "-n", gateway, "link", "set", device, "mtu", str(MTU), "up")
        if lane == 0:
            run("ip", "-n", gateway, "route", "add", f"198.19.{other + 1}.0/24", "dev", device)
    return processes


def _wait_for_device(gateway: str, device: str, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 10
    while subprocess.run(inside(gateway, "wg", "show", device), check=False, capture_output=True).returncode:
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"{device} does not come up")
        time.sleep(0.02)
