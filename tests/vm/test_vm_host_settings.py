"""Settings of a virtual machine's kernel and NIC: made, read back, and put back as they were."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from vm_gateway import Machine, different

from app.lab.driver import ProvisionedTestbed
from app.lab.vm import VmDriver
from tuner.candidate import Candidate
from tuner.host_tuning import HostTuning

TUNING = HostTuning(
    udp_rss_ports=False,
    gro=False,
    qdisc="fq",
    irq_cpus="1",
    rps_cpus="0-3",
    socket_buffer_max_bytes=4 << 20,
    netdev_budget=600,
    busy_poll_us=50,
)


@pytest.mark.quick
def test_each_setting_is_made_read_back_and_undone(
    driver: VmDriver, provisioned: ProvisionedTestbed, gateway_b: Machine, show: Callable[[str], None]
) -> None:
    """Gateway b, which tries no lane out: nothing but the settings is at stake."""
    assert set(TUNING.used()) <= set(provisioned.gateways["b"].host_tunables)
    before = gateway_b.settings()
    candidate = Candidate(engine="kernel", mode=None, host=TUNING)
    variables = {**driver._trial_variables(candidate, [])["b"]["gateway_candidate"], "lease_s": 600}
    answer = gateway_b.agent("apply", variables)
    assert "failed" not in answer, answer
    read_back = gateway_b.agent("verify", variables)
    assert "failed" not in read_back, read_back
    assert read_back["result"]["host_tuning"]["flow-hash data0 udp4"] == "sd"
    hashed = gateway_b.output("ethtool -n data0 rx-flow-hash udp4")
    assert "IP SA" in hashed
    assert "L4 bytes" not in hashed
    assert gateway_b.output("sysctl -n net.core.netdev_budget").strip() == "600"
    assert gateway_b.agent("rollback", {"state_folder": gateway_b.state_folder})["changed"]
    assert different(gateway_b.settings(), before) == []
    assert "L4 bytes" in gateway_b.output("ethtool -n data0 rx-flow-hash udp4")
    show(f"gateway b: made, read back and undone: {', '.join(TUNING.used())}; all {len(before)} lines as before")


def test_large_receive_offload_is_put_back(
    driver: VmDriver, provisioned: ProvisionedTestbed, gateway_a: Machine, show: Callable[[str], None]
) -> None:
    """Forwarding turns it off wherever it is on: here on a bond without members, which has all that a bond can have."""
    assert provisioned
    driver.rollback()
    offload = "ethtool -k lro0 | sed -n 's/^large-receive-offload: //p'"
    gateway_a.output("modprobe bonding max_bonds=0 && ip link add lro0 type bond")
    try:
        before = gateway_a.settings()
        assert gateway_a.output("sysctl -n net.ipv4.ip_forward") == "0\n"
        assert gateway_a.output(offload) == "on\n"
        variables = driver._trial_variables(Candidate(engine="kernel", mode=None), [])["a"]["gateway_candidate"]
        answer = gateway_a.agent("apply", {**variables, "lease_s": 600})
        assert "failed" not in answer, answer
        assert gateway_a.output(offload) == "off\n", "then there would be nothing to put back"
        assert gateway_a.agent("rollback", {"state_folder": gateway_a.state_folder})["changed"]
        assert different(gateway_a.settings(), before) == []
        show("gateway a: large receive offload, which forwarding had turned off, is on again after the rollback")
    finally:
        gateway_a.output("ip link delete lro0; rmmod bonding")
