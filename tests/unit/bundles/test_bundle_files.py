"""The files of a bundle, read back by the programs that will obey them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from pydantic import ValidationError

from app.bundles.contents import BundleSource
from app.bundles.rendering import render
from app.bundles.site import NETNS_SITE, Site, SiteGateway
from tests.unit.bundles.sources import INLINE, PUBLIC_KEY, WIREGUARD_GO, gateway, result, source
from tuner.candidate import Candidate, GatewayCpuSets, StageCpuSets
from tuner.host_tuning import HostTuning

WIRELANE = Path(__file__).parents[3] / "dataplane" / "target" / "release" / "wirelane"
PIPELINED = Candidate(
    mode="pipelined",
    crypto_workers=2,
    lanes=12,
    cpu_sets=GatewayCpuSets(a=StageCpuSets(read="0", crypto="1-3")),
    numa_policy="prefer",
)
BOND = Candidate(lanes=3, spread="bond", cpu_sets=GatewayCpuSets(a=StageCpuSets(tx="0", rx="1", read="1")))
TUNED = Candidate(
    lanes=2, host=HostTuning(channels=2, ring_packets=512, rps_cpus="0-1", gro=False, netdev_budget=600, qdisc="fq")
)
PUBLIC_SITE = Site(
    a=SiteGateway(underlay_address="2001:db8::a", inner_networks=("10.1.0.0/16", "fd00:1::/48")),
    b=SiteGateway(underlay_address="2001:db8::b", inner_networks=("10.2.0.0/16",), inner_address="10.2.0.1"),
    lane_network="10.255.0.0/24",
    first_listen_port=40000,
    interface_prefix="site",
)


def filled(text: bytes) -> str:
    """The file as it is once the other gateway's keys are known."""
    words = text.decode()
    for gateway_name in "AB":
        for lane in range(64):
            key = PUBLIC_KEY if lane == 0 else "AAAA" + PUBLIC_KEY[4:]
            words = words.replace(f"@PUBLIC_KEY_{gateway_name}_LANE_{lane}@", key)
    return words


@pytest.mark.parametrize(
    "winner", [INLINE, PIPELINED, Candidate(lanes=64), BOND], ids=["inline", "pipelined", "64 lanes", "bond"]
)
@pytest.mark.parametrize("site", [NETNS_SITE, PUBLIC_SITE], ids=["netns", "site"])
def test_wirelane_configuration(winner: Candidate, site: Site, tmp_path: Path) -> None:
    files = render(BundleSource(result=result(winner), site=site))
    for name, far in (("a", site.b), ("b", site.a)):
        config = tomllib.loads(files[f"{name}/wirelane.toml"].decode())
        assert (config["mode"], config.get("crypto_workers")) == (winner.mode, winner.crypto_workers)
        assert config["cpu_sets"] == getattr(winner.cpu_sets, name).used()
        assert config["ecmp_routes"] == [str(network) for network in far.inner_networks]
        assert [lane["listen_port"] for lane in config["lane"]] == [
            site.first_listen_port + i for i in range(winner.lanes)
        ]
        last = config["lane"][-1]
        assert last["peer"][0]["public_key"] == f"@PUBLIC_KEY_{'B' if name == 'a' else 'A'}_LANE_{winner.lanes - 1}@"
        assert last["private_key_file"] == f"/etc/wiretune/keys/{site.interface(winner.lanes - 1)}"
        if winner.spread == "bond":
            assert config["spread"] == "bond" and config["bond"]["interface"] == site.interface(0)
            assert len(config["bond"]["addresses"]) == winner.lanes and "interface" not in last
        else:
            assert "bond" not in config and last["interface"] == site.interface(winner.lanes - 1)
    if not WIRELANE.exists():
        pytest.skip("dataplane/target/release/wirelane is not built")
    keys = tmp_path / "keys"
    interfaces = [site.interface(lane) for lane in range(winner.lanes)]
    (tmp_path / "keys.sh").write_bytes(files["keys.sh"])
    subprocess.run(["sh", tmp_path / "keys.sh", "generate", keys, *interfaces], capture_output=True, check=True)
    for name in ("a", "b"):
        config_file = tmp_path / f"{name}.toml"
        config_file.write_text(filled(files[f"{name}/wirelane.toml"]).replace("/etc/wiretune/keys", str(keys)))
        checked = subprocess.run(
            [WIRELANE, "check", "--config", config_file], capture_output=True, text=True, check=False
        )
        assert checked.returncode == 0, checked.stderr
        config_file.write_bytes(files[f"{name}/wirelane.toml"])
        unfilled = subprocess.run([WIRELANE, "check", "--config", config_file], capture_output=True, check=False)
        assert unfilled.returncode != 0, "a placeholder must not pass for a key"
        assert b"public key" in unfilled.stderr


def test_both_ends_of_a_lane_agree() -> None:
    files = render(BundleSource(result=result(PIPELINED), site=PUBLIC_SITE))
    near, far = (tomllib.loads(files[f"{name}/wirelane.toml"].decode())["lane"] for name in "ab")
    for lane_a, lane_b in zip(near, far, strict=True):
        assert lane_a["peer"][0]["endpoint"] == f"[2001:db8::b]:{lane_b['listen_port']}"
        assert lane_b["peer"][0]["endpoint"] == f"[2001:db8::a]:{lane_a['listen_port']}"
        low, high = (IPv4Address(lane["addresses"][0].split("/")[0]) for lane in (lane_a, lane_b))
        assert int(high) - int(low) == 1
        assert f"{low}/31" in lane_a["peer"][0]["allowed_ips"]
        assert f"{low}/31" in lane_b["peer"][0]["allowed_ips"]


def unit_settings(text: bytes) -> dict[str, str]:
    lines = [
        (line.split("=", 1)[0], line.split("=", 1)[1])
        for line in text.decode().splitlines()
        if "=" in line and not line.startswith("#")
    ]
    return dict(lines)


def test_unit_placement_follows_cpu_sets_and_topology() -> None:
    unit = "wiretune-wirelane.service"
    files = render(source(INLINE))
    a, b = (unit_settings(files[f"{name}/{unit}"]) for name in "ab")
    assert (a["CPUAffinity"], a["NUMAPolicy"], a["NUMAMask"]) == ("0-1", "bind", "0")
    assert (b["CPUAffinity"], b["NUMAPolicy"], b["NUMAMask"]) == ("2-3", "bind", "1")
    preferring = unit_settings(render(source(PIPELINED))[f"a/{unit}"])
    # CPUs 2 and 3 of node 1 against 0 and 1 of node 0: equal, so the lower; `write` is free, so no affinity.
    assert (preferring["NUMAPolicy"], preferring["NUMAMask"]) == ("preferred", "0")
    assert "CPUAffinity" not in preferring
    unknown = {"a": gateway().model_copy(update={"topology": {"cpus": "lies"}}), "b": gateway()}
    lost = unit_settings(render(source(INLINE, gateways=unknown))[f"a/{unit}"])
    assert (lost["NUMAPolicy"], lost.get("NUMAMask")) == ("default", None)
    local = unit_settings(render(source(Candidate()))[f"a/{unit}"])
    assert (local["NUMAPolicy"], local.get("CPUAffinity")) == ("local", None)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
@pytest.mark.parametrize("winner", [INLINE, WIREGUARD_GO, PIPELINED, TUNED], ids=lambda winner: winner.in_words()[:20])
def test_systemd_accepts_the_units(winner: Candidate, tmp_path: Path) -> None:
    for name, content in render(source(winner)).items():
        if not name.endswith(".service"):
            continue
        text = content.decode().replace("/usr/local/bin/wirelane", "/bin/true")
        unit = tmp_path / Path(name).name.replace("@.", "@wl0.")
        unit.write_text(text.replace("/usr/bin/wireguard-go", "/bin/true"))
        # LC_ALL: the messages are looked at.
        verified = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", unit],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "LC_ALL": "C.UTF-8"},
        )
        complaints = [line for line in verified.stderr.splitlines() if unit.name in line]
        assert (complaints, verified.returncode) == ([], 0), verified.stderr
        unit.write_text(unit.read_text().replace("NUMAPolicy=", "NUMAPolicyy="))
        spoilt = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, check=False
        )
        assert "NUMAPolicyy" in spoilt.stderr, "this test would not see a wrong unit"


def test_host_settings_keep_the_order_in_which_they_are_made() -> None:
    files = render(BundleSource(result=result(TUNED), site=PUBLIC_SITE))
    for name, far in (("a", "2001:db8::b"), ("b", "2001:db8::a")):
        content = json.loads(files[f"{name}/host-tuning.json"])
        assert content == {"toward": far, "settings": TUNED.host.used()}
        assert list(content["settings"]) == list(TUNED.host.used()), "queues come before what is set by queue"
    play = json.loads(files["vars.json"])
    for kind in ("engine", "stock"):
        assert play["gateways"]["a"]["units"][kind][0] == "wiretune-host-tuning.service"
        placed = {file["source"] for file in play["gateways"]["a"]["files"][kind]}
        assert {"a/host-tuning.json", "host-tuning/__main__.py"} <= placed <= files.keys()
    readme = files["README.md"].decode()
    assert "gro off" in readme
    assert "| `host-tuning/` | `/etc/wiretune/host-tuning/` |" in readme


def test_a_winner_that_leaves_the_hosts_alone_brings_nothing_for_them() -> None:
    files = render(source(INLINE))
    assert not [name for name in files if "host-tuning" in name]
    assert "host-tuning" not in files["README.md"].decode()


@pytest.mark.skipif(shutil.which("wg-quick") is None, reason="wireguard-tools is not installed")
def test_wg_quick_accepts_the_files(tmp_path: Path) -> None:
    for name, content in render(source(PIPELINED)).items():
        if "/wg-quick/" in name:
            config = tmp_path / Path(name).name
            config.write_text(filled(content))
            config.chmod(0o600)
            stripped = subprocess.run(["wg-quick", "strip", config], capture_output=True, text=True, check=True).stdout
            assert "ListenPort" in stripped
            assert PUBLIC_KEY[4:] in stripped
            assert "PostUp" not in stripped


def test_scripts_are_valid_shell() -> None:
    for winner in (INLINE, WIREGUARD_GO):
        for name, content in render(source(winner)).items():
            if name.endswith(".sh"):
                subprocess.run(["sh", "-n"], input=content, check=True)


@pytest.mark.parametrize("playbook", ["apply.yml", "rollback.yml"])
def test_ansible_accepts_the_playbooks(playbook: str, tmp_path: Path) -> None:
    for name, content in render(source()).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    checked = subprocess.run(
        [Path(sys.executable).with_name("ansible-playbook"), "--syntax-check", "-i", "inventory.ini", playbook],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stderr


def test_keys_are_made_once_kept_private_and_exchanged(tmp_path: Path) -> None:
    files = render(source())
    script = tmp_path / "keys.sh"
    script.write_bytes(files["keys.sh"])
    generate = ["sh", str(script), "generate", str(tmp_path / "keys"), "wl0", "wl1"]
    first = subprocess.run(generate, capture_output=True, text=True, check=True).stdout
    second = subprocess.run(generate, capture_output=True, text=True, check=True).stdout
    assert [line.split()[2] for line in first.splitlines()] == ["created", "created"]
    assert second == first.replace("created", "kept")
    assert (tmp_path / "keys").stat().st_mode & 0o777 == 0o700
    for lane in ("wl0", "wl1"):
        secret = tmp_path / "keys" / lane
        assert secret.stat().st_mode & 0o777 == 0o600
        assert secret.read_text().strip() not in first
    (tmp_path / "public").write_text(first)
    fill = ["sh", str(script), "fill", "b", str(tmp_path / "public")]
    text = subprocess.run(fill, input=files["a/wirelane.toml"], capture_output=True, check=True).stdout.decode()
    keys = [lane["peer"][0]["public_key"] for lane in tomllib.loads(text)["lane"]]
    assert keys == [line.split()[1] for line in first.splitlines()]


@pytest.mark.parametrize("bad", ["wl0 notakey created\n", "wl0 |g;e touch /tmp/x|AAA= kept\n", "wl0\n"])
def test_filling_refuses_what_is_not_a_key(bad: str, tmp_path: Path) -> None:
    script = tmp_path / "keys.sh"
    script.write_bytes(render(source())["keys.sh"])
    (tmp_path / "public").write_text(bad)
    refused = subprocess.run(
        ["sh", str(script), "fill", "b", str(tmp_path / "public")], input=b"", capture_output=True, check=False
    )
    assert refused.returncode == 1
    assert b"no public key for lane wl0" in refused.stderr


def test_variables_hold_nothing_that_ansible_would_evaluate() -> None:
    variables = render(source(label="{{ lookup('pipe', 'id') }}"))["vars.json"].decode()
    assert "{{" not in variables
    assert json.loads(variables)["bundle"] == source().name


def test_ipv6_networks_get_the_hash_policy_too() -> None:
    files = render(BundleSource(result=result(WIREGUARD_GO), site=PUBLIC_SITE))
    assert "net.ipv6.fib_multipath_hash_policy = 1" in files["a/90-wiretune.conf"].decode()
    assert "net.ipv6" not in render(source())["a/90-wiretune.conf"].decode()
    assert json.loads(files["vars.json"])["sysctls"][1] == "net.ipv6.fib_multipath_hash_policy"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lane_network": "10.0.0.0/30"}, "room for 64 lanes"),
        ({"interface_prefix": "wl0; rm -rf"}, "interface_prefix"),
        ({"interface_prefix": "wl\n"}, "interface_prefix"),
        ({"first_listen_port": 65500}, "first_listen_port"),
        ({"b": {"underlay_address": "198.18.0.1", "inner_networks": ["10.0.0.0/8"]}}, "same underlay address"),
        ({"b": {"underlay_address": "2001:db8::1", "inner_networks": ["10.0.0.0/8"]}}, "same IP version"),
        ({"b": {"underlay_address": "198.18.0.2", "inner_networks": ["198.19.0.0/16"]}}, "overlap"),
        ({"b": {"underlay_address": "fe80::1%eth0\nPostUp = id", "inner_networks": ["10.0.0.0/8"]}}, "scope id"),
        ({"b": {"underlay_address": "198.18.0.2", "inner_networks": []}}, "at least 1"),
        ({"surplus": 1}, "surplus"),
    ],
)
def test_an_impossible_site_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Site.model_validate(NETNS_SITE.model_dump() | changes)
