"""What a stock kernel has to see on the wire, and a kernel that has no NUMA."""

from __future__ import annotations

import pathlib
import sys
from collections.abc import Iterator

import pytest
from wirelane_gateways import INSIDE, Gateways, gateway_lab
from wirelane_lab import INNER, UNDERLAY, Lab, lab, require_root, sh, wait_until, wirelane_program

pytestmark = pytest.mark.root

# Every datagram to port 6000 goes on to the given port, marked as if a router on the way were congested, and back.
_CONGESTED_RELAY = """
import select, socket, sys
def bound(port):
    s = socket.socket(type=socket.SOCK_DGRAM)
    s.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, 3)
    s.bind((sys.argv[1], port))
    return s
outside, inside, peer = bound(6000), bound(6001), None
print("ready", flush=True)
while True:
    for s in select.select([outside, inside], [], [])[0]:
        data, source = s.recvfrom(65536)
        if s is outside: peer = source; inside.sendto(data, (sys.argv[1], int(sys.argv[2])))
        elif peer: outside.sendto(data, peer)
"""

# Prints the ECN codepoint of the outer header of every large datagram to this host's tunnel.
_CAPTURE = """
import socket, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x800))
s.bind(("underlay", 0x800))
print("ready", flush=True)
while True:
    p = s.recv(65536)
    if p[9] == 17 and len(p) > 400: print("outer", p[1] & 3, flush=True)
"""

# Prints the ECN codepoint with which each datagram comes out of the tunnel.
_RECEIVE = """
import socket, sys
s = socket.socket(type=socket.SOCK_DGRAM)
s.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)
s.bind((sys.argv[1], 7009))
print("ready", flush=True)
while True:
    _, extra, _, _ = s.recvmsg(2048, 64)
    print("inner", extra[0][2][0] & 3, flush=True)
"""

_SEND = """
import socket, sys
s = socket.socket(type=socket.SOCK_DGRAM)
s.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, int(sys.argv[2]))
s.sendto(bytes(500), (sys.argv[1], 7009))
"""

# Becomes the program, on a machine whose kernel knows no NUMA: no nodes in sysfs, and ENOSYS for mbind, set_mempolicy
# and get_mempolicy (237 to 239 on x86-64).
_WITHOUT_NUMA = """#!{python}
import ctypes, os, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
def check(result):
    if result: raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
check(libc.unshare(0x20000))
check(libc.mount(b"none", b"/", None, 0x44000, None))
if os.path.isdir("/sys/devices/system/node"):
    check(libc.mount(b"none", b"/sys/devices/system/node", b"tmpfs", 0, None))
steps = [(0x20, 0, 0, 0), (0x35, 0, 2, 237), (0x25, 1, 0, 239), (0x06, 0, 0, 0x50000 | 38), (0x06, 0, 0, 0x7fff0000)]
code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
program = struct.pack("HxxxxxxQ", len(steps), ctypes.addressof(code))
check(libc.prctl(38, 1, 0, 0, 0))
check(libc.prctl(22, 2, program, 0, 0))
if libc.syscall(239, None, None, 0, None, 0) != -1 or ctypes.get_errno() != 38: sys.exit("get_mempolicy is still there")
os.execv("{wirelane}", ["{wirelane}", *sys.argv[1:]])
"""


@pytest.fixture
def two(tmp_path: pathlib.Path) -> Iterator[Lab]:
    require_root()
    with lab(tmp_path) as made:
        yield made


def script(two: Lab, side: str, name: str, source: str, *words: str) -> pathlib.Path:
    """A Python program that runs until the end of the test; what it prints, once it is ready."""
    log = two.folder / f"{name}.log"
    two.popen(side, sys.executable, "-c", source, *words, log=log)
    wait_until(lambda: "ready" in log.read_text(), name, timeout_s=20)
    return log


def test_the_mark_of_our_datagrams_decides_their_route(two: Lab) -> None:
    ours, theirs = (two.start(side, wirelane_program()) for side in "ab")
    two.connect(ours, theirs)
    namespace = two.namespace("a")
    sh("ip", "-n", namespace, "rule", "add", "fwmark", "0x51", "table", "51")
    sh("ip", "-n", namespace, "route", "add", "blackhole", "default", "table", "51")
    assert two.ping("a")
    two.set(ours, "fwmark", "0x51")
    assert not two.ping("a", timeout_s=0.5), "the rule for marked datagrams does not catch them"
    sh("ip", "-n", namespace, "route", "add", f"{UNDERLAY['b']}/32", "dev", "underlay", "table", "51")
    assert two.ping("a", timeout_s=20)
    sh("ip", "-n", namespace, "route", "del", f"{UNDERLAY['b']}/32", "table", "51")
    two.set(ours, "fwmark", "0")
    assert two.ping("a", timeout_s=20)


def test_ecn_is_copied_out_and_congestion_is_carried_in(two: Lab) -> None:
    """The outer header has the inner one's codepoint; CE on the way reaches the receiver if its sender knows ECN, and
    otherwise the packet is dropped (RFC 6040, section 4.2)."""
    ours, theirs = (two.start(side, wirelane_program()) for side in "ab")
    two.connect(ours, theirs)
    assert two.ping("a")
    captured, received = script(two, "b", "capture", _CAPTURE), script(two, "b", "receive", _RECEIVE, INNER["b"])

    def send(codepoint: int) -> None:
        two.run("a", sys.executable, "-c", _SEND, INNER["b"], str(codepoint))

    # As Linux does it: what has met congestion already goes out as ECT(0), so that more of it can be told from none.
    for count, (codepoint, outside) in enumerate(((0, 0), (1, 1), (2, 2), (3, 2)), start=1):
        send(codepoint)
        for log, wanted in ((captured, f"outer {outside}"), (received, f"inner {codepoint}")):
            wait_until(lambda log=log, count=count: len(log.read_text().splitlines()) > count, wanted, timeout_s=20)  # type: ignore[misc]
            assert log.read_text().splitlines()[count] == wanted

    port = two.run("b", "wg", "show", theirs.name, "listen-port").strip()
    script(two, "b", "relay", _CONGESTED_RELAY, UNDERLAY["b"], port)
    two.set(ours, "peer", theirs.public_key, "endpoint", f"{UNDERLAY['b']}:6000")
    before = received.read_text().count("inner 3")
    send(2)
    wait_until(lambda: received.read_text().count("inner 3") > before, "ECT(0) arrives as CE", timeout_s=20)
    lines = received.read_text().count("inner")
    send(0)
    send(2)
    wait_until(lambda: received.read_text().count("inner 3") > before + 1, "the second ECT(0)", timeout_s=20)
    assert received.read_text().count("inner") == lines + 1, "CE is not for a sender that does not know it"


@pytest.mark.skipif(sys.platform != "linux" or sys.maxsize < 2**32, reason="system call numbers of 64-bit Linux")
def test_a_kernel_without_numa(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Policies that cannot be had are no reason to fail: placement says so, and packets flow."""
    wrapper = tmp_path / "without-numa"
    wrapper.write_text(_WITHOUT_NUMA.format(python=sys.executable, wirelane=wirelane_program()))
    wrapper.chmod(0o755)
    monkeypatch.setenv("WIRELANE_BIN", str(wrapper))
    with gateway_lab(tmp_path) as two:
        gateways = Gateways(two, 'numa_policy = "bind"')
        for side in "ab":
            gateways.start(side)
        assert two.ping("a", f"{INSIDE['b']}.1", timeout_s=20)
        assert two.iperf3("a", target=f"{INSIDE['b']}.1")["sum_received"]["bytes"] > 1_000_000
        threads = [thread for lane in gateways.ask("a", "placement") for thread in lane["threads"]]
        assert {thread["cpu_set"] for thread in threads if thread["stage"] in ("tx", "rx")} == {"0", "1"}
        assert all("unknown" in thread["numa_policy"] for thread in threads), threads
