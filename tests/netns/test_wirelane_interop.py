"""wirelane against another WireGuard implementation (wireguard-go), in both roles, over a real veth link."""

from __future__ import annotations

import pathlib
import time
from collections.abc import Iterator

import pytest
from wirelane_lab import (
    INNER,
    INNER_IPV6,
    UNDERLAY_IPV6,
    Lab,
    lab,
    require_root,
    sh,
    wait_until,
    wireguard_go_program,
    wirelane_program,
)

pytestmark = pytest.mark.root

MODES = ("inline", "pipelined")


@pytest.fixture
def two(tmp_path: pathlib.Path) -> Iterator[Lab]:
    require_root()
    with lab(tmp_path) as made:
        yield made


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("role", ["initiator", "responder"])
def test_both_roles_carry_traffic_both_ways(two: Lab, mode: str, role: str) -> None:
    """Only the initiator knows the other's endpoint, so the roles are certain."""
    ours = two.start("a", wirelane_program(), {"WIRELANE_MODE": mode})
    theirs = two.start("b", wireguard_go_program())
    two.connect(ours, theirs, endpoints=(role == "initiator", role == "responder"))
    assert two.ping("a" if role == "initiator" else "b")
    assert two.ping("a") and two.ping("b")
    assert two.ping("a", size=20000), "fragments inside the tunnel"
    for options in ((), ("-R",)):
        report = two.iperf3("a", *options)
        assert report["sum_received"]["bytes"] > 5_000_000
    assert two.dump(ours)["latest_handshake"] != "0"
    assert int(two.dump(ours)["rx"]) > 1_000_000


@pytest.mark.parametrize("mode", MODES)
def test_traffic_flows_across_a_rekey(two: Lab, mode: str) -> None:
    """With the rekey time cut to one second by the test-only override, several rekeys fall into one transfer."""
    ours = two.start("a", wirelane_program(), {"WIRELANE_MODE": mode, "WIRELANE_TEST_REKEY_AFTER_S": "1"})
    theirs = two.start("b", wireguard_go_program())
    two.connect(ours, theirs)
    assert two.ping("a")
    first = int(two.dump(ours)["latest_handshake"])
    report = two.iperf3("a", "--bidir", seconds=3)
    assert report["sum_received"]["bytes"] > 5_000_000
    assert int(two.dump(ours)["latest_handshake"]) > first
    assert two.ping("b")


@pytest.mark.parametrize("restarted", ["ours", "theirs"])
def test_traffic_resumes_after_either_end_restarts(two: Lab, restarted: str) -> None:
    ours, theirs = two.start("a", wirelane_program()), two.start("b", wireguard_go_program())
    two.connect(ours, theirs)
    assert two.ping("a")
    old = ours if restarted == "ours" else theirs
    two.stop(old.process)
    wait_until(lambda: old.name not in sh("ip", "-n", two.namespace(old.side), "link"), "the device is gone")
    new = two.start(old.side, old.program, keys=(old.private_key, old.public_key))
    ours, theirs = (new, theirs) if restarted == "ours" else (ours, new)
    two.connect(ours, theirs)
    assert two.ping(old.side), "the restarted end begins a handshake"
    assert two.ping("a" if old.side == "b" else "b")


def test_preshared_key(two: Lab) -> None:
    ours, theirs = two.start("a", wirelane_program()), two.start("b", wireguard_go_program())
    psk = sh("wg", "genpsk").strip()
    two.connect(ours, theirs, preshared_key=psk)
    assert two.ping("a") and two.ping("b")
    assert two.dump(ours)["preshared_key"] == psk


def test_a_wrong_preshared_key_never_carries_traffic(two: Lab) -> None:
    ours, theirs = two.start("a", wirelane_program()), two.start("b", wireguard_go_program())
    two.connect(ours, theirs, preshared_key=sh("wg", "genpsk").strip())
    two.set(theirs, "peer", ours.public_key, "preshared-key", two.key_file("other", sh("wg", "genpsk").strip()))
    assert not two.ping("a", timeout_s=1.0)
    assert two.dump(ours)["latest_handshake"] == "0"


@pytest.mark.parametrize("mode", MODES)
def test_ipv6_inside_and_outside(two: Lab, mode: str) -> None:
    ours = two.start("a", wirelane_program(), {"WIRELANE_MODE": mode})
    theirs = two.start("b", wireguard_go_program())
    two.connect(ours, theirs, underlay=UNDERLAY_IPV6)
    assert two.ping("a", INNER_IPV6["b"]) and two.ping("a", INNER["b"])
    assert two.dump(ours)["endpoint"].startswith("[2001:2::2]:")
    for options in ((), ("-R",)):
        assert two.iperf3("a", *options, target=INNER_IPV6["b"])["sum_received"]["bytes"] > 5_000_000


def test_roaming_follows_the_peers_new_port(two: Lab) -> None:
    """The peer's socket moves; its first authenticated packet from there tells where it is now."""
    ours, theirs = two.start("a", wirelane_program()), two.start("b", wireguard_go_program())
    two.connect(ours, theirs)
    assert two.ping("a")
    assert two.dump(ours)["endpoint"].endswith(":51821")
    two.set(theirs, "listen-port", "51999")
    assert two.ping("b")
    assert two.dump(ours)["endpoint"].endswith(":51999")
    assert two.ping("a")


def test_our_listen_port_and_fwmark_change_while_the_session_lives(two: Lab) -> None:
    ours, theirs = two.start("a", wirelane_program()), two.start("b", wireguard_go_program())
    two.connect(ours, theirs)
    assert two.ping("a")
    two.set(ours, "listen-port", "40404", "fwmark", "0x51")
    assert two.run("a", "wg", "show", ours.name, "fwmark").strip() == "0x51"
    assert two.ping("a") and two.ping("b")
    assert two.dump(theirs)["endpoint"].endswith(":40404")


@pytest.mark.parametrize("off", ["-gso,-gro,-tso,-uso", "-gso", "-gro", "-tso", "-uso"])
def test_without_offloads_it_is_only_slower(two: Lab, off: str) -> None:
    ours = two.start("a", wirelane_program(), {"WIRELANE_OFFLOADS": off})
    theirs = two.start("b", wirelane_program(), {"WIRELANE_OFFLOADS": off})
    two.connect(ours, theirs)
    assert two.ping("a")
    assert two.iperf3("a", "--bidir")["sum_received"]["bytes"] > 5_000_000


@pytest.mark.parametrize("aead", ["ifma", "avx512", "avx2", "sse", "portable"])
def test_each_aead_backend_speaks_to_the_others(two: Lab, aead: str) -> None:
    available = sh(wirelane_program(), "doctor", "--json")
    if f'"{aead}"' not in available:
        pytest.skip(f"this machine has no {aead}")
    ours = two.start("a", wirelane_program(), {"WIRELANE_AEAD": aead})
    theirs = two.start("b", wireguard_go_program())
    two.connect(ours, theirs)
    assert two.ping("a") and two.ping("b", size=1300)
    assert two.iperf3("a")["sum_received"]["bytes"] > 2_000_000


@pytest.mark.parametrize("mode", MODES)
def test_udp_datagrams_arrive_in_order_and_whole(two: Lab, mode: str) -> None:
    ours = two.start(
        "a", wirelane_program(), {"WIRELANE_MODE": mode, "WIRELANE_CRYPTO_WORKERS": "3"} if mode == "pipelined" else {}
    )
    theirs = two.start("b", wirelane_program(), {"WIRELANE_MODE": mode})
    two.connect(ours, theirs)
    assert two.ping("a")
    report = two.iperf3("a", "-u", "-b", "50M", "-l", "1200")
    stream = report["streams"][0]["udp"]
    assert stream["out_of_order"] == 0
    lost_on_the_way = report["sum"]["lost_packets"] - two.full_socket_losses("b")
    assert stream["packets"] > 3000 and lost_on_the_way < 0.02 * stream["packets"], report["sum"]


def test_the_tun_goes_down_and_up_and_its_mtu_changes(two: Lab) -> None:
    ours, theirs = two.start("a", wirelane_program()), two.start("b", wireguard_go_program())
    two.connect(ours, theirs)
    assert two.ping("a")
    sh("ip", "-n", two.namespace("a"), "link", "set", ours.name, "down")
    assert not two.ping("b", timeout_s=0.3)
    two.bring_up(ours, mtu=1300)
    assert two.ping("a", size=4000) and two.ping("b")
    assert two.iperf3("a")["sum_received"]["bytes"] > 2_000_000
    assert ours.process.poll() is None


def test_the_underlay_fails_and_comes_back(two: Lab) -> None:
    ours, theirs = two.start("a", wirelane_program()), two.start("b", wireguard_go_program())
    two.connect(ours, theirs)
    assert two.ping("a")
    sh("ip", "-n", two.namespace("a"), "link", "set", "underlay", "down")
    assert not two.ping("a", timeout_s=0.3)
    sh("ip", "-n", two.namespace("a"), "link", "set", "underlay", "up")
    sh("ip", "-n", two.namespace("a"), "addr", "replace", f"{UNDERLAY_IPV6['a']}/64", "dev", "underlay")
    assert two.ping("a") and two.ping("b")


def test_a_deleted_device_ends_the_process(two: Lab) -> None:
    ours = two.start("a", wirelane_program())
    sh("ip", "-n", two.namespace("a"), "link", "del", ours.name)
    wait_until(lambda: ours.process.poll() is not None, "wirelane ends", timeout_s=3)
    assert ours.process.returncode == 0
    assert not pathlib.Path(f"/var/run/wireguard/{ours.name}.sock").exists()


def test_a_removed_socket_ends_the_process(two: Lab) -> None:
    ours = two.start("a", wirelane_program())
    pathlib.Path(f"/var/run/wireguard/{ours.name}.sock").unlink()
    wait_until(lambda: ours.process.poll() is not None, "wirelane ends", timeout_s=4)
    assert ours.name not in sh("ip", "-n", two.namespace("a"), "link")


def test_sigterm_leaves_nothing(two: Lab) -> None:
    ours = two.start("a", wirelane_program())
    started = time.monotonic()
    two.stop(ours.process)
    assert time.monotonic() - started < 1
    assert ours.process.returncode == 0
    assert ours.name not in sh("ip", "-n", two.namespace("a"), "link")
    assert not pathlib.Path(f"/var/run/wireguard/{ours.name}.sock").exists()
