"""`wirelane run`: a gateway of several lanes, its counters, its placement, and what it says when something is wrong."""

from __future__ import annotations

import fcntl
import json
import os
import pathlib
import pty
import select
import signal
import socket
import struct
import subprocess
import termios
import time
from collections.abc import Iterator

import pytest
from wirelane_gateways import INSIDE, LANES, Gateways, gateway_lab
from wirelane_lab import UNDERLAY, Lab, hold_udp_port, sh, wait_until, wirelane_program

pytestmark = pytest.mark.root

NUMA_NODES = [path.name[4:] for path in pathlib.Path("/sys/devices/system/node").glob("node[0-9]*")]
PIPELINE_QUEUES = ("tx_crypto", "tx_write", "rx_crypto", "rx_write")


@pytest.fixture
def two(tmp_path: pathlib.Path) -> Iterator[Lab]:
    with gateway_lab(tmp_path) as made:
        yield made


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
    for lane in lanes:
        for flow in (lane["tx"], lane["rx"]):
            assert sum(flow["batch_sizes"].values()) == flow["batches"] > 0
        stages = {thread["stage"]: thread["tx"]["packets"] for thread in lane["threads"] if thread["tx"]["packets"]}
        assert set(stages) >= ({"tx"} if mode == "inline" else {"read", "crypto", "write"}), stages
        queues = {"handshakes", "socket_receive_bytes"}
        assert set(lane["queues"]) == queues | (set(PIPELINE_QUEUES) if mode == "pipelined" else set())
    busy = [thread for lane in lanes for thread in lane["threads"] if thread["cpu_s"] > 0]
    assert busy, "the threads have used CPU time"
    for process in processes:
        two.stop(process)
        assert process.returncode == 0
    for side in "ab":
        assert gateways.interface(side, 0) not in sh("ip", "-n", two.namespace(side), "link")
        assert INSIDE["b" if side == "a" else "a"] not in sh("ip", "-n", two.namespace(side), "route")
        assert not gateways.control(side).exists()


def test_a_direction_that_carries_little_is_lent_and_given_back(two: Lab) -> None:
    """The acknowledgements of a transfer are carried by the thread of its data, whichever way it goes."""
    gateways = Gateways(two, cpu_sets='tx = "0-1"\nrx = "0-1"\n')
    for side in "ab":
        gateways.start(side, lanes=[0])

    def carried(side: str) -> dict[tuple[str, str], int]:
        """Packets by thread and direction."""
        threads = gateways.ask(side, "stats")[0]["threads"]
        return {(thread["stage"], way): thread[way]["packets"] for thread in threads for way in ("tx", "rx")}

    for way, data, acknowledgements in (("", "tx", "rx"), ("-R", "rx", "tx"), ("", "tx", "rx")):
        before = carried("a")
        two.iperf3("a", *([way] if way else []), target=f"{INSIDE['b']}.1", seconds=2)
        after = carried("a")
        by = {key: after[key] - before[key] for key in after}
        assert by[data, data] > 0.9 * (by["tx", data] + by["rx", data]), by
        assert by[data, acknowledgements] > by[acknowledgements, acknowledgements], by
    before = carried("a")
    report = two.iperf3("a", "--bidir", target=f"{INSIDE['b']}.1", seconds=2)
    assert report["sum_received"]["bytes"] > 5_000_000
    assert report["sum_received_bidir_reverse"]["bytes"] > 5_000_000
    after = carried("a")
    by = {key: after[key] - before[key] for key in after}
    assert by["tx", "tx"] > 0 and by["rx", "rx"] > 0, by


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
            # One node leaves nothing to choose: the kernel's default stays.
            assert thread["numa_policy"] == "default" or len(NUMA_NODES) > 1
            comm = pathlib.Path(f"/proc/{process.pid}/task/{thread['tid']}/comm").read_text().strip()
            assert comm == thread["name"][:15]


def test_buffers_are_in_huge_pages_where_there_are_any(two: Lab) -> None:
    """Without reserved ones the gateway runs all the same, and says so once."""
    gateways = Gateways(two, 'huge_pages = true\nnuma_policy = "bind"')
    for side in "ab":
        gateways.start(side)
    assert two.ping("a", f"{INSIDE['b']}.1")
    text = two.run("a", wirelane_program(), "placement", "--control", str(gateways.control("a")), "--json")
    memory = json.loads(text)["memory"]
    assert set(memory["bytes_by_node"]) <= set(NUMA_NODES) and sum(memory["bytes_by_node"].values()) > 1 << 20
    said = (two.folder / "a.log").read_text().count("no reserved huge pages are free")
    assert memory["reserved_huge_page_bytes"] > 0 or said == 1


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
    buckets = [line for line in page.splitlines() if line.startswith("wirelane_batch_packets_bucket{")]
    assert len(buckets) == LANES * 2 * 9 and 'wirelane_drops_total{lane="' in page and "wirelane_queue_depth{" in page
    assert 'reason="replayed_counter"} 0' in page, "a reason without drops is there too"
    assert "wirelane_handshakes_total" in page and "wirelane_thread_cpu_seconds_total" in page
    client = socket.socket(socket.AF_UNIX)
    client.connect(str(gateways.control("a")))
    client.sendall(b'{"get":"nonsense"}\n{"get":"stats"}\n')
    answers = client.makefile()
    assert "error" in json.loads(answers.readline()) and "lanes" in json.loads(answers.readline())
    assert gateways.control("a").stat().st_mode & 0o777 == 0o600


def test_what_the_kernel_drops_before_us_is_counted(two: Lab) -> None:
    """A stopped process reads nothing: first the queue of the TUN overflows, then the buffer of the socket."""
    gateways = Gateways(two, "socket_buffer_bytes = 65536")
    process = gateways.start("a")
    process.send_signal(signal.SIGSTOP)
    flood = "import socket; s = socket.socket(type=socket.SOCK_DGRAM); "
    flood += "[s.sendto(bytes(1000), ('{}', {})) for _ in range(2000)]"
    two.run("a", "python3", "-c", flood.format(f"{INSIDE['b']}.9", 9))
    two.run("b", "python3", "-c", flood.format(UNDERLAY["a"], 51820))
    process.send_signal(signal.SIGCONT)
    lanes = gateways.ask("a", "stats")
    assert sum(lane["drops"]["tun_queue_full"] for lane in lanes) > 500, lanes
    assert lanes[0]["drops"]["receive_buffer_full"] > 500, lanes


def test_top_needs_a_terminal_and_a_gateway(two: Lab) -> None:
    """Between rates and a terminal that is restored: what `top` does with a real one."""
    gateways = Gateways(two)
    process = gateways.start("a")
    command = [wirelane_program(), "top", "--control", str(gateways.control("a")), "--interval-s", "0.1"]
    piped = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    assert piped.returncode == 1 and "needs a terminal" in piped.stderr
    with Terminal(command) as terminal:
        terminal.wait_for(gateways.interface("a", 1))
        terminal.write("q")
        assert terminal.wait() == 0
        assert terminal.is_restored()
    with Terminal(command) as terminal:
        terminal.wait_for(gateways.interface("a", 1))
        two.stop(process)
        assert terminal.wait() == 1
        assert terminal.is_restored() and "the gateway has gone" in terminal.text()


class Terminal:
    """A program on a pseudo-terminal of 60 by 20 characters."""

    def __init__(self, command: list[str]) -> None:
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 20, 60, 0, 0))
        self.slave, self.before = slave, termios.tcgetattr(slave)
        self.process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave)
        self.output = b""

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.master)
        os.close(self.slave)

    def _read(self) -> None:
        while select.select([self.master], [], [], 0.02)[0]:
            self.output += os.read(self.master, 65536)

    def text(self) -> str:
        self._read()
        return self.output.decode()

    def write(self, keys: str) -> None:
        os.write(self.master, keys.encode())

    def wait_for(self, words: str) -> None:
        wait_until(lambda: words in self.text(), f"{words} on the screen", timeout_s=10)

    def wait(self) -> int:
        # Read meanwhile: a program blocks on a terminal that nobody empties.
        wait_until(lambda: self.text() and self.process.poll() is not None, "top ends", timeout_s=10)
        return self.process.wait()

    def is_restored(self) -> bool:
        """The other screen is left, the cursor shown, and the line discipline as it was."""
        text = self.text()
        shown = text.rindex("\x1b[?1049l") > text.rindex("\x1b[?1049h") and "\x1b[?25h" in text
        return shown and termios.tcgetattr(self.slave) == self.before


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
    assert "cannot route 198.19.2.0/24: there is such a route already" in said
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
