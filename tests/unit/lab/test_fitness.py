"""Was a host fit to measure? Thresholds, foreign processes and traffic, throttling, the canary; queues by driver."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from wiretune_agent import surroundings as agent
from wiretune_agent.processes import ancestors
from wiretune_agent.surroundings import Spent

from app.lab import fitness
from app.lab.agent_messages import BeforeMeasuring, Surroundings
from app.lab.driver import PhaseTimings, ProvisionedGateway, ProvisionedTestbed, TrialResult
from app.lab.fitness import compared, on_hosts_of, unfitness
from app.lab.parsers.queues import parse_queues, parse_softnet
from app.lab.sampling import around
from tests.unit.bundles.sources import sample as a_sample
from tuner.samples import GatewayUsage, Workload

DATA = Path(__file__).parents[2] / "data"
SOFTNET = (DATA / "linux-6.18-softnet_stat.txt").read_text()
QUIET: dict[str, Any] = {
    "window_s": 3.0,
    "canary_ms": 0.3,
    "foreign_cpu_s": 0.01,
    "foreign_busiest": [],
    "throttled": {"thermal_events": 0, "limited_us": 0},
    "link": {"rx_bytes": 1_100_000_000, "tx_bytes": 20_000_000},
    "lanes": {"tx_bytes": 10_000_000, "tx_packets": 180_000},
    "softnet": [SOFTNET, SOFTNET],
    "queues": ["", ""],
}
FAR = QUIET | {
    "link": {"rx_bytes": 20_000_000, "tx_bytes": 1_100_000_000},
    "lanes": {"tx_bytes": 1_000_000_000, "tx_packets": 20_000},
}


def judged(steal: float = 0.0, far: dict[str, Any] | None = None, **changes: Any) -> list[tuple[str, str]]:
    usage = GatewayUsage(cpu_busy_ratio={0: 1.0, 1: 1.0}, data_plane_cpu_s=1)
    near = Surroundings.model_validate(QUIET | changes)
    found = unfitness(
        Workload(),
        1420,
        {"a": usage.model_copy(update={"steal_ratio": steal}), "b": usage},
        {"a": near, "b": Surroundings.model_validate(FAR | (far or {}))},
    )
    assert all(one.value > one.limit and one.words.startswith(f"gateway {one.gateway}: ") for one in found)
    return [(one.kind, one.gateway) for one in found]


def test_a_quiet_host_is_fit_and_so_is_one_that_does_not_tell() -> None:
    assert judged() == []
    usage = GatewayUsage(cpu_busy_ratio={}, data_plane_cpu_s=1)
    assert unfitness(Workload(), 1420, {"a": usage, "b": usage}, {"a": None, "b": None}) == ()


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"steal": 0.03}, "steal"),
        ({"foreign_cpu_s": 0.4, "foreign_busiest": [["cc1", 0.4]]}, "foreign_load"),
        ({"throttled": {"thermal_events": 3, "limited_us": 0}}, "throttling"),
        ({"throttled": {"thermal_events": 0, "limited_us": 90_000}}, "throttling"),
        ({"link": {"rx_bytes": 1_300_000_000, "tx_bytes": 20_000_000}}, "foreign_traffic"),
        ({"link": {"rx_bytes": 1_100_000_000, "tx_bytes": 200_000_000}}, "foreign_traffic"),
    ],
)
def test_what_exceeds_a_threshold_is_named(changes: dict[str, Any], kind: str) -> None:
    assert judged(**changes) == [(kind, "a")]


def test_a_receiver_that_drops_is_not_taken_for_foreign_traffic() -> None:
    """The far lanes sent it all, however little of it the near ones delivered."""
    assert judged(lanes={"tx_bytes": 0, "tx_packets": 0}, link={"rx_bytes": 1_100_000_000, "tx_bytes": 0}) == []


def test_one_busy_process_disturbs_a_large_host_too() -> None:
    usage = GatewayUsage(cpu_busy_ratio=dict.fromkeys(range(64), 0.5), data_plane_cpu_s=1)
    near = Surroundings.model_validate(QUIET | {"foreign_cpu_s": 3.0, "foreign_busiest": [["\x1b[2Jevil", 3.0]]})
    (found,) = unfitness(Workload(), 1420, {"a": usage, "b": usage}, {"a": near, "b": None})
    assert found.limit == fitness.FOREIGN_CPUS_LIMIT
    assert "\x1b" not in found.words


def test_a_slower_cpu_and_another_kernel_are_said_with_the_sample() -> None:
    def testbed(fingerprint_hash: str) -> ProvisionedTestbed:
        gateway = ProvisionedGateway(
            fingerprint={},
            fingerprint_hash=fingerprint_hash,
            topology={},
            engines=(),
            lane_public_keys=(),
            canary_ms=0.3,
        )
        return ProvisionedTestbed(gateways={"a": gateway, "b": gateway}, shared_machine=True, underlay_mtu=1500)

    sample = a_sample(1.0)
    slow = sample.gateways["a"].model_copy(update={"canary_ms": 0.36})
    sample = sample.model_copy(update={"gateways": sample.gateways | {"a": slow}})
    result = TrialResult(samples=(sample,), read_back={}, timings=PhaseTimings())
    (marked,) = compared(result, testbed("new")).samples
    assert marked.fingerprints == {"a": "new", "b": "new"}
    assert [(one.kind, one.gateway) for one in marked.unfit] == [("canary", "a")]
    same = compared(result, testbed("new"))
    assert on_hosts_of(same, testbed("new")) == same
    assert [one.kind for one in on_hosts_of(same, testbed("old")).samples[0].unfit] == ["canary", *["changed_host"] * 2]


def spent(parent: int, ticks: int, name: str = "x", start: int = 1) -> Spent:
    return Spent(parent, start, name, ticks)


def test_foreign_processes_are_those_outside_our_tree() -> None:
    before = {1: spent(0, 50), 10: spent(1, 5), 11: spent(10, 5), 20: spent(1, 7, "make"), 21: spent(20, 40, "cc1")}
    after = before | {
        1: spent(0, 90),  # what our tree descends from
        11: spent(10, 500),  # ours
        20: spent(1, 7 + 45, "make"),  # waited for 21, which had spent 40 before and 5 since
        22: spent(20, 30, "cc1"),  # new
        23: spent(1, 1000, "old", start=9),
    }
    before[24] = spent(21, 3, "as")  # waited for by 21, whose end handed that to 20
    after[20] = spent(1, 7 + 48, "make")
    del after[21]
    total, busiest = agent.foreign_ticks(before, after, {10})
    assert total == 5 + 30 + 1000
    assert busiest == [("old", 1000), ("cc1", 30), ("make", 5)]


def test_a_process_name_may_hold_anything() -> None:
    stat = b"7 (a) b ( c) S 3 7 7 0 -1 0 0 0 0 0 10 20 1 2 20 0 1 0 4242 0 0"
    assert agent.parse_spent(stat) == Spent(3, 4242, "a) b ( c", 33)


def test_a_busy_stranger_is_seen_and_our_own_child_is_not(tmp_path: Path) -> None:
    burn = "import time\nend = time.monotonic() + 60\nwhile time.monotonic() < end: pass"
    ours = subprocess.Popen([sys.executable, "-c", burn])
    # Given away by a parent that ends at once, so that it descends from init, as a stranger's processes do.
    give_away = f"import subprocess as s, sys\nprint(s.Popen([sys.executable, '-c', {burn!r}], stdout=s.DEVNULL).pid)"
    stranger = int(subprocess.run([sys.executable, "-c", give_away], stdout=subprocess.PIPE, check=True).stdout)
    concerned = {ours.pid, stranger, *ancestors()}
    try:
        seen = agent.Surroundings(tmp_path, "lo")
        first = {pid: process for pid, process in agent.processes().items() if pid in concerned}
        last, deadline = first, time.monotonic() + 60
        while min(last[pid].ticks - first[pid].ticks for pid in (ours.pid, stranger)) < 10:
            assert time.monotonic() < deadline
            time.sleep(0.05)
            last = {pid: process for pid, process in agent.processes().items() if pid in concerned}
        report = Surroundings.model_validate(seen.report())
    finally:
        ours.kill()
        ours.wait()
        os.kill(stranger, signal.SIGKILL)
    total, _ = agent.foreign_ticks(first, last, {os.getpid()})
    assert total == last[stranger].ticks - first[stranger].ticks
    assert report.foreign_cpu_s >= 0.1


def test_this_host_says_what_may_disturb_it() -> None:
    assert BeforeMeasuring.model_validate(agent.before_measuring()).canary_ms > 0


@pytest.mark.parametrize("service", agent.MOVERS)
def test_services_that_undo_settings_are_noticed(tmp_path: Path, service: str) -> None:
    """By the name that the kernel gives their process."""
    program = tmp_path / service
    shutil.copy(shutil.which("sleep") or "", program)
    with subprocess.Popen([program, "60"]) as process:
        try:
            report = BeforeMeasuring.model_validate(agent.before_measuring())
        finally:
            process.kill()
    assert agent.MOVERS[service] in report.notices


def test_queues_of_real_drivers() -> None:
    assert parse_queues((DATA / "ethtool-6.1-statistics-virtio.txt").read_text()) == {"rx 0": {"drops": 0}}
    assert parse_queues((DATA / "ethtool-6.1-statistics-veth.txt").read_text()) == {
        "rx 0": {"drops": 0},
        "rx 1": {"drops": 0},
    }


@pytest.mark.parametrize(
    "line",
    ["rx3_packets: 7", "rx_queue_3_packets: 7", "rx-3.packets: 7", "queue_3_rx_cnt: 7", "[3]: rx_ucast_packets: 7"],
)
def test_every_driver_has_its_own_names(line: str) -> None:
    assert parse_queues(f"NIC statistics:\n     {line}\n     rx3_xdp_packets: 9\n") == {"rx 3": {"packets": 7}}


def test_softnet_and_queues_are_differences_by_cpu() -> None:
    before = parse_softnet(SOFTNET)
    assert set(before) == {0, 1}
    with pytest.raises(ValueError, match="a line of 2 values"):
        parse_softnet("1 2\n")
    wrapped = "fffffff0" + SOFTNET[8:]
    seen = Surroundings.model_validate(
        QUIET
        | {
            "softnet": [wrapped, "00000010" + SOFTNET[8:]],
            "queues": ["rx0_packets: 5", "rx0_packets: 25\nrx1_drops: 1"],
        }
    )
    usage = around(GatewayUsage(cpu_busy_ratio={0: 1.0}, data_plane_cpu_s=1), seen)
    assert usage.softnet[0].packets == 0x20
    assert usage.queues == {"rx 0": {"packets": 20}}
    assert usage.canary_ms == 0.3
