"""The agent's pure parts: flow planning, packets, read-back, sysctls, key files."""

from __future__ import annotations

import ast
import os
import platform
import re
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wiretune_agent import command, engines, facts, frames, host, iperf3, keys, pktgen, readback, sysctls
from wiretune_agent.calls import dispatch
from wiretune_agent.errors import AgentError
from wiretune_agent.flows import NO_LANE, candidates_per_flow, choose
from wiretune_agent.processes import Process, stop

from tuner.samples import IMIX, Workload
from tuner.topology import Topology

DATA = Path(__file__).parents[2] / "data"


def test_choose_prefers_both_directions_on_the_lane() -> None:
    assert choose([1, 0, 1], [1, 1, 0], wanted=0) == 1
    assert choose([1, 0, 0], [1, 1, 0], wanted=0) == 2
    assert choose([1, NO_LANE], [0, 0], wanted=0) is None


@given(st.integers(1, 64), st.integers(1, 32), st.sampled_from(["forward", "reverse", "both"]))
def test_plan_gives_every_flow_a_lane_and_a_server_of_its_own(lanes: int, count: int, direction: str) -> None:
    planned = iperf3.plan(lanes, {"direction": direction, "flows": count})
    assert len(planned) == count * (2 if direction == "both" else 1)
    assert len({flow.server_port for flow in planned}) == len(planned)
    assert {flow.lane for flow in planned} == set(range(min(lanes, count)))
    assert all(len(flow.source_ports) == candidates_per_flow(lanes) for flow in planned)
    assert all(flow.source_ports.start > 1024 and flow.server_port < 65536 for flow in planned)


def test_iperf3_reason() -> None:
    assert iperf3.error_of((DATA / "iperf3-3.12-refused.json").read_text()) == (
        "unable to connect to server: Connection refused"
    )
    assert iperf3.error_of("iperf3: parameter error") == "iperf3: parameter error"
    assert iperf3.error_of((DATA / "iperf3-3.12-tcp-forward.json").read_text()) is None


@given(st.integers(64, 9000), st.integers(1, 65535))
def test_frames_carry_valid_packets(packet_bytes: int, port: int) -> None:
    ends = frames.End("02:00:00:00:00:01", "198.19.1.2"), frames.End("02:00:00:00:00:02", "198.19.2.2")
    frame = frames.udp_frame(*ends, port, packet_bytes)
    assert len(frame) == packet_bytes + frames.ETHERNET_BYTES
    header = frame[14:34]
    assert frames.checksum(header) == 0  # RFC 1071: a header with its checksum sums up to zero
    assert struct.unpack("!H", header[2:4]) == (packet_bytes,)
    assert header[16:] == socket.inet_aton("198.19.2.2")
    assert struct.unpack("!HHH", frame[34:40]) == (port, frames.DISCARD_PORT, packet_bytes - 20)
    assert len(frames.capture_file([frame, frame])) == 24 + 2 * (16 + len(frame))


def test_imix_is_the_tuners_and_evenly_mixed() -> None:
    assert frames.IMIX == IMIX
    sizes = frames.mixed_sizes(1420)
    assert {size: sizes.count(size) for size in sizes} == {64: 7, 570: 4, 1400: 1}
    assert all(64 in sizes[at : at + 3] for at in range(len(sizes) - 2))
    assert max(frames.mixed_sizes(1280)) == 1280
    assert Workload(tool="pktgen", protocol="udp", imix=True).mean_packet_bytes(1420) == sum(sizes) / 12


def test_wg_dump_keeps_no_secret() -> None:
    text = (DATA / "wg-1.0.20210914-dump.txt").read_text()
    parsed = readback.parse_wg_dump(text.replace("(hidden)", "PRIVATE").replace("(none)", "PRESHARED"))
    assert parsed["listen_port"] == 51999
    assert parsed["peers"][0]["allowed_ips"] == ["198.18.128.0/31", "198.19.2.0/24"]
    assert parsed["peers"][0]["endpoint"] == "198.18.0.2:51820"
    assert "PRIVATE" not in str(parsed)
    assert "PRESHARED" not in str(parsed)
    with pytest.raises(AgentError):
        readback.parse_wg_dump("")


def test_socket_memory() -> None:
    text = (DATA / "ss-6.1.0-udp-memory.txt").read_text()
    assert readback.parse_socket_memory(text) == {"receive_bytes": 212992, "send_bytes": 212992}
    assert readback.parse_socket_memory("") is None


LANE = {
    "interface": "wl0",
    "listen_port": 51820,
    "address": "198.18.128.0/31",
    "peer_public_key": "KEY",
    "endpoint": "198.18.0.2:51820",
    "allowed_ips": ["198.19.2.0/24"],
}
ASKED: dict[str, Any] = {
    "engine": "wirelane",
    "spread": "ecmp",
    "lanes": [LANE],
    "mtu": 1420,
    "routes": ["198.19.2.0/24"],
    "sysctls": {"net.ipv4.ip_forward": "1"},
    "stage_cpu_sets": {"tx": [0, 1], "rx": [1]},
    "socket_buffer_bytes": 1 << 20,
}


def observed() -> dict[str, Any]:
    peer = {"public_key": "KEY", "endpoint": "198.18.0.2:51820", "allowed_ips": ["198.19.2.0/24"]}
    lane = {
        "mtu": 1420,
        "up": True,
        "addresses": ["198.18.128.0/31"],
        "listen_port": 51820,
        "peers": [peer],
        "socket": {"receive_bytes": 2 << 20, "send_bytes": 2 << 20},
    }
    return {
        "lanes": {"wl0": lane},
        "spread": "ecmp",
        "routes": [{"dst": "198.19.2.0/24", "dev": "wl0"}],
        "sysctls": {"net.ipv4.ip_forward": "1"},
        "threads": [{"tid": 1, "stage": "tx", "cpus": "0"}, {"tid": 2, "stage": "rx", "cpus": "1"}],
    }


def differences(seen: dict[str, Any]) -> list[str]:
    return list(readback._differences(seen, ASKED))


def test_what_was_asked_for_has_no_differences() -> None:
    assert differences(observed()) == []


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("mtu", 1280, "wl0 has MTU 1280 instead of 1420"),
        ("up", False, "wl0 is down"),
        ("addresses", [], "lacks the address"),
        ("listen_port", 1, "listens on port 1"),
        ("peers", [], "has the peers"),
        ("socket", {"receive_bytes": 2 << 20, "send_bytes": 1 << 20}, "buffers of 524288 bytes"),
    ],
)
def test_differences_of_a_lane(field: str, value: object, says: str) -> None:
    seen = observed()
    seen["lanes"]["wl0"][field] = value
    (difference,) = differences(seen)
    assert says in difference


@pytest.mark.parametrize(
    ("threads", "says"),
    [
        ([{"tid": 1, "stage": "tx", "cpus": "0-1"}, {"tid": 2, "stage": "rx", "cpus": "1"}], "thread 1 of stage tx"),
        ([{"tid": 1, "stage": "tx", "cpus": "0"}, {"tid": 2, "stage": "rx", "cpus": "0"}], "thread 2 of stage rx"),
        ([{"tid": 1, "stage": "tx", "cpus": "0"}], "no thread runs the stage rx"),
    ],
)
def test_differences_of_placement(threads: list[dict[str, Any]], says: str) -> None:
    (difference,) = differences({**observed(), "threads": threads})
    assert says in difference


def test_differences_of_a_bond() -> None:
    bond = observed()
    bond["lanes"] = {"wl0:51820": bond["lanes"]["wl0"]}
    assert list(readback._differences(bond | {"spread": "bond"}, ASKED | {"spread": "bond"})) == []
    (difference,) = readback._differences(bond, ASKED | {"spread": "bond"})
    assert difference == "flows come to lanes by ecmp instead of bond"


def test_the_agent_is_written_for_the_oldest_python_that_it_takes() -> None:
    """That of Ubuntu 22.04."""
    for path in Path(host.__file__).parent.glob("*.py"):
        ast.parse(path.read_text(), feature_version=host.OLDEST_PYTHON)


def test_everything_that_a_host_lacks_is_told_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(platform, "release", lambda: "4.9.0-19-amd64")
    monkeypatch.setattr(host, "PROGRAMS", {"iperf4": ""})
    monkeypatch.setattr(host, "PACKAGES", {"iperf4": "iperf4"})
    arguments = {
        "data_address": "192.0.2.77",
        "far_data_address": "192.0.2.78",
        "rendezvous_port": 0,
        "controller_time_s": time.time() - 3600,
    }
    kernel, program, clock, address = host._problems(arguments, tmp_path)
    assert kernel.startswith("kernel 4.9.0-19-amd64 is too old")
    assert program == "iperf4 is missing (apt-get install iperf4)"
    assert re.fullmatch(r"its clock is 36\d\d s ahead: .*", clock)
    assert address == "no interface has the data address 192.0.2.77"


def test_own_ends_of_ssh_connections() -> None:
    """By IPv4, IPv6 and a link-local address; the clients of these connections are on the same machine."""
    lines = (DATA / "ss-6.1.0-ssh-connections.txt").read_text().splitlines()
    assert list(host.ssh_addresses(lines)) == ["192.0.2.1", "2001:db8::1", "fe80::8c24:29ff:fefd:59b4"]


def test_differences_of_routes_and_sysctls() -> None:
    assert "uses no lane" in differences({**observed(), "routes": []})[0]
    assert "ip_forward is 0" in differences({**observed(), "sysctls": {"net.ipv4.ip_forward": "0"}})[0]


def test_no_tun_device(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for path in (tmp_path / "missing", Path("/dev/null/tun"), tmp_path):
        monkeypatch.setattr(engines, "TUN", path)
        with pytest.raises(AgentError, match=r"TUN|device") as caught:
            engines._require_tun()
        assert "modprobe tun" in caught.value.hint


def test_missing_program_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for start in (command.run, command.spawn):
        with pytest.raises(AgentError, match="iperf3 is not installed") as caught:
            start(["iperf3", "--version"])
        assert caught.value.hint == "install it: apt-get install iperf3"
    with pytest.raises(AgentError, match="dpdk-testpmd is not installed"):
        raise command.missing_program("dpdk-testpmd")
    assert not pktgen.KERNEL_PKTGEN.exists() or pktgen.kernel_pktgen_present()


def test_failing_and_hanging_programs() -> None:
    with pytest.raises(AgentError, match="failed with exit code 1"):
        command.run(["false"])
    with pytest.raises(AgentError, match=r"did not finish within 0\.1 s"):
        command.run(["sleep", "5"], timeout_s=0.1)


def test_stop_is_sure_of_whom_it_ends() -> None:
    stubborn = command.spawn(
        [
            sys.executable,
            "-c",
            "import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True); time.sleep(60)",
        ]
    )
    assert stubborn.stdout is not None
    assert stubborn.stdout.readline() == "1\n"
    process = Process.of(stubborn.pid)
    assert process is not None
    stop([Process(process.pid, process.start_ticks + 1)])
    assert process.alive
    stop([process], grace_s=0.1)
    assert not process.alive
    assert stubborn.wait() == -9
    stubborn.stdout.close()
    assert stubborn.stderr is not None
    stubborn.stderr.close()


def test_a_process_is_alive_until_its_last_thread_has_ended() -> None:
    """Its first thread is a zombie by then, and the socket of the others is still bound."""
    script = (
        "import ctypes, socket, threading, time\n"
        "held = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); held.bind(('127.0.0.1', 0))\n"
        "threading.Thread(target=time.sleep, args=(60,)).start()\n"
        "print(held.getsockname()[1], flush=True)\n"
        "ctypes.CDLL(None).pthread_exit(None)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        port = int(program.stdout.readline())
        deadline = time.monotonic() + 10
        while "State:\tZ" not in Path(f"/proc/{program.pid}/status").read_text():
            assert time.monotonic() < deadline
            time.sleep(0.005)
        process = Process.of(program.pid)
        assert process is not None
        assert process.alive
        stop([process])
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as again:
            again.bind(("127.0.0.1", port))
        assert not process.alive


def test_keys_are_kept_and_healed(tmp_path: Path) -> None:
    first = keys.ensure(tmp_path, 2)
    assert keys.ensure(tmp_path, 2) == first
    keys.path(tmp_path, 1).write_text("rubbish")
    keys.path(tmp_path, 0).chmod(0o644)
    second = keys.ensure(tmp_path, 2)
    assert second[0] == first[0]
    assert second[1] != first[1]
    assert {keys.path(tmp_path, lane).stat().st_mode & 0o777 for lane in (0, 1)} == {0o600}


@pytest.mark.skipif(os.geteuid() != 0, reason="changes a setting of the kernel, in a namespace of its own")
def test_sysctls_are_restored(tmp_path: Path) -> None:
    name = "net.ipv4.ip_default_ttl"
    call = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1])\n"
        "from wiretune_agent import sysctls as s\n"
        "folder = Path(sys.argv[2])\n"
        f"before = s.read({name!r}); s.apply({{{name!r}: '63'}}, folder); s.apply({{{name!r}: '62'}}, folder)\n"
        f"assert s.read({name!r}) == '62'; s.restore(folder); assert s.read({name!r}) == before; s.restore(folder)\n"
        "print('restored')\n"
    )
    agent = str(Path(__file__).parents[3] / "playbooks" / "agent")
    assert command.run(["unshare", "--net", sys.executable, "-c", call, agent, str(tmp_path)]) == "restored\n"
    with pytest.raises(AgentError, match="cannot read sysctl"):
        sysctls.read("net.no.such")


@pytest.mark.skipif(os.geteuid() != 0, reason="changes settings of the kernel, in a namespace of its own")
def test_what_changes_along_is_restored(tmp_path: Path) -> None:
    """A hardened host stays one, and an interface that forwarded by itself goes on doing so; one with a dot, too. What
    WireGuard in the kernel turns off comes back."""
    call = (
        "import subprocess, sys; from pathlib import Path; sys.path.insert(0, sys.argv[1])\n"
        "from wiretune_agent import sysctls as s\n"
        "for link in ('eth0.100', 'gone'):\n"
        "    subprocess.run(['ip', 'link', 'add', link, 'type', 'veth'], check=True)\n"
        "wanted = {'net.ipv4.ip_forward': '0', 'net.ipv4.conf.all.accept_redirects': '0',\n"
        "          'net.ipv4.conf.lo.forwarding': '1', 'net.ipv4.conf.eth0/100.forwarding': '1',\n"
        "          'net.ipv4.conf.all.send_redirects': '1'}\n"
        "for name, value in wanted.items(): s.write(name, value)\n"
        "s.write('net.ipv4.conf.gone.forwarding', '1')\n"
        "folder = Path(sys.argv[2]); s.apply({'net.ipv4.ip_forward': '1'}, folder)\n"
        "assert s.read('net.ipv4.conf.default.forwarding') == '1'\n"
        "s.write('net.ipv4.conf.all.send_redirects', '0')\n"
        "subprocess.run(['ip', 'link', 'delete', 'gone'], check=True); s.restore(folder)\n"
        "print({name: s.read(name) for name in wanted} == wanted, s.read('net.ipv4.conf.default.forwarding'))\n"
    )
    agent = str(Path(__file__).parents[3] / "playbooks" / "agent")
    assert command.run(["unshare", "--net", sys.executable, "-c", call, agent, str(tmp_path)]) == "True 0\n"


def test_facts_of_this_machine_are_a_topology() -> None:
    topology = Topology.model_validate(facts.topology())
    assert set(topology.usable_cpus) == os.sched_getaffinity(0)


def test_defects_and_unknown_calls_come_back_as_json() -> None:
    script = (
        "import json, sys; sys.path.insert(0, sys.argv[1]); from wiretune_agent.calls import dispatch\n"
        "print(json.dumps([dispatch('nonsense', {}), dispatch('apply', {})]))\n"
    )
    agent = str(Path(__file__).parents[3] / "playbooks" / "agent")
    unknown, defect = command.run_json([sys.executable, "-c", script, agent])
    assert unknown["error"]["message"] == "the agent has no call 'nonsense'"
    assert "KeyError" in defect["error"]["message"]
    assert "Traceback" in defect["error"]["detail"]
    assert dispatch.__doc__
