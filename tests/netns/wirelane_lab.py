"""Two network namespaces joined by a veth pair, and WireGuard data planes started in them. For test_wirelane_*.py."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
UNDERLAY = {"a": "198.18.0.1", "b": "198.18.0.2"}
UNDERLAY_IPV6 = {"a": "2001:2::1", "b": "2001:2::2"}
INNER = {"a": "198.18.128.0", "b": "198.18.128.1"}
INNER_IPV6 = {"a": "2001:2:1::a", "b": "2001:2:1::b"}
UAPI_FOLDER = pathlib.Path("/var/run/wireguard")

# One ICMP echo, sent every 50 ms until the answer comes; there may be no ping program.
_PING = """
import os, socket, struct, sys, time
target, size, timeout_s = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
six = ":" in target
s = socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_RAW, 58 if six else 1)
s.settimeout(0.05)
def checksum(b):
    n = sum(struct.unpack("!%dH" % (len(b) // 2), b))
    while n >> 16: n = (n & 0xffff) + (n >> 16)
    return ~n & 0xffff
body, end, sequence = os.urandom(size & ~1), time.monotonic() + timeout_s, 0
while time.monotonic() < end:
    sequence += 1
    head = struct.pack("!BBHHH", 128 if six else 8, 0, 0, os.getpid() & 0xffff, sequence)
    if not six: head = struct.pack("!BBHHH", 8, 0, checksum(head + body), os.getpid() & 0xffff, sequence)
    try:
        s.sendto(head + body, (target, 0))
        start = time.monotonic()
        while time.monotonic() < start + 0.05:
            answer = s.recv(65536)
            if answer.endswith(body) and answer[0 if six else 20] in (0, 129): sys.exit(0)
    except (TimeoutError, OSError): time.sleep(0.01)
sys.exit(1)
"""


def wirelane_program() -> str:
    """Path of the program under test; skips when it has not been built."""
    path = os.environ.get("WIRELANE_BIN") or str(REPOSITORY / "dataplane/target/release/wirelane")
    if not pathlib.Path(path).exists():
        pytest.skip(f"no {path}: run `cargo build --release` in dataplane/, or set WIRELANE_BIN")
    return path


def wireguard_go_program() -> str:
    """Path of the peer implementation; skips where it is missing."""
    path = shutil.which("wireguard-go")
    if path is None:
        pytest.skip("no wireguard-go: apt-get install wireguard-go")
    return path


def sh(*argv: str, stdin: str | None = None, check: bool = True, timeout_s: float = 20) -> str:
    """Runs a program and returns its standard output; a failure shows what it said."""
    done = subprocess.run(argv, input=stdin, capture_output=True, text=True, timeout=timeout_s, check=False)
    if check and done.returncode:
        raise AssertionError(f"{' '.join(argv)} exited {done.returncode}: {done.stderr or done.stdout}")
    return done.stdout


def wait_until(condition: Callable[[], object], what: str, timeout_s: float = 5.0) -> None:
    """Polls every 20 ms."""
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, f"not within {timeout_s} s: {what}"
        time.sleep(0.02)


@dataclass
class Device:
    """One running device and its keys."""

    side: str
    name: str
    program: str
    process: subprocess.Popen[str]
    private_key: str
    public_key: str
    log: pathlib.Path


@dataclass
class Lab:
    """Both namespaces. `a` and `b` are the sides; every device and process started here is gone at the end."""

    folder: pathlib.Path
    prefix: str
    processes: list[subprocess.Popen[str]] = field(default_factory=list)
    started: int = 0

    def namespace(self, side: str) -> str:
        return f"{self.prefix}-{side}"

    def device_name(self, side: str) -> str:
        return f"{self.prefix}{side}"

    def run(self, side: str, *argv: str, **options: Any) -> str:
        return sh("ip", "netns", "exec", self.namespace(side), *argv, **options)

    def popen(
        self, side: str, *argv: str, env: dict[str, str] | None = None, log: pathlib.Path
    ) -> subprocess.Popen[str]:
        output = log.open("w")
        process = subprocess.Popen(
            ["ip", "netns", "exec", self.namespace(side), *argv],
            env={**os.environ, **(env or {})},
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
        )
        output.close()
        self.processes.append(process)
        return process

    def keys(self) -> tuple[str, str]:
        private = sh("wg", "genkey").strip()
        return private, sh("wg", "pubkey", stdin=private).strip()

    def key_file(self, name: str, key: str) -> str:
        path = self.folder / name
        path.write_text(key)
        path.chmod(0o600)
        return str(path)

    def start(
        self, side: str, program: str, env: dict[str, str] | None = None, keys: tuple[str, str] | None = None
    ) -> Device:
        """Starts `program -f IFNAME` and waits for its UAPI socket."""
        name = self.device_name(side)
        self.started += 1
        log = self.folder / f"{name}-{self.started}.log"
        process = self.popen(side, program, "-f", name, env={"LOG_LEVEL": "verbose", **(env or {})}, log=log)
        socket = UAPI_FOLDER / f"{name}.sock"
        wait_until(
            lambda: process.poll() is not None or (socket.exists() and self.run(side, "wg", "show", name, check=False)),
            f"{program} opens {socket}",
        )
        assert process.poll() is None, log.read_text()
        private, public = keys or self.keys()
        return Device(side, name, program, process, private, public, log)

    def set(self, device: Device, *words: str) -> None:
        self.run(device.side, "wg", "set", device.name, *words)

    def connect(
        self,
        a: Device,
        b: Device,
        *,
        ports: tuple[int, int] = (51820, 51821),
        endpoints: tuple[bool, bool] = (True, True),
        underlay: dict[str, str] = UNDERLAY,
        preshared_key: str | None = None,
    ) -> None:
        """Makes the two devices peers; `endpoints` says which side knows where the other is."""
        for device, other, port, other_port, knows in (
            (a, b, *ports, endpoints[0]),
            (b, a, *ports[::-1], endpoints[1]),
        ):
            words = ["listen-port", str(port), "private-key", self.key_file(f"{device.name}.key", device.private_key)]
            words += ["peer", other.public_key]
            if preshared_key:
                words += ["preshared-key", self.key_file(f"{device.name}.psk", preshared_key)]
            address = underlay[other.side]
            if knows:
                words += ["endpoint", f"[{address}]:{other_port}" if ":" in address else f"{address}:{other_port}"]
            words += ["allowed-ips", f"{INNER[other.side]}/32,{INNER_IPV6[other.side]}/128"]
            self.set(device, *words)
            self.bring_up(device)

    def bring_up(self, device: Device, mtu: int = 1420) -> None:
        namespace, other = self.namespace(device.side), "b" if device.side == "a" else "a"
        sh("ip", "-n", namespace, "link", "set", device.name, "mtu", str(mtu), "up")
        sh("ip", "-n", namespace, "addr", "replace", f"{INNER[device.side]}/31", "dev", device.name)
        sh("ip", "-n", namespace, "addr", "replace", f"{INNER_IPV6[device.side]}/128", "dev", device.name)
        sh("ip", "-n", namespace, "route", "replace", f"{INNER_IPV6[other]}/128", "dev", device.name)

    def ping(self, side: str, target: str | None = None, size: int = 56, timeout_s: float = 8.0) -> bool:
        """Whether one ICMP echo comes back within the time."""
        target = target or INNER["b" if side == "a" else "a"]
        argv = [
            "ip",
            "netns",
            "exec",
            self.namespace(side),
            sys.executable,
            "-c",
            _PING,
            target,
            str(size),
            str(timeout_s),
        ]
        return subprocess.run(argv, check=False, timeout=timeout_s + 5).returncode == 0

    def iperf3(self, client: str, *options: str, target: str | None = None, seconds: float = 1) -> dict[str, Any]:
        """Runs iperf3 from one side to the other, for so long or as `-n` says, and returns its report."""
        server_side = "b" if client == "a" else "a"
        target = target or INNER[server_side]
        log = self.folder / "iperf3-server.log"
        server = self.popen(server_side, "timeout", "30", "iperf3", "-s", "-1", "--forceflush", log=log)
        wait_until(lambda: "Server listening" in log.read_text(), "iperf3 server")
        end_condition = () if "-n" in options else ("-t", str(seconds))
        report = json.loads(
            self.run(client, "timeout", "25", "iperf3", "-c", target, *end_condition, "-J", *options, timeout_s=30)
        )
        server.wait(timeout=10)
        assert "error" not in report, report["error"]
        end: dict[str, Any] = report["end"]
        return end

    def full_socket_losses(self, side: str) -> int:
        """Datagrams that the side's kernel has dropped because a receiver, on a busy machine, did not come to read."""
        counters = self.run(side, "cat", "/proc/net/snmp").splitlines()
        lines = [line.split() for line in counters if line.startswith("Udp:")]
        return int(dict(zip(*lines, strict=True))["RcvbufErrors"])

    def dump(self, device: Device) -> dict[str, Any]:
        """The device's first peer as `wg show IFNAME dump` prints it."""
        lines = self.run(device.side, "wg", "show", device.name, "dump").splitlines()
        names = ("public_key", "preshared_key", "endpoint", "allowed_ips", "latest_handshake", "rx", "tx", "keepalive")
        return dict(zip(names, lines[1].split("\t"), strict=True))

    def stop(self, process: subprocess.Popen[str], how: signal.Signals = signal.SIGTERM) -> None:
        process.send_signal(how)
        process.wait(timeout=5)


@contextlib.contextmanager
def lab(folder: pathlib.Path) -> Iterator[Lab]:
    """Two fresh namespaces, removed at the end with everything that runs in them."""
    made = Lab(folder, f"wlt{os.getpid() % 100000}")
    try:
        for side in "ab":
            sh("ip", "netns", "add", made.namespace(side))
            sh("ip", "-n", made.namespace(side), "link", "set", "lo", "up")
            # No address is tentative for a second, so that what a test sees does not depend on when it looks.
            set_dad = "echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad"
            sh("ip", "netns", "exec", made.namespace(side), "sh", "-c", set_dad)
        a, b = made.namespace("a"), made.namespace("b")
        sh("ip", "-n", a, "link", "add", "underlay", "type", "veth", "peer", "name", "underlay", "netns", b)
        for side in "ab":
            namespace = made.namespace(side)
            sh("ip", "-n", namespace, "addr", "add", f"{UNDERLAY[side]}/30", "dev", "underlay")
            sh("ip", "-n", namespace, "addr", "add", f"{UNDERLAY_IPV6[side]}/64", "dev", "underlay")
            sh("ip", "-n", namespace, "link", "set", "underlay", "up")
        yield made
    finally:
        for process in made.processes:
            if process.poll() is None:
                process.terminate()
        for process in made.processes:
            try:
                process.wait(timeout=3)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for side in "ab":
            sh("ip", "netns", "del", made.namespace(side), check=False)
            (UAPI_FOLDER / f"{made.device_name(side)}.sock").unlink(missing_ok=True)


def hold_udp_port(two: Lab, side: str, port: int) -> None:
    """A process that keeps a UDP port of one side until the end of the test."""
    code = f"import socket, time; s = socket.socket(type=socket.SOCK_DGRAM); s.bind(('', {port})); time.sleep(30)"
    two.popen(side, "python3", "-c", code, log=two.folder / "hold.log")
    wait_until(lambda: f":{port:X} " in two.run(side, "cat", "/proc/net/udp"), f"port {port} is held")


def require_root() -> None:
    """Skips where namespaces cannot be made."""
    if os.geteuid() != 0:
        pytest.skip("needs root: namespaces and TUN devices")
    for program in ("ip", "wg", "iperf3"):
        if shutil.which(program) is None:
            pytest.skip(f"no {program}: apt-get install iproute2 wireguard-tools iperf3")
