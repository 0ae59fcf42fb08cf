"""`wirelane run`: a gateway of several lanes, its counters, its placement, and what it says when something is wrong."""

from __future__ import annotations

import json
import os
import pathlib
import socket
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest
from wirelane_lab import UNDERLAY, Lab, hold_udp_port, lab, require_root, sh, wait_until, wirelane_program

pytestmark = pytest.mark.root

LANES = 2
INSIDE = {"a": "198.19.1", "b": "198.19.2"}


@pytest.fixture
def two(tmp_path: pathlib.Path) -> Iterator[Lab]:
    require_root()
    with lab(tmp_path) as made:
        for side in "ab":
            namespace = made.namespace(side)
            made.run(side, "sysctl", "-qw", "net.ipv4.fib_multipath_hash_policy=1")
            sh("ip", "-n", namespace, "addr", "add", f"{INSIDE[side]}.1/32", "dev", "lo")
        yield made


class Gateways:
    """Configuration of both gateways, with a key a lane; `start` runs one."""

    def __init__(self, two: Lab, head: str = "") -> None:
        self.two, self.head = two, head
        self.keys = {(side, lane): two.keys() for side in "ab" for lane in range(LANES)}

    def config(self, side: str, head: str = "") -> pathlib.Path:
        other = "b" if side == "a" else "a"
        text = f'{head or self.head}\ncontrol_socket = "{self.control(side)}"\n'
        text += f'ecmp_routes = ["{INSIDE[other]}.0/24"]\nroute_source = "{INSIDE[side]}.1"\n'
        # Tables come after the plain fields.
        text += "[cpu_sets]\n" + ('crypto = "0-1"\n' if "pipelined" in text else 'tx = "0"\nrx = "1"\n')
        for lane in range(LANES):
            key = self.two.key_file(f"lane{lane}{side}", self.keys[side, lane][0])
            last = 2 * lane + (side == "b")
            text += f'[[lane]]\ninterface = "{self.interface(side, lane)}"\nlisten_port = {51820 + lane}\n'
            text += f'private_key_file = "{key}"\naddresses = ["198.18.128.{last}/31"]\n'
            text += f'[[lane.peer]]\npublic_key = "{self.keys[other, lane][1]}"\n'
            text += f'endpoint = "{UNDERLAY[other]}:{51820 + lane}"\n'
            text += f'allowed_ips = ["198.18.128.{2 * lane + (side == "a")}/32", "{INSIDE[other]}.0/24"]\n'
        path = self.two.folder / f"{side}.toml"
        path.write_text(text)
        return path

    def interface(self, side: str, lane: int) -> str:
        return f"{self.two.device_name(side)}{lane}"

    def control(self, side: str) -> pathlib.Path:
        return self.two.folder / f"{side}.sock"

    def start(self, side: str, head: str = "") -> subprocess.Popen[str]:
        log = self.two.folder / f"{side}.log"
        process = self.two.popen(side, wirelane_program(), "run", "--config", str(self.config(side, head)), log=log)
        wait_until(lambda: process.poll() is not None or "ready\n" in log.read_text(), "ready")
        assert process.poll() is None, log.read_text()
        return process

    def ask(self, side: str, subject: str) -> list[dict[str, Any]]:
        text = self.two.run(side, wirelane_program(), subject, "--control", str(self.control(side)), "--json")
        lanes = json.loads(text)["lanes"]
        assert isinstance(lanes, list)
        return lanes


@pytest.mark.parametrize("mode", ["inline", "pipelined"])
def test_flows_are_spread_over_the_lanes(two: Lab, mode: str) -> None:
    head = 'mode = "inline"' if mode == "inline" else 'mode = "pipelined"\ncrypto_workers = 2'
    gateways = Gateways(two, head)
    processes = [gateways.start(side) for side in "ab"]
    report = two.iperf3("a", "-P", "16", target=f"{INSIDE['b']}.1", seconds=1)
    assert report["sum_received"]["bytes"] > 5_000_000
    lanes = gateways.ask("a", "stats")
    assert [lane["interface"] for lane in lanes] == [gateways.interface("a", lane) for lane in range(LANES)]
    assert all(lane["tx"]["bytes"] > 500_000 and lane["handshakes"] == 1 for lane in lanes), lanes
    assert all(lane["mode"] == mode and lane["rx"]["packets"] > 0 for lane in lanes)
    busy = [thread for lane in lanes for thread in lane["threads"] if thread["cpu_s"] > 0]
    assert busy, "the threads have used CPU time"
    for process in processes:
        two.stop(process)
        assert process.returncode == 0
    for side in "ab":
        assert gateways.interface(side, 0) not in sh("ip", "-n", two.namespace(side), "link")
        assert INSIDE["b" if side == "a" else "a"] not in sh("ip", "-n", two.namespace(side), "route")
        assert not gateways.control(side).exists()


def test_placement_is_what_the_kernel_reports(two: Lab) -> None:
    gateways = Gateways(two)
    process = gateways.start("a")
    lanes = gateways.ask("a", "placement")
    cpus = os.cpu_count() or 1
    for lane in lanes:
        by_stage = {thread["stage"]: thread for thread in lane["threads"]}
        assert set(by_stage) == {"tx", "rx", "control"}
        assert by_stage["tx"]["cpu_set"] == "0" and by_stage["rx"]["cpu_set"] == "1"
        assert by_stage["control"]["cpu_set"] == f"0-{cpus - 1}"
        for thread in lane["threads"]:
            status = pathlib.Path(f"/proc/{process.pid}/task/{thread['tid']}/status").read_text()
            allowed = next(line.split()[1] for line in status.splitlines() if line.startswith("Cpus_allowed_list"))
            assert allowed == thread["cpu_set"]
            comm = pathlib.Path(f"/proc/{process.pid}/task/{thread['tid']}/comm").read_text().strip()
            assert comm == thread["name"][:15]


def test_thread_k_runs_on_cpu_k_mod_set(two: Lab) -> None:
    gateways = Gateways(two, 'mode = "pipelined"\ncrypto_workers = 2')
    gateways.start("a")
    crypto = [
        t["cpu_set"] for lane in gateways.ask("a", "placement") for t in lane["threads"] if t["stage"] == "crypto"
    ]
    assert crypto == ["0", "1"] * (len(crypto) // 2) and len(crypto) == LANES * 2 * 2


def test_spoofed_inner_sources_are_dropped_and_counted(two: Lab) -> None:
    gateways = Gateways(two)
    for side in "ab":
        gateways.start(side)
    assert two.ping("a", f"{INSIDE['b']}.1")
    sh("ip", "-n", two.namespace("a"), "addr", "add", "198.18.140.1/32", "dev", "lo")
    route = f"{INSIDE['b']}.7/32"
    sh("ip", "-n", two.namespace("a"), "route", "add", route, "dev", gateways.interface("a", 0), "src", "198.18.140.1")
    assert not two.ping("a", f"{INSIDE['b']}.7", timeout_s=0.4)
    drops = gateways.ask("b", "stats")[0]["drops"]
    assert drops.get("source_not_allowed", 0) >= 1, drops


def test_hostile_datagrams_are_dropped_and_counted(two: Lab) -> None:
    gateways = Gateways(two)
    gateways.start("a")
    script = f"""
import socket
s = socket.socket(type=socket.SOCK_DGRAM)
for start, length in ((b"", 0), (b"x", 1), (b"\\1", 148), (b"\\4", 64), (b"\\11", 100), (b"\\2", 4)):
    s.sendto(start.ljust(length, bytes(1)), ("{UNDERLAY["a"]}", 51820))
"""
    two.run("b", "python3", "-c", script)
    expected = {"too_short": 2, "invalid_mac1": 1, "unknown_receiver_index": 1, "unknown_type": 1, "wrong_length": 1}

    def all_counted() -> bool:
        drops = gateways.ask("a", "stats")[0]["drops"]
        return all(drops.get(reason) == count for reason, count in expected.items())

    wait_until(all_counted, f"drops hold {expected}", timeout_s=3)


def test_metrics_and_control_socket(two: Lab) -> None:
    gateways = Gateways(two, 'metrics_listen = "127.0.0.1:9586"')
    for side in "ab":
        gateways.start(side)
    assert two.ping("a", f"{INSIDE['b']}.1")
    fetch = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:9586/metrics').read().decode())"
    page = two.run("a", "python3", "-c", fetch)
    packets = [line for line in page.splitlines() if line.startswith("wirelane_packets_total{") and "tx" in line]
    assert len(packets) == LANES and sum(int(line.split()[-1]) for line in packets) >= 1
    assert "wirelane_handshakes_total" in page and "wirelane_thread_cpu_seconds_total" in page
    client = socket.socket(socket.AF_UNIX)
    client.connect(str(gateways.control("a")))
    client.sendall(b'{"get":"nonsense"}\n{"get":"stats"}\n')
    answers = client.makefile()
    assert "error" in json.loads(answers.readline()) and "lanes" in json.loads(answers.readline())
    assert gateways.control("a").stat().st_mode & 0o777 == 0o600


def failure(two: Lab, path: pathlib.Path, command: str = "run") -> str:
    """What a run that must fail says, in one line."""
    argv = ["ip", "netns", "exec", two.namespace("a"), wirelane_program(), command, "--config", str(path)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=10, check=False)
    assert done.returncode == 1, done
    assert done.stderr.startswith("wirelane: "), done.stderr
    return done.stderr


def test_a_port_in_use_is_named_and_nothing_stays(two: Lab) -> None:
    gateways = Gateways(two)
    hold_udp_port(two, "a", 51821)
    said = failure(two, gateways.config("a"))
    assert "UDP port 51821 is in use" in said
    assert gateways.interface("a", 0) not in sh("ip", "-n", two.namespace("a"), "link")


def test_a_key_file_that_others_can_read_is_refused(two: Lab) -> None:
    gateways = Gateways(two)
    path = gateways.config("a")
    (two.folder / "lane1a").chmod(0o644)
    for command in ("check", "run"):
        said = failure(two, path, command)
        assert "lane1a" in said and "0644" in said and "chmod 600" in said
        assert gateways.keys["a", 1][0] not in said


def test_a_route_that_exists_fails_and_nothing_stays(two: Lab) -> None:
    gateways = Gateways(two)
    sh("ip", "-n", two.namespace("a"), "route", "add", f"{INSIDE['b']}.0/24", "dev", "underlay")
    said = failure(two, gateways.config("a"))
    assert "route add 198.19.2.0/24" in said and "File exists" in said
    assert gateways.interface("a", 0) not in sh("ip", "-n", two.namespace("a"), "link")
    assert "underlay" in sh("ip", "-n", two.namespace("a"), "route", "show", f"{INSIDE['b']}.0/24")


def test_an_interface_that_exists_is_refused(two: Lab) -> None:
    gateways = Gateways(two)
    sh("ip", "-n", two.namespace("a"), "link", "add", gateways.interface("a", 1), "type", "veth")
    said = failure(two, gateways.config("a"))
    assert gateways.interface("a", 1) in said
    assert gateways.interface("a", 0) not in sh("ip", "-n", two.namespace("a"), "link")


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        ("colour = 1", ("line 1", "unknown field", "colour")),
        ("batch_packets = 0", ("line 1", "batch_packets is 0", "from 1 to 128")),
        ("socket_buffer_bytes = -5", ("line 1", "socket_buffer_bytes is -5")),
        ('mode = "sideways"', ("line 1", "sideways", "inline or pipelined")),
        ("crypto_workers = 2", ("line 1", "crypto_workers", "pipelined")),
        ('numa_policy = "far"', ("line 1", "far")),
        ('metrics_listen = "nowhere"', ("line 1", "socket address")),
    ],
)
def test_bad_fields_are_named_with_their_line(two: Lab, head: str, expected: tuple[str, ...]) -> None:
    said = failure(two, Gateways(two, head).config("a"), "check")
    assert all(word in said for word in expected), said


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('tx = "0"', 'tx = "3-1"', "3-1"),
        ('tx = "0"', 'tx = "zero"', "zero"),
        ('tx = "0"', 'crypto = "0"', "inline mode has no such stage"),
        ("listen_port = 51821", "listen_port = 51820", "51820 is the port of lane[0] too"),
        ("listen_port = 51821", "listen_port = 65536", "65536"),
        ("198.18.128.0/31", "198.18.128.0/33", "198.18.128.0/33"),
        ("198.18.0.2:51820", "198.18.0.2", "socket address"),
    ],
)
def test_bad_values_are_named(two: Lab, old: str, new: str, expected: str) -> None:
    path = Gateways(two).config("a")
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    said = failure(two, path, "check")
    assert expected in said and "line" in said, said


def test_no_lane_is_an_error(two: Lab, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "empty.toml"
    path.write_text('mode = "inline"\n')
    assert "at least one [[lane]]" in failure(two, path, "check")


def test_an_impossible_cpu_fails_at_start(two: Lab) -> None:
    gateways = Gateways(two)
    path = gateways.config("a")
    path.write_text(path.read_text().replace('tx = "0"', 'tx = "4000"'))
    said = failure(two, path)
    assert "CPU 4000" in said
    assert gateways.interface("a", 0) not in sh("ip", "-n", two.namespace("a"), "link")


def test_sigterm_while_starting_leaves_nothing(two: Lab) -> None:
    gateways = Gateways(two)
    process = two.popen("a", wirelane_program(), "run", "--config", str(gateways.config("a")), log=two.folder / "x.log")
    time.sleep(0.05)
    two.stop(process)
    assert gateways.interface("a", 0) not in sh("ip", "-n", two.namespace("a"), "link")


def test_sixteen_idle_lanes_are_small_and_start_fast(two: Lab) -> None:
    private, public = two.keys()
    key = two.key_file("k", private)
    text = "".join(
        f'[[lane]]\ninterface = "{two.device_name("a")}{i}"\nlisten_port = {40000 + i}\nprivate_key_file = "{key}"\n'
        f'addresses = ["198.18.129.{i}/32"]\n[[lane.peer]]\npublic_key = "{public}"\n'
        for i in range(16)
    )
    path = two.folder / "sixteen.toml"
    path.write_text(text)
    log = two.folder / "sixteen.log"
    process = two.popen("a", wirelane_program(), "run", "--config", str(path), log=log)
    wait_until(lambda: process.poll() is not None or "ready\n" in log.read_text(), "ready")
    assert process.poll() is None, log.read_text()
    status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
    resident_kib = int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")))
    assert resident_kib < 40 << 10, f"{resident_kib} KiB"
    limits = pathlib.Path(f"/proc/{process.pid}/limits").read_text()
    core = next(line for line in limits.splitlines() if line.startswith("Max core file size"))
    assert core.split()[4:6] == ["0", "0"]
