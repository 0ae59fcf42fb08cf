"""`wirelane apply`: a running gateway takes over another configuration; sessions and the order of packets stay."""

from __future__ import annotations

import json
import pathlib
import socket
import subprocess
from collections.abc import Iterator

import pytest
from wirelane_gateways import INSIDE, Gateways, gateway_lab
from wirelane_lab import Lab, hold_udp_port, sh, wait_until

pytestmark = pytest.mark.root

PIPELINED = 'mode = "pipelined"\ncrypto_workers = 2\nbatch_packets = 32'


@pytest.fixture
def two(tmp_path: pathlib.Path) -> Iterator[Lab]:
    with gateway_lab(tmp_path) as made:
        yield made


def refusal(gateways: Gateways, config: pathlib.Path) -> str:
    """What an `apply` that must fail says."""
    argv = ["ip", "netns", "exec", gateways.two.namespace("a"), *gateways.apply_command("a", config)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 1, done
    return done.stderr


def handshakes(gateways: Gateways, side: str) -> list[int]:
    return [lane["handshakes"] for lane in gateways.ask(side, "stats")]


def test_mode_and_cpu_sets_change_under_traffic(two: Lab) -> None:
    """No handshake, no packet out of order, hardly one lost, while both ends change several times."""
    gateways = Gateways(two)
    for side in "ab":
        gateways.start(side)
    target = f"{INSIDE['b']}.1"
    assert two.ping("a", "198.18.128.1") and two.ping("a", "198.18.128.3"), "each lane has its session"
    server = two.popen("b", "iperf3", "-s", "-1", "--forceflush", log=two.folder / "server.log")
    wait_until(lambda: "Server listening" in (two.folder / "server.log").read_text(), "iperf3 server")
    report = two.folder / "client.json"
    options = ["-u", "-b", "12M", "-l", "1200", "-P", "2", "-t", "5", "-J"]
    client = two.popen("a", "iperf3", "-c", target, *options, log=report)

    def carried() -> int:
        return sum(int(lane["tx"]["packets"]) for lane in gateways.ask("a", "stats"))

    before = [handshakes(gateways, side) for side in "ab"]
    for head in (PIPELINED, "batch_packets = 8\nsocket_buffer_bytes = 2097152", PIPELINED, "huge_pages = true"):
        for side in "ab":
            said = gateways.apply(side, gateways.config(side, head))
            assert "changed:" in said and ("mode: " in said or "huge_pages: " in said), said
        start = carried()
        wait_until(lambda start=start: carried() > start + 500, "packets flow", timeout_s=20)  # type: ignore[misc]
        lanes = gateways.ask("a", "placement")
        stages = {thread["stage"] for lane in lanes for thread in lane["threads"]}
        assert ("crypto" in stages) == (head == PIPELINED)
    client.wait(timeout=30)
    server.wait(timeout=10)
    end = json.loads(report.read_text())["end"]
    assert [stream["udp"]["out_of_order"] for stream in end["streams"]] == [0, 0]
    lost_on_the_way = end["sum"]["lost_packets"] - two.full_socket_losses("b")
    assert end["sum"]["packets"] > 5_000 and lost_on_the_way < 0.02 * end["sum"]["packets"], end["sum"]
    assert [handshakes(gateways, side) for side in "ab"] == before
    assert "like this already" in gateways.apply("a", gateways.config("a", "huge_pages = true"))


def test_lanes_come_and_go(two: Lab) -> None:
    gateways = Gateways(two)
    for side in "ab":
        gateways.start(side, lanes=[0])
    target = f"{INSIDE['b']}.1"
    assert two.ping("a", target)
    for side in "ab":
        said = gateways.apply(side, gateways.config(side, lanes=[0, 1]))
        assert f"lane {gateways.interface(side, 1)}: added" in said
    assert two.iperf3("a", "-P", "16", target=target)["sum_received"]["bytes"] > 5_000_000
    lanes = gateways.ask("a", "stats")
    assert all(lane["tx"]["bytes"] > 500_000 and lane["handshakes"] == 1 for lane in lanes), lanes
    kept = [thread["tid"] for thread in gateways.ask("a", "placement")[0]["threads"]]
    for side in "ab":
        said = gateways.apply(side, gateways.config(side, lanes=[0]))
        assert f"lane {gateways.interface(side, 1)}: removed" in said
        assert gateways.interface(side, 1) not in sh("ip", "-n", two.namespace(side), "link")
    assert [thread["tid"] for thread in gateways.ask("a", "placement")[0]["threads"]] == kept, "lane 0 is not touched"
    assert two.ping("a", target) and handshakes(gateways, "a") == [1]
    for side in "ab":
        gateways.apply(side, gateways.config(side, lanes=[1]))
    assert two.ping("a", target)
    assert [lane["interface"] for lane in gateways.ask("a", "stats")] == [gateways.interface("a", 1)]


def test_a_lane_changes_in_place(two: Lab) -> None:
    gateways = Gateways(two)
    for side in "ab":
        gateways.start(side)
    assert two.ping("a", f"{INSIDE['b']}.1")
    path = gateways.config("a")
    text = path.read_text()
    text = text.replace("listen_port = 51821", "listen_port = 40404\nmtu = 1300\nfwmark = 7")
    text = text.replace('"198.18.128.2/31"', '"198.18.128.2/31", "198.18.129.9/32"')
    text = text.replace(f'"{INSIDE["b"]}.0/24"]\nroute', f'"{INSIDE["b"]}.0/24", "198.19.3.0/24"]\nroute')
    text = text.replace('"198.18.128.3/32", ', '"198.18.128.3/32", "198.19.3.0/24", ')
    path.write_text(text)
    expected = ["listen_port: 51821 -> 40404", "mtu: 1420 -> 1300", "fwmark: 0 -> 7", "address 198.18.129.9/32: added"]
    expected += ["route 198.19.3.0/24: added", f"peer {gateways.keys['b', 1][1]}: changed"]
    dry = gateways.apply("a", path, "--dry-run")
    assert "would change:" in dry and all(words in dry for words in expected), dry
    assert gateways.ask("a", "stats")[1]["listen_port"] == 51821
    assert gateways.apply("a", path) == dry.replace("would change:", "changed:")
    lane = gateways.interface("a", 1)
    assert "mtu 1300" in sh("ip", "-n", two.namespace("a"), "link", "show", lane)
    assert "198.18.129.9/32" in sh("ip", "-n", two.namespace("a"), "addr", "show", lane)
    assert f"nexthop dev {lane}" in sh("ip", "-n", two.namespace("a"), "route", "show", "198.19.3.0/24")
    assert two.ping("a", "198.18.128.3"), "the peer follows to the new port"
    assert gateways.ask("a", "stats")[1]["handshakes"] == 1
    gateways.apply("a", gateways.config("a"))
    assert "198.18.129.9" not in sh("ip", "-n", two.namespace("a"), "addr")
    assert sh("ip", "-n", two.namespace("a"), "route", "show", "198.19.3.0/24") == ""


def test_what_cannot_be_is_refused_and_changes_nothing(two: Lab) -> None:
    gateways = Gateways(two)
    for side in "ab":
        gateways.start(side)
    assert two.ping("a", f"{INSIDE['b']}.1")
    hold_udp_port(two, "a", 40404)
    sh("ip", "-n", two.namespace("a"), "route", "add", "198.19.7.0/24", "dev", "underlay")

    def state() -> tuple[object, ...]:
        network = [sh("ip", "-n", two.namespace("a"), *what.split()) for what in ("-o addr", "route", "-o link")]
        threads = [thread["tid"] for lane in gateways.ask("a", "placement") for thread in lane["threads"]]
        ports = [lane["listen_port"] for lane in gateways.ask("a", "stats")]
        return (*network, threads, ports, handshakes(gateways, "a"))

    before = state()
    good = gateways.config("a").read_text()
    mtu = "mtu = 1300\nlisten_port"
    for old, new, why in (
        ('tx = "0"', 'tx = "4000"', "CPU 4000"),
        ("listen_port = 51820", "listen_port = 40404", "UDP port 40404 is in use"),
        ("[cpu_sets]", 'metrics_listen = "127.0.0.1:9"\n[cpu_sets]', "metrics_listen cannot be changed"),
        ('.0/24"]\nroute', '.0/24", "198.19.7.0/24"]\nroute', "cannot route 198.19.7.0/24"),
        ("listen_port = 51821", "listen_port = 51820", "51820 is the port of lane[0] too"),
        (f"{gateways.interface('a', 1)}", "underlay", "underlay"),
    ):
        assert old in good
        path = two.folder / "bad.toml"
        # With something else that would change, and must not.
        path.write_text(good.replace(old, new).replace("listen_port", mtu, 1))
        said = refusal(gateways, path)
        assert why in said, said
        assert state() == before, why
    client = socket.socket(socket.AF_UNIX)
    client.connect(str(gateways.control("a")))
    client.sendall(b'{"apply":{"config":"mode = 1"}}\n{"apply":{"file":"/etc/passwd"}}\n{"apply":7}\n')
    answers = client.makefile()
    assert all("error" in json.loads(answers.readline()) for _ in range(3))
    assert state() == before
    assert two.ping("a", f"{INSIDE['b']}.1")
