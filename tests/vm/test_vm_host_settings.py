"""Settings of a virtual machine's kernel and NIC: made, read back, and put back as they were."""

from __future__ import annotations

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
    driver: VmDriver, provisioned: ProvisionedTestbed, gateway_b: Machine
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
