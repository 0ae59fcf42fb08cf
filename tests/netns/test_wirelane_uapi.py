"""The UAPI socket as `wg`, `wg syncconf` and `wg-quick` use it, and the program's start in the background."""

from __future__ import annotations

import contextlib
import pathlib
import socket
import stat
import subprocess
from collections.abc import Iterator

import pytest
from wirelane_lab import (
    INNER,
    UNDERLAY,
    Lab,
    hold_udp_port,
    lab,
    require_root,
    sh,
    wait_until,
    wireguard_go_program,
    wirelane_program,
)

pytestmark = pytest.mark.root


@pytest.fixture
def two(tmp_path: pathlib.Path) -> Iterator[Lab]:
    require_root()
    with lab(tmp_path) as made:
        yield made


def test_wg_shows_what_wg_set(two: Lab) -> None:
    device = two.start("a", wirelane_program())
    peer = two.keys()[1]
    psk = sh("wg", "genpsk").strip()
    two.set(
        device,
        *("listen-port", "12345", "fwmark", "0x99", "private-key", two.key_file("k", device.private_key)),
        *("peer", peer, "preshared-key", two.key_file("p", psk), "endpoint", "[2001:2::9]:77"),
        *("persistent-keepalive", "25", "allowed-ips", "10.0.0.0/8,2001:2:5::/48,10.1.2.3/32"),
    )
    lines = two.run("a", "wg", "show", device.name, "dump").splitlines()
    assert lines[0].split("\t") == [device.private_key, device.public_key, "12345", "0x99"]
    fields = lines[1].split("\t")
    assert fields[:3] == [peer, psk, "[2001:2::9]:77"]
    assert set(fields[3].split(",")) == {"10.0.0.0/8", "2001:2:5::/48", "10.1.2.3/32"}
    assert fields[4:] == ["0", "0", fields[6], "25"]
    two.set(device, "peer", peer, "allowed-ips", "")
    assert two.dump(device)["allowed_ips"] == "(none)"
    two.set(device, "peer", peer, "remove")
    assert len(two.run("a", "wg", "show", device.name, "dump").splitlines()) == 1
    assert device.private_key not in device.log.read_text()


def test_syncconf_and_setconf(two: Lab) -> None:
    device = two.start("a", wirelane_program())
    first, second = two.keys()[1], two.keys()[1]
    path = two.folder / "conf"
    text = f"[Interface]\nPrivateKey = {device.private_key}\nListenPort = 23456\n"
    path.write_text(
        text
        + "".join(f"[Peer]\nPublicKey = {key}\nAllowedIPs = 10.0.{i}.0/24\n" for i, key in enumerate((first, second)))
    )
    two.run("a", "wg", "setconf", device.name, str(path))
    assert set(two.run("a", "wg", "show", device.name, "peers").split()) == {first, second}
    path.write_text(text + f"[Peer]\nPublicKey = {second}\nAllowedIPs = 10.0.9.0/24\n")
    two.run("a", "wg", "syncconf", device.name, str(path))
    assert two.run("a", "wg", "show", device.name, "allowed-ips").split() == [second, "10.0.9.0/24"]


def test_a_port_in_use_is_an_error_and_changes_nothing(two: Lab) -> None:
    device = two.start("a", wirelane_program())
    before = two.run("a", "wg", "show", device.name, "listen-port")
    hold_udp_port(two, "a", 4242)
    with pytest.raises(AssertionError, match="Address already in use"):
        two.set(device, "listen-port", "4242")
    assert two.run("a", "wg", "show", device.name, "listen-port") == before
    assert "UDP port 4242 is in use" in device.log.read_text()


def ask(device_name: str, text: bytes) -> bytes:
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(3)
    client.connect(f"/var/run/wireguard/{device_name}.sock")
    client.sendall(text)
    client.shutdown(socket.SHUT_WR)
    return b"".join(iter(lambda: client.recv(65536), b""))


def test_nonsense_is_refused_and_the_socket_lives_on(two: Lab) -> None:
    device = two.start("a", wirelane_program())
    for text in (
        b"set=1\nlisten_port=x\n\n",
        b"set=1\nallowed_ip=10.0.0.0/8\n\n",
        b"hello\n\n",
        b"set=1\npublic_key=00\n\n",
    ):
        assert ask(device.name, text) == b"errno=-22\n\n", text
    with contextlib.suppress(ConnectionError):  # the connection ends, one way or the other
        ask(device.name, b"\xff" * 100_000)
    assert ask(device.name, b"get=1\n\n").endswith(b"errno=0\n\n")


def test_only_root_can_reach_the_socket_and_a_stale_one_is_replaced(two: Lab) -> None:
    path = pathlib.Path(f"/var/run/wireguard/{two.device_name('a')}.sock")
    path.parent.mkdir(exist_ok=True)
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(path))
    stale.close()
    device = two.start("a", wirelane_program())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    done = subprocess.run(
        ["ip", "netns", "exec", two.namespace("b"), device.program, "-f", device.name],
        capture_output=True,
        text=True,
        timeout=5,
        check=False,
    )
    assert done.returncode == 1 and "another process serves" in done.stderr


def test_without_f_it_goes_to_the_background(two: Lab) -> None:
    name = two.device_name("a")
    two.run("a", wirelane_program(), name)
    try:
        assert "listening port" in two.run("a", "wg", "show", name)
    finally:
        sh("ip", "-n", two.namespace("a"), "link", "del", name)
    wait_until(lambda: not pathlib.Path(f"/var/run/wireguard/{name}.sock").exists(), "the process ends")
    with pytest.raises(AssertionError, match="CPU 4000"):
        two.run("a", wirelane_program(), "--cpu-tx", "4000", name)


def test_without_root_it_says_so(two: Lab) -> None:
    argv = ["setpriv", "--reuid=65534", "--clear-groups", "--bounding-set=-all", wirelane_program(), "-f", "wlnobody"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=5, check=False)
    assert done.returncode != 0
    assert len(done.stderr.strip().splitlines()) == 1 and done.stderr.startswith("wirelane: "), done.stderr


def test_wg_quick_up_and_down(two: Lab) -> None:
    """wg-quick starts wirelane through WG_QUICK_USERSPACE_IMPLEMENTATION where the kernel has no WireGuard."""
    theirs = two.start("b", wireguard_go_program())
    name = two.device_name("a")
    private, public = two.keys()
    config = two.folder / f"{name}.conf"
    config.write_text(
        f"[Interface]\nPrivateKey = {private}\nListenPort = 51820\nAddress = {INNER['a']}/31\nMTU = 1380\n"
        f"[Peer]\nPublicKey = {theirs.public_key}\nAllowedIPs = {INNER['b']}/32\nEndpoint = {UNDERLAY['b']}:51821\n"
    )
    config.chmod(0o600)
    two.set(theirs, "listen-port", "51821", "private-key", two.key_file("b", theirs.private_key), "peer", public)
    two.set(theirs, "peer", public, "allowed-ips", f"{INNER['a']}/32")
    two.bring_up(theirs)
    environment = ["env", f"WG_QUICK_USERSPACE_IMPLEMENTATION={wirelane_program()}"]
    try:
        two.run("a", *environment, "wg-quick", "up", str(config))
        assert two.ping("a")
        assert "mtu 1380" in sh("ip", "-n", two.namespace("a"), "link", "show", name)
    finally:
        two.run("a", *environment, "wg-quick", "down", str(config))
    assert name not in sh("ip", "-n", two.namespace("a"), "link")
    wait_until(lambda: not pathlib.Path(f"/var/run/wireguard/{name}.sock").exists(), "the process ends")
