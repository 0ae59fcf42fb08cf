"""A bundle applied to two network namespaces by its own playbooks, run, and rolled back."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from app.bundles.builder import build_bundle
from tests.unit.bundles.sources import source
from tuner.candidate import Candidate
from tuner.host_tuning import HostTuning

REPOSITORY = Path(__file__).parents[2]
WIRELANE = REPOSITORY / "dataplane" / "target" / "release" / "wirelane"
pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")]


def run(*argv: str | Path, **options: object) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=120, **options)  # type: ignore[call-overload]
    assert done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
    return str(done.stdout)


class Gateways:
    """Two namespaces joined by a veth pair; each sees the /etc that the playbooks made for it over the machine's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.names = {side: f"wtb-{os.getpid()}-{side}" for side in "ab"}
        self.variables = {"a": "", "b": ""}
        self.processes: list[subprocess.Popen[bytes]] = []

    def create(self) -> None:
        for side, name in self.names.items():
            run("ip", "netns", "add", name)
            for folder in ("etc/systemd/system", "etc/sysctl.d", "etc/wireguard", "var/lib", "uapi"):
                (self.root(side) / folder).mkdir(parents=True)
        a, b = self.names.values()
        run("ip", "link", "add", "underlay", "netns", a, "type", "veth", "peer", "name", "underlay", "netns", b)
        for number, side in enumerate("ab", start=1):
            self.ip(side, "link", "set", "lo", "up")
            self.ip(side, "address", "add", f"198.18.0.{number}/30", "dev", "underlay")
            self.ip(side, "link", "set", "underlay", "up")
            self.ip(side, "link", "add", "inside", "type", "veth", "peer", "name", "gen")
            self.ip(side, "address", "add", f"198.19.{number}.1/24", "dev", "inside")
            self.ip(side, "link", "set", "inside", "up")
            self.ip(side, "link", "set", "gen", "up")

    def destroy(self) -> None:
        for process in self.processes:
            process.send_signal(signal.SIGTERM)
        for process in self.processes:
            process.wait(timeout=10)
        for name in self.names.values():
            for pid in run("ip", "netns", "pids", name).split():
                os.kill(int(pid), signal.SIGKILL)
            run("ip", "netns", "delete", name)

    def root(self, side: str) -> Path:
        return self.folder / side

    def ip(self, side: str, *argv: str) -> str:
        return run("ip", "-netns", self.names[side], *argv)

    def argv(self, side: str, *argv: str | Path) -> list[str]:
        """A command in the gateway's namespace, which is also where its /etc and its UAPI sockets are."""
        root = self.root(side)
        enter = (
            f"mount -t overlay overlay -o lowerdir={root}/etc:/etc /etc && "
            f'mkdir -p /run/wireguard && mount --bind {root}/uapi /run/wireguard && exec "$@"'
        )
        return ["ip", "netns", "exec", self.names[side], "sh", "-ec", enter, "sh", *map(str, argv)]

    def run(self, side: str, *argv: str | Path) -> str:
        return run(*self.argv(side, *argv), env={**os.environ, "WG_QUICK_USERSPACE_IMPLEMENTATION": "wireguard-go"})

    def start(self, side: str, *argv: str | Path, env: dict[str, str] | None = None) -> None:
        self.processes.append(subprocess.Popen(self.argv(side, *argv), env={**os.environ, **(env or {})}))

    def settings(self) -> dict[str, str]:
        """All settings of the underlay that a namespace has to itself."""
        return {side: run(*self.argv(side, "sh", "-c", SETTINGS)) for side in "ab"}

    def host_tuning(self, side: str, action: str, *, fails: bool = False) -> str:
        """What wiretune-host-tuning.service runs, with a folder for what was before of its own."""
        argv = self.argv(side, "python3", "-B", "/etc/wiretune/host-tuning", action)
        env = {**os.environ, "RUNTIME_DIRECTORY": str(self.root(side) / "tuning")}
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60, env=env)
        assert (done.returncode != 0) == fails, done.stdout + done.stderr
        return done.stdout + done.stderr

    def play(self, bundle: Path, playbook: str) -> dict[str, dict[str, int]]:
        """Runs a playbook of the bundle on both gateways; what it changed, by host."""
        lines = ["[gateways]"]
        for side, name in self.names.items():
            lines.append(
                f"gateway-{side} side={side} netns_namespace={name} netns_uapi_folder={self.root(side)}/uapi "
                f"install_root={self.root(side)} manage_services=false {self.variables[side]}"
            )
        (self.folder / "inventory.ini").write_text("\n".join(lines) + "\n")
        out = run(
            Path(sys.executable).with_name("ansible-playbook"),
            "--inventory",
            self.folder / "inventory.ini",
            "--connection",
            "netns",
            "--extra-vars",
            "ansible_python_interpreter=/usr/bin/python3",
            bundle / playbook,
            env={
                **os.environ,
                "ANSIBLE_CONNECTION_PLUGINS": str(REPOSITORY / "playbooks" / "plugins" / "connection"),
                "ANSIBLE_PIPELINING": "true",
                "ANSIBLE_NOCOLOR": "true",
                "ANSIBLE_STDOUT_CALLBACK": "default",
            },
        )
        recap = {}
        for line in out.partition("PLAY RECAP")[2].splitlines():
            host, colon, counts = line.partition(":")
            if colon:
                recap[host.strip()] = {key: int(n) for key, n in (pair.split("=") for pair in counts.split())}
        return recap


@pytest.fixture
def gateways(tmp_path: Path) -> Iterator[Gateways]:
    pair = Gateways(tmp_path)
    try:
        pair.create()
        yield pair
    finally:
        pair.destroy()


@contextmanager
def unpacked(winner: Candidate, folder: Path) -> Iterator[Path]:
    info = build_bundle(source(winner), folder / "bundle.tar.gz")
    with tarfile.open(folder / "bundle.tar.gz") as tar:
        tar.extractall(folder, filter="data")
    yield folder / info.name
    shutil.rmtree(folder / info.name)


def dump(root: Path) -> dict[str, tuple[int, int, bytes]]:
    """Every file and folder under a root: mode, time of change, content. Times of folders move with their entries."""
    found = {}
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        content = path.read_bytes() if path.is_file() else b""
        found[str(path.relative_to(root))] = (status.st_mode, status.st_mtime_ns if path.is_file() else 0, content)
    return found


def differences(gateways: Gateways, before: dict[str, dict[str, tuple[int, int, bytes]]]) -> dict[str, object]:
    """What is not as it was, by gateway and name: (before, after)."""
    found: dict[str, object] = {}
    for side in "ab":
        then, now = before[side], dump(gateways.root(side))
        found |= {
            f"{side}/{name}": (then.get(name), now.get(name))
            for name in then.keys() | now.keys()
            if then.get(name) != now.get(name)
        }
    return found


def changed(recap: dict[str, dict[str, int]]) -> list[int]:
    assert len(recap) == 2
    assert all(counts["failed"] == counts["unreachable"] == 0 for counts in recap.values())
    return [counts["changed"] for counts in recap.values()]


SETTINGS = (
    "ethtool -k underlay; ethtool -l underlay; tc qdisc show dev underlay; ip -d link show underlay;"
    " grep -r . /sys/class/net/underlay/queues --include=[rx]ps_cpus"
)
ECHO = """
import socket, sys
with socket.create_server((sys.argv[1], 7007)) as server:
    print("listening", flush=True)
    with server.accept()[0] as connection:
        connection.sendall(connection.recv(100))
"""
ASK = """
import socket, sys
with socket.create_connection((sys.argv[1], 7007), timeout=15, source_address=(sys.argv[2], 0)) as connection:
    connection.sendall(b"over the lane")
    print(connection.recv(100).decode())
"""


def assert_carries(gateways: Gateways, from_address: str, to_address: str) -> None:
    """A TCP connection from gateway a to gateway b gets its bytes back; TCP repeats what waits for the handshake."""
    echo = subprocess.Popen(gateways.argv("b", "python3", "-c", ECHO, to_address), stdout=subprocess.PIPE)
    gateways.processes.append(echo)
    assert echo.stdout is not None
    assert echo.stdout.readline() == b"listening\n"
    assert gateways.run("a", "python3", "-c", ASK, to_address, from_address) == "over the lane\n"
    assert echo.wait(timeout=5) == 0


INLINE = Candidate(lanes=2)
WIREGUARD_GO = Candidate(engine="wireguard-go", mode=None, lanes=2)


def test_apply_is_idempotent_and_rollback_restores_everything(gateways: Gateways, tmp_path: Path) -> None:
    # Gateway a has an older configuration with keys, gateway b has nothing.
    old = gateways.root("a") / "etc" / "wiretune"
    (old / "keys").mkdir(parents=True, mode=0o700)
    (old / "wirelane.toml").write_text("# older\n")
    (old / "wirelane.toml").chmod(0o640)
    (old / "keys" / "wl0").write_text(run("wg", "genkey"))
    (old / "keys" / "wl0").chmod(0o600)
    (gateways.root("a") / "etc/sysctl.d/90-wiretune.conf").write_text("# older\n")
    before = {side: dump(gateways.root(side)) for side in "ab"}
    with unpacked(INLINE, tmp_path) as bundle:
        assert all(count > 0 for count in changed(gateways.play(bundle, "apply.yml")))
        applied = {side: dump(gateways.root(side)) for side in "ab"}
        assert changed(gateways.play(bundle, "apply.yml")) == [0, 0]
        assert differences(gateways, applied) == {}
        for side, far in ("ab", "ba"):
            secrets = {path.name: path for path in (gateways.root(side) / "etc/wiretune/keys").iterdir()}
            assert {name: path.stat().st_mode & 0o777 for name, path in secrets.items()} == {"wl0": 0o600, "wl1": 0o600}
            config = tomllib.loads(applied[far]["etc/wiretune/wirelane.toml"][2].decode())
            for lane in config["lane"]:
                public = run("wg", "pubkey", input=secrets[lane["interface"]].read_text()).strip()
                assert lane["peer"][0]["public_key"] == public
            assert (
                applied[side]["etc/sysctl.d/90-wiretune.conf"][2] == (bundle / side / "90-wiretune.conf").read_bytes()
            )
        assert applied["a"]["etc/wiretune/keys/wl0"] == before["a"]["etc/wiretune/keys/wl0"], "an older key is kept"
        changed(gateways.play(bundle, "rollback.yml"))
        assert differences(gateways, before) == {}
        assert changed(gateways.play(bundle, "rollback.yml")) == [0, 0]
        assert differences(gateways, before) == {}


def test_a_gateway_on_stock_wireguard_carries_every_lane(gateways: Gateways, tmp_path: Path) -> None:
    """Gateway a stays on wg-quick, gateway b runs wireguard-go's lanes: one side is migrated at a time."""
    with unpacked(WIREGUARD_GO, tmp_path) as bundle:
        gateways.variables["a"] = "stock_wireguard=true"
        changed(gateways.play(bundle, "apply.yml"))
    for number, lane in enumerate(("wl0", "wl1")):
        gateways.start("b", "wireguard-go", "--foreground", lane)
        environment = gateways.root("b") / "etc/wiretune/lanes" / f"{lane}.env"
        settings = dict(line.split("=", 1) for line in environment.read_text().splitlines())
        run(*gateways.argv("b", "sh", "/etc/wiretune/lane-up.sh", lane), env={**os.environ, **settings})
        gateways.run("a", "wg-quick", "up", f"/etc/wireguard/{lane}.conf")
        assert_carries(gateways, f"198.18.128.{2 * number}", f"198.18.128.{2 * number + 1}")
    for side, far in ("a2", "b1"):
        assert gateways.ip(side, "route", "show", f"198.19.{far}.0/24").count("nexthop dev wl") == 2
    assert_carries(gateways, "198.19.1.1", "198.19.2.1")
    gateways.run("a", "wg-quick", "down", "/etc/wireguard/wl0.conf")
    left = gateways.ip("a", "route", "show", "198.19.2.0/24")
    assert "wl1" in left
    assert "wl0" not in left
    gateways.run("a", "wg-quick", "down", "/etc/wireguard/wl1.conf")
    assert gateways.ip("a", "route", "show", "198.19.2.0/24") == ""


@pytest.mark.skipif(not WIRELANE.exists(), reason="dataplane/target/release/wirelane is not built")
def test_wirelane_runs_what_was_placed_beside_a_stock_peer(gateways: Gateways, tmp_path: Path) -> None:
    with unpacked(INLINE, tmp_path) as bundle:
        gateways.variables["b"] = "stock_wireguard=true"
        changed(gateways.play(bundle, "apply.yml"))
    # With the capabilities that the unit leaves it, and no way to more.
    confined = ("setpriv", "--no-new-privs", "--bounding-set", "-all,+net_admin", "--inh-caps", "-all")
    gateways.start("a", *confined, WIRELANE, "run", "--config", "/etc/wiretune/wirelane.toml")
    for number, lane in enumerate(("wl0", "wl1")):
        gateways.run("b", "wg-quick", "up", f"/etc/wireguard/{lane}.conf")
        assert_carries(gateways, f"198.18.128.{2 * number}", f"198.18.128.{2 * number + 1}")
    assert gateways.ip("a", "route", "show", "198.19.2.0/24").count("nexthop") == 2
    assert_carries(gateways, "198.19.1.1", "198.19.2.1")


TUNED = Candidate(mtu=1400, host=HostTuning(underlay_mtu=1480, gro=True, tso=False, qdisc="pfifo", rps_cpus="0"))


def test_host_settings_are_made_and_undone_by_what_was_placed(gateways: Gateways, tmp_path: Path) -> None:
    """The playbook places files; a namespace has no systemd, so that the service's commands are run here."""
    files, before = {side: dump(gateways.root(side)) for side in "ab"}, gateways.settings()
    with unpacked(TUNED, tmp_path) as bundle:
        changed(gateways.play(bundle, "apply.yml"))
        assert gateways.settings() == before, "manage_services=false leaves settings alone"
        assert "no settings are made" in gateways.host_tuning("a", "verify", fails=True)
        for side in "ab":
            assert "mtu underlay = 1480" in gateways.host_tuning(side, "apply")
            assert gateways.host_tuning(side, "verify") == ""
        made = gateways.settings()
        assert "mtu 1480" in made["a"] and "qdisc pfifo" in made["a"]
        assert "generic-receive-offload: on" in made["b"]
        # A second start begins from the host as it was found, and somebody else's change is seen.
        gateways.host_tuning("a", "apply")
        assert gateways.settings() == made
        gateways.ip("a", "link", "set", "underlay", "mtu", "1400")
        assert "mtu underlay is 1400 instead of 1480" in gateways.host_tuning("a", "verify", fails=True)
        for side in "ab":
            gateways.host_tuning(side, "restore")
        assert gateways.settings() == before
        assert_refusals(gateways)
        assert gateways.settings() == before, "one setting that is refused leaves none"
        for side in "ab":
            (gateways.root(side) / "tuning").rmdir()  # As systemd does it with a RuntimeDirectory.
        changed(gateways.play(bundle, "rollback.yml"))
        assert differences(gateways, files) == {}


def assert_refusals(gateways: Gateways) -> None:
    """Gateway a says what is wrong with each of these settings."""
    file = gateways.root("a") / "etc/wiretune/host-tuning.json"
    text = file.read_text()
    good = json.loads(text)
    for bad, words in (
        ({"settings": good["settings"] | {"ring_packets": 512}}, "no ring underlay rx"),
        ({"settings": {"gro": True, "qdisc": "pfifo; id"}}, "refuses qdisc underlay"),
        ({"settings": {"kernel.panic": 1}}, "knows no setting 'kernel.panic'"),
        ({"settings": [1]}, "host-tuning.json cannot be read"),
        ({"toward": "198.18.0.1"}, "this host's own"),
    ):
        file.write_text(json.dumps(good | bad))
        assert words in gateways.host_tuning("a", "apply", fails=True)
    file.write_text("{")
    assert "host-tuning.json cannot be read" in gateways.host_tuning("a", "apply", fails=True)
    file.write_text(text)
