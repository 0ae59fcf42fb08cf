"""What goes wrong on a network: loss, reordering, duplicates, floods, a path that shrinks, a peer that stands still."""

from __future__ import annotations

import base64
import pathlib
import re
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
import wirelane_faults
from wirelane_gateways import Gateways, gateway_lab
from wirelane_lab import INNER, UNDERLAY, Device, Lab, lab, require_root, sh, wait_until, wirelane_program

pytestmark = pytest.mark.root

FLOOD_PACKETS, FLOOD_PPS = 300_000, 100_000
MODES = ("inline", "pipelined")


@pytest.fixture
def two(tmp_path: pathlib.Path) -> Iterator[Lab]:
    require_root()
    with lab(tmp_path) as made:
        yield made


def trouble(
    two: Lab, side: str, what: str, *words: str, name: str | None = None
) -> tuple[subprocess.Popen[str], pathlib.Path]:
    """Starts one of wirelane_faults' programs."""
    log = two.folder / f"{name or what}.log"
    return two.popen(side, sys.executable, wirelane_faults.__file__, what, *words, log=log), log


def connect_through_relay(
    two: Lab, env: dict[str, str], *, loss: float, duplicates: float = 0, jitter_ms: int = 0, rebind_after_s: float = 0
) -> tuple[Device, Device]:
    """Two devices that know each other only by the relay, which runs on side b. 20 ms each way."""
    ours, theirs = (two.start(side, wirelane_program(), env) for side in "ab")
    two.connect(ours, theirs, endpoints=(False, False))
    ends = (f"{UNDERLAY['a']}:51820", f"{UNDERLAY['b']}:51821")
    numbers = (str(loss), str(duplicates), "20", str(jitter_ms), str(rebind_after_s))
    _, log = trouble(two, "b", "relay", *numbers, *ends)
    wait_until(lambda: "ready" in log.read_text(), "the relay")
    two.set(ours, "peer", theirs.public_key, "endpoint", f"{UNDERLAY['b']}:5001")
    two.set(theirs, "peer", ours.public_key, "endpoint", f"{UNDERLAY['b']}:5002")
    return ours, theirs


@pytest.mark.parametrize("mode", MODES)
def test_a_link_that_loses_delays_reorders_and_duplicates(two: Lab, mode: str) -> None:
    """5% loss, 20 ms, reordering and duplicates, across several handshakes: everything gets through."""
    env = {"WIRELANE_MODE": mode, "WIRELANE_TEST_REKEY_AFTER_S": "1"}
    ours, theirs = connect_through_relay(two, env, loss=0.05, duplicates=0.02, jitter_ms=4)
    assert two.ping("a", timeout_s=20) and two.ping("b", timeout_s=20)
    first = int(two.dump(ours)["latest_handshake"])
    for options in ((), ("-R",)):
        assert two.iperf3("a", *options, seconds=2)["sum_received"]["bytes"] > 100_000
    assert two.ping("a", size=4000, timeout_s=20)
    assert int(two.dump(ours)["latest_handshake"]) > first
    assert ours.process.poll() is None and theirs.process.poll() is None


@pytest.mark.parametrize("mode", MODES)
def test_packets_of_a_flow_keep_their_order_on_a_link_that_loses(two: Lab, mode: str) -> None:
    """The relay loses and does not reorder, so nothing may be late: not across handshakes, nor with three workers."""
    env = {"WIRELANE_MODE": mode, "WIRELANE_TEST_REKEY_AFTER_S": "1"}
    if mode == "pipelined":
        env["WIRELANE_CRYPTO_WORKERS"] = "3"
    connect_through_relay(two, env, loss=0.05)
    assert two.ping("a", timeout_s=20)
    receiver, log = trouble(two, "b", "numbers_in", "7007")
    wait_until(lambda: "ready" in log.read_text(), "the receiver")
    two.run("a", sys.executable, wirelane_faults.__file__, "numbers_out", INNER["b"], "7007", "30000")
    receiver.wait(timeout=30)
    received, late = (int(number) for number in re.findall(r"\d+", log.read_text().splitlines()[-1]))
    assert received > 10_000 and late == 0, log.read_text()


def test_a_nat_that_forgets_is_found_again(two: Lab) -> None:
    """The port that a hears b from changes: a follows with the first packet, and b's keepalives are such packets."""
    ours, theirs = connect_through_relay(two, {}, loss=0, rebind_after_s=2)
    two.set(theirs, "peer", ours.public_key, "persistent-keepalive", "1")
    assert two.ping("a") and two.dump(ours)["endpoint"].endswith(":5001")
    wait_until(lambda: two.dump(ours)["endpoint"].endswith(":5003"), "a follows the NAT", timeout_s=10)
    assert two.ping("a") and two.ping("b")


@pytest.fixture
def gateways(tmp_path: pathlib.Path) -> Iterator[Gateways]:
    with gateway_lab(tmp_path) as made:
        yield Gateways(made)


def test_a_flood_of_handshakes_leaves_sessions_alone(gateways: Gateways) -> None:
    """100,000 initiations a second whose mac1 is right, so that each would cost a Diffie-Hellman: the session carries
    on, later ones come about with a cookie, and every message of the flood is counted."""
    two = gateways.two
    processes = [gateways.start(side) for side in "ab"]
    target = INNER["a"]  # the first lane's
    assert two.ping("b", target)
    public_key = base64.b64decode(gateways.keys["a", 0][1]).hex()
    words = (public_key, UNDERLAY["a"], "51820", str(FLOOD_PACKETS), str(FLOOD_PPS))
    flood, log = trouble(two, "b", "flood", *words)
    answered = 0
    while flood.poll() is None:
        assert two.ping("b", target, timeout_s=10), "the session is as it was"
        answered += 1
    assert flood.returncode == 0 and "sent" in log.read_text(), log.read_text()
    assert answered >= 1
    drops = gateways.ask("a", "stats")[0]["drops"]
    counted = {
        reason: drops.get(reason, 0)
        for reason in ("cookie_required", "invalid_handshake", "rate_limited", "handshake_queue_full")
    }
    assert counted["cookie_required"] > 1000, drops
    assert sum(counted.values()) <= FLOOD_PACKETS + 64
    # Still under load or not: a peer that has forgotten its session gets another.
    two.stop(processes[1])
    processes[1] = gateways.start("b")
    assert two.ping("b", target, timeout_s=20)
    assert processes[0].poll() is None


def test_a_path_that_shrinks(two: Lab) -> None:
    """The MTU of the link falls below the tunnel's datagrams in the middle of a transfer: they go out as fragments."""
    ours, theirs = (two.start(side, wirelane_program()) for side in "ab")
    two.connect(ours, theirs)
    assert two.ping("a", size=1380)
    for mtu in ("1300", "1000", "1500"):
        for side in "ab":
            sh("ip", "-n", two.namespace(side), "link", "set", "underlay", "mtu", mtu)
        assert two.ping("a", size=1380) and two.ping("b", size=1380)
        assert two.iperf3("a", "-n", "3M")["sum_received"]["bytes"] > 100_000
    assert ours.process.poll() is None and theirs.process.poll() is None


def test_a_peer_that_is_gone_for_a_while(two: Lab) -> None:
    """Its process stands still, and its socket fills; then it goes on, with the same session."""
    ours, theirs = (two.start(side, wirelane_program()) for side in "ab")
    two.connect(ours, theirs)
    assert two.ping("a")
    # `ip netns exec` has become the program itself.
    theirs.process.send_signal(signal.SIGSTOP)
    two.run("a", sys.executable, wirelane_faults.__file__, "numbers_out", INNER["b"], "7007", "30000")
    assert not two.ping("a", timeout_s=0.5)
    theirs.process.send_signal(signal.SIGCONT)
    assert two.ping("a", timeout_s=20) and two.ping("b")
    assert ours.process.poll() is None and theirs.process.poll() is None
