"""A bond: one device, several lanes, flows spread by wirelane itself."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Iterator

import pytest
from wirelane_gateways import INSIDE, LANES, Gateways, gateway_lab
from wirelane_lab import UNDERLAY, Lab, sh, wait_until, wireguard_go_program

pytestmark = pytest.mark.root

PIPELINED = 'mode = "pipelined"\ncrypto_workers = 2'


@pytest.fixture
def two(tmp_path: pathlib.Path) -> Iterator[Lab]:
    with gateway_lab(tmp_path) as made:
        yield made


def tx_bytes(gateways: Gateways, side: str) -> list[int]:
    return [int(lane["tx"]["bytes"]) for lane in gateways.ask(side, "stats")]


@pytest.mark.parametrize("head", ["", PIPELINED], ids=["inline", "pipelined"])
def test_two_elephants_do_not_share_a_lane(two: Lab, head: str) -> None:
    gateways = Gateways(two, head, bond=True)
    for side in "ab":
        gateways.start(side)
    assert two.ping("a") and two.ping("b", f"{INSIDE['a']}.1")
    before = tx_bytes(gateways, "a")
    report = two.iperf3("a", "-P", "2", "-b", "200M", target=f"{INSIDE['b']}.1", seconds=2)
    assert report["sum_received"]["bytes"] > 5_000_000
    carried = [after - earlier for after, earlier in zip(tx_bytes(gateways, "a"), before, strict=True)]
    assert min(carried) > 0.25 * sum(carried), f"one lane has both: {carried}, {gateways.bond_stats('a')}"
    # Both ends may ask for a lane's first session at once; then there are two handshakes.
    assert all(1 <= lane["handshakes"] <= 2 for lane in gateways.ask("a", "stats")), gateways.ask("a", "stats")
    bond = gateways.bond_stats("a")
    assert bond["flows_placed"] >= 3 and [thread["stage"] for thread in bond["threads"]] == ["read"]
    assert two.iperf3("a", "-R", "-P", "4", target=f"{INSIDE['b']}.1")["sum_received"]["bytes"] > 5_000_000


def test_packets_of_a_flow_stay_in_order_while_the_bond_changes(two: Lab) -> None:
    """Mode, CPU sets and the lanes change under traffic: no handshake on the lane that stays, nothing out of order."""
    gateways = Gateways(two, bond=True)
    for side in "ab":
        gateways.start(side)
    assert two.ping("a")
    server = two.popen("b", "iperf3", "-s", "-1", "--forceflush", log=two.folder / "server.log")
    wait_until(lambda: "Server listening" in (two.folder / "server.log").read_text(), "iperf3 server")
    report = two.folder / "client.json"
    options = ["-u", "-b", "20M", "-l", "1200", "-P", "4", "-t", "4", "-J"]
    client = two.popen("a", "iperf3", "-c", f"{INSIDE['b']}.1", *options, log=report)

    def handshakes() -> int:
        return int(gateways.ask("a", "stats")[0]["handshakes"])

    wait_until(lambda: min(tx_bytes(gateways, "a")) > 100_000, "both lanes carry flows", timeout_s=20)
    before = handshakes()
    for head, lanes in ((PIPELINED, [0, 1]), (PIPELINED, [0]), ("batch_packets = 16", [0]), ("", [0, 1])):
        for side in "ab":
            assert "changed:" in gateways.apply(side, gateways.config(side, head, lanes))
        start = tx_bytes(gateways, "a")[0]
        wait_until(lambda start=start: tx_bytes(gateways, "a")[0] > start + 200_000, "packets flow")  # type: ignore[misc]
    client.wait(timeout=30)
    server.wait(timeout=10)
    end = json.loads(report.read_text())["end"]
    assert [stream["udp"]["out_of_order"] for stream in end["streams"]] == [0] * 4
    assert handshakes() == before


def test_against_stock_peers_with_one_interface_a_lane(two: Lab) -> None:
    """Debian's wireguard-go on the far side: an interface a lane, and routes over both with an L4 hash."""
    gateways = Gateways(two, bond=True)
    gateways.start("a")
    hops: list[str] = []
    for lane in range(LANES):
        name = gateways.interface("b", lane)
        log = two.folder / f"{name}.log"
        two.popen("b", wireguard_go_program(), "-f", name, log=log)
        wait_until(lambda name=name: two.run("b", "wg", "show", name, check=False), f"{name} is there")  # type: ignore[misc]
        key = two.key_file(f"stock{lane}", gateways.keys["b", lane][0])
        words = ["listen-port", str(51820 + lane), "private-key", key, "peer", gateways.keys["a", lane][1]]
        words += ["endpoint", f"{UNDERLAY['a']}:{51820 + lane}", "allowed-ips", f"{INSIDE['a']}.0/24,198.18.128.0/32"]
        two.run("b", "wg", "set", name, *words)
        sh("ip", "-n", two.namespace("b"), "link", "set", name, "mtu", "1420", "up")
        hops += ["nexthop", "dev", name]
    for destination in (f"{INSIDE['a']}.0/24", "198.18.128.0/32"):
        sh("ip", "-n", two.namespace("b"), "route", "add", destination, "src", f"{INSIDE['b']}.1", *hops)
    target = f"{INSIDE['b']}.1"
    assert two.ping("a", target)
    for options in (("-P", "8"), ("-R", "-P", "8")):
        assert two.iperf3("a", *options, target=target)["sum_received"]["bytes"] > 5_000_000
    lanes = gateways.ask("a", "stats")
    assert all(lane["tx"]["packets"] > 100 and lane["rx"]["packets"] > 100 for lane in lanes), lanes


def test_a_flood_of_flows_takes_no_memory(two: Lab) -> None:
    gateways = Gateways(two, bond=True)
    process = gateways.start("a")
    gateways.start("b")
    assert two.ping("a", f"{INSIDE['b']}.1")

    def resident_kib() -> int:
        status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
        return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")))

    flood = "import socket; s = socket.socket(type=socket.SOCK_DGRAM); "
    flood += (
        f"[s.sendto(b'x', ('{INSIDE['b']}.%d' % (2 + n // 50000), 1 + n % 50000)) for n in range(START, START + 50000)]"
    )
    two.run("a", "python3", "-c", flood.replace("START", "0"))
    first = resident_kib()
    two.run("a", "python3", "-c", flood.replace("START", "50000"))
    assert resident_kib() < first + 2048, "flows beyond the table take no room"
    assert gateways.bond_stats("a")["flows_placed"] > 10_000
    assert two.ping("a", f"{INSIDE['b']}.1")


def test_a_lane_whose_peer_does_not_answer_is_avoided_while_its_session_lives(
    two: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With all times cut to a third: silence counts after five seconds, the session expires after sixty."""
    monkeypatch.setenv("WIRELANE_TEST_REKEY_AFTER_S", "40")
    gateways = Gateways(two, bond=True)
    for side in "ab":
        gateways.start(side)
    assert two.ping("a", f"{INSIDE['b']}.1")
    report = two.iperf3("a", "-P", "4", "-b", "20M", target=f"{INSIDE['b']}.1")
    assert report["sum_received"]["bytes"] > 100_000 and min(tx_bytes(gateways, "a")) > 10_000
    gateways.apply("b", gateways.config("b", lanes=[0]))
    flows = "import socket; s = [socket.socket(type=socket.SOCK_DGRAM) for _ in range(8)]; "
    flows += f"[o.sendto(bytes(1000), ('{INSIDE['b']}.1', 9)) for o in s]"

    def is_avoided() -> bool:
        before = tx_bytes(gateways, "a")
        two.run("a", "python3", "-c", flows)
        wait_until(lambda: sum(tx_bytes(gateways, "a")) >= sum(before) + 8000, "the flows have left", timeout_s=20)
        return tx_bytes(gateways, "a")[1] == before[1]

    wait_until(is_avoided, "new flows stay off the dead lane", timeout_s=40)
    assert gateways.ask("a", "stats")[1]["drops"].get("session_expired", 0) == 0
    gateways.apply("b", gateways.config("b"))
    wait_until(lambda: not is_avoided(), "the lane is used again", timeout_s=40)
