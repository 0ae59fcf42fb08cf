"""What scripts for wireguard-go do with a device: move it to another namespace, set everything, change everything."""

from __future__ import annotations

import base64
import itertools
import pathlib
import random
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from wirelane_lab import (
    INNER,
    INNER_IPV6,
    UAPI_FOLDER,
    UNDERLAY,
    Lab,
    lab,
    require_root,
    sh,
    wait_until,
    wirelane_program,
)

pytestmark = pytest.mark.root

# The ports of wireguard-go's own test script: they take CAP_NET_BIND_SERVICE.
PORTS = {"a": 1, "b": 2}
OTHER = {"a": "b", "b": "a"}
LARGE_MTU = 34736
SOME_TCP = ("-n", "5M")
SOME_UDP = ("-u", "-b", "20M", "-n", "500K", "-l", "1200")


@pytest.fixture
def two(tmp_path: pathlib.Path) -> Iterator[Lab]:
    require_root()
    with lab(tmp_path) as made:
        yield made


@dataclass
class Script:
    """Both programs run in the namespace `m`, which has nothing but a loopback; their devices have moved to a and b."""

    two: Lab
    keys: dict[str, tuple[str, str]]

    def name(self, side: str) -> str:
        return self.two.device_name(side)

    def wg(self, side: str, *words: str) -> str:
        return self.two.run(side, "wg", *words)

    def set(self, side: str, *words: str) -> None:
        self.wg(side, "set", self.name(side), *words)

    def link(self, side: str, *words: str) -> None:
        sh("ip", "-n", self.two.namespace(side), "link", "set", "dev", self.name(side), *words)

    def transfer(self, side: str) -> tuple[int, int]:
        _, received, sent = self.wg(side, "show", self.name(side), "transfer").split()
        return int(received), int(sent)

    def set_peers(self, loopback: str, psk: str) -> None:
        for side, other in OTHER.items():
            self.set(
                side,
                *("private-key", self.two.key_file(f"{side}.key", self.keys[side][0]), "listen-port", str(PORTS[side])),
                *("peer", self.keys[other][1], "preshared-key", self.two.key_file("psk", psk)),
                *("allowed-ips", f"{INNER[other]}/32,{INNER_IPV6[other]}/128"),
                *("endpoint", f"{loopback}:{PORTS[other]}"),
            )

    def check_pings(self) -> None:
        """ICMP of two sizes from each side, in IPv4 and IPv6."""
        for side, target in itertools.product("ab", (INNER, INNER_IPV6)):
            assert self.two.ping(side, target[OTHER[side]]) and self.two.ping(side, target[OTHER[side]], size=1300)

    def check_flows(self) -> None:
        """TCP each way and UDP, in IPv4 and IPv6."""
        for options in ((), ("-R",)):
            for target in (INNER["b"], INNER_IPV6["b"]):
                assert self.two.iperf3("a", *SOME_TCP, *options, target=target)["sum_received"]["bytes"] > 100_000
        assert self.two.iperf3("a", *SOME_UDP, target=INNER_IPV6["b"])["sum"]["packets"] > 100


@pytest.fixture
def moved(two: Lab) -> Iterator[Script]:
    middle = two.namespace("m")
    sh("ip", "netns", "add", middle)
    script = Script(two, {side: two.keys() for side in "ab"})
    try:
        sh("ip", "-n", middle, "link", "set", "lo", "up")
        for side in "ab":
            sh("ip", "-n", two.namespace(side), "link", "del", "underlay", check=False)
            two.run("m", wirelane_program(), script.name(side))
            sh("ip", "-n", middle, "link", "set", "dev", script.name(side), "netns", two.namespace(side))
            sh("ip", "-n", two.namespace(side), "addr", "add", f"{INNER[side]}/31", "dev", script.name(side))
            sh(
                "ip",
                "-n",
                two.namespace(side),
                "addr",
                "add",
                f"{INNER_IPV6[side]}/64",
                "dev",
                script.name(side),
            )
        yield script
    finally:
        for side in "ab":
            sh("ip", "-n", two.namespace(side), "link", "del", script.name(side), check=False)
        for side in "ab":
            socket = UAPI_FOLDER / f"{script.name(side)}.sock"
            wait_until(lambda socket=socket: not socket.exists(), f"the process of {socket} ends")
        sh("ip", "netns", "del", middle)


def test_devices_that_have_moved_carry_everything(moved: Script) -> None:
    two, psk = moved.two, sh("wg", "genpsk").strip()
    moved.set_peers("127.0.0.1", psk)
    assert moved.transfer("a") == moved.transfer("b") == (0, 0)
    for side in "ab":
        moved.link(side, "mtu", "1420", "up")
    assert two.ping("a") and two.ping("b")  # the first call may have come before the other device was up
    before = [moved.transfer(side) for side in "ab"]
    moved.check_pings()

    def count_since(side: int) -> tuple[int, int]:
        received, sent = moved.transfer("ab"[side])
        return received - before[side][0], sent - before[side][1]

    # What one has sent the other has received: nothing is lost on a quiet loopback, and nothing is counted twice.
    wait_until(lambda: count_since(0) == count_since(1)[::-1] > (4 * 1300, 4 * 1300), "both count the same")
    moved.check_flows()

    moved.set_peers("[::1]", psk)
    moved.check_pings()
    assert "[::1]:2" in moved.wg("a", "show", moved.name("a"), "endpoints")
    moved.check_flows()

    for side in "ab":
        moved.link(side, "mtu", str(LARGE_MTU))
    assert two.ping("a", size=LARGE_MTU - 28)
    assert two.iperf3("a", *SOME_TCP)["sum_received"]["bytes"] > 100_000
    moved.link("a", "down")
    assert not two.ping("b", timeout_s=0.3)
    moved.link("a", "mtu", "1280", "up")
    moved.link("b", "mtu", "1280")
    sh("ip", "-n", two.namespace("a"), "addr", "add", f"{INNER_IPV6['a']}/64", "dev", moved.name("a"))
    moved.check_pings()
    moved.check_flows()


def test_everything_changes_while_it_runs(moved: Script) -> None:
    two, psk = moved.two, sh("wg", "genpsk").strip()
    moved.set_peers("127.0.0.1", psk)
    for side in "ab":
        moved.link(side, "up")
    assert two.ping("a")

    # The preshared key: the session goes on, the next handshake takes it.
    other_psk = two.key_file("psk", sh("wg", "genpsk").strip())
    for side, other in OTHER.items():
        moved.set(side, "peer", moved.keys[other][1], "preshared-key", other_psk)
    assert two.ping("a") and two.ping("b")

    # The private key of one side; the other learns the new public key and forgets the old one.
    old, moved.keys["a"] = moved.keys["a"], two.keys()
    moved.set("a", "private-key", two.key_file("a.key", moved.keys["a"][0]))
    moved.set("b", "peer", moved.keys["a"][1], "preshared-key", other_psk, "endpoint", "127.0.0.1:1")
    moved.set("b", "peer", moved.keys["a"][1], "allowed-ips", f"{INNER['a']}/32", "persistent-keepalive", "1")
    moved.set("b", "peer", old[1], "remove")
    assert two.ping("b") and two.ping("a")

    # Ports on both sides, one after the other: each hears the other at its new place.
    for side, port in (("a", 1001), ("b", 1002)):
        moved.set(side, "listen-port", str(port))
        assert two.ping(side)
        endpoint = moved.wg(OTHER[side], "show", moved.name(OTHER[side]), "endpoints").split()[1]
        assert endpoint == f"127.0.0.1:{port}"

    # Allowed IPs decide both where packets go and from whom they are taken.
    moved.set("a", "peer", moved.keys["b"][1], "allowed-ips", "198.18.255.0/24")
    assert not two.ping("a", timeout_s=0.3) and not two.ping("b", timeout_s=0.3)
    moved.set("a", "peer", moved.keys["b"][1], "allowed-ips", f"198.18.255.0/24,{INNER['b']}/32")
    assert two.ping("a") and two.ping("b")


def test_a_large_configuration_reads_back_and_sets_itself(moved: Script) -> None:
    """Ten thousand allowed IPs and a thousand peers through wg's text, and the same again from what it shows."""
    two, name = moved.two, moved.name("a")
    draw = random.Random(7)
    peers = {}
    for number in range(1000):
        prefixes = {f"10.{number % 250}.{number // 250}.{i}/32" for i in range(5)}
        prefixes |= {f"2001:2:{number:x}:{draw.randrange(1 << 16):x}::/{draw.choice((64, 80, 128))}" for _ in range(5)}
        peers[draw.randbytes(32)] = prefixes
    encoded = {base64.b64encode(key).decode(): prefixes for key, prefixes in peers.items()}
    path = two.folder / "large.conf"
    path.write_text(
        f"[Interface]\nPrivateKey = {moved.keys['a'][0]}\nListenPort = 77\nFwMark = 0x7\n"
        + "".join(
            f"[Peer]\nPublicKey = {key}\nEndpoint = 198.18.9.9:{1 + i}\nAllowedIPs = {', '.join(sorted(prefixes))}\n"
            for i, (key, prefixes) in enumerate(encoded.items())
        )
    )
    moved.wg("a", "setconf", name, str(path))
    shown = moved.wg("a", "showconf", name)
    assert shown.count("[Peer]") == 1000 and "FwMark = 0x7" in shown and "ListenPort = 77" in shown
    allowed = dict(line.split("\t") for line in moved.wg("a", "show", name, "allowed-ips").splitlines())
    assert allowed.keys() == encoded.keys()
    assert sum(len(prefixes.split()) for prefixes in allowed.values()) == sum(map(len, peers.values()))
    path.write_text(shown)
    moved.wg("a", "syncconf", name, str(path))
    moved.wg("a", "setconf", name, str(path))
    assert moved.wg("a", "showconf", name) == shown


def test_answers_leave_from_the_address_that_was_called(two: Lab) -> None:
    """A host with two addresses: its peer hears it where it called it, and not where routing would send from."""
    ours, theirs = (two.start(side, wirelane_program()) for side in "ab")
    second = "198.18.7.7"
    sh("ip", "-n", two.namespace("b"), "addr", "add", f"{second}/32", "dev", "lo")
    sh("ip", "-n", two.namespace("a"), "route", "add", f"{second}/32", "via", UNDERLAY["b"])
    two.connect(ours, theirs, endpoints=(True, False))
    two.set(ours, "peer", theirs.public_key, "endpoint", f"{second}:51821")
    for _ in range(3):
        assert two.ping("a") and two.ping("b")
        assert two.dump(ours)["endpoint"] == f"{second}:51821"
    # The address goes: routing chooses another, and the peer follows.
    sh("ip", "-n", two.namespace("b"), "addr", "del", f"{second}/32", "dev", "lo")
    assert two.ping("b")
    wait_until(lambda: two.dump(ours)["endpoint"] == f"{UNDERLAY['b']}:51821", "the peer is heard elsewhere")
    assert two.ping("a")


def test_link_local_endpoints(two: Lab) -> None:
    """An endpoint that is one only together with its interface, by name as wg writes it."""
    ours, theirs = (two.start(side, wirelane_program()) for side in "ab")
    two.connect(ours, theirs, endpoints=(False, False))
    for side, last in (("a", 1), ("b", 2)):
        sh("ip", "-n", two.namespace(side), "addr", "add", f"fe80::{last}/64", "dev", "underlay")
    two.set(ours, "peer", theirs.public_key, "endpoint", "[fe80::2%underlay]:51821")
    assert two.ping("a") and two.ping("b")
    assert two.dump(ours)["endpoint"] == "[fe80::2%underlay]:51821"
