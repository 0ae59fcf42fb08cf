"""The `vm` testbed driver: two QEMU machines on this one, which are ssh hosts as soon as they have booted."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from app.lab.addressing import STATE_ROOT, gateways_of
from app.lab.agent_messages import Machines, checked
from app.lab.distribution import DEFAULT_DISTRIBUTION, Distribution
from app.lab.driver import LabError, OnPhase, ProvisionedTestbed, ShouldCancel
from app.lab.engine_programs import EnginePrograms
from app.lab.gateway_pair import returned
from app.lab.ssh import EMULATED_LEASE_S, EMULATED_PATIENCE, SshDriver, SshHost
from tuner.candidate import GATEWAYS

Nic = Literal["virtio", "vmxnet3", "e1000e"]
"""The machines' network card on the data link. Debian's kernel for clouds has no driver of an e1000e."""
CACHE = Path("/var/cache/wiretune/vm")
MEMORY_MIB = 640
START_TIMEOUT_S = 1200.0
LOOPBACK = "127.0.0.1"


class VmDriver(SshDriver):
    """Makes the machines, then treats them as any two hosts."""

    emulated = True
    patience = EMULATED_PATIENCE
    lease_s = EMULATED_LEASE_S

    def __init__(
        self,
        name: str,
        programs: EnginePrograms | None = None,
        distribution: Distribution = DEFAULT_DISTRIBUTION,
        nic: Nic = "virtio",
    ) -> None:
        """Raises LabError for a name that is no testbed name."""
        self._distribution, self._nic = distribution, nic
        hosts = {gateway: SshHost(LOOPBACK, one.underlay) for gateway, one in gateways_of(name).items()}
        self._machines_folder = STATE_ROOT / f"{name}-vm"
        super().__init__(name, hosts, self._machines_folder / "ssh", programs)

    def provision(self, on_phase: OnPhase, should_cancel: ShouldCancel) -> ProvisionedTestbed:
        """See TestbedDriver. Builds the disk image at the first use, which takes minutes."""
        _require_root()
        self._start(on_phase, should_cancel)
        return super().provision(on_phase, should_cancel)

    def teardown(self) -> None:
        """See TestbedDriver. Nothing needs to be undone on machines that are thrown away."""
        _require_root()
        self._play("remove_machines.yml", {}, START_TIMEOUT_S, lambda *_: None, lambda: False)
        self._public_keys = None

    def _start(self, on_phase: OnPhase, should_cancel: ShouldCancel) -> None:
        result = self._play("start_machines.yml", {}, START_TIMEOUT_S, on_phase, should_cancel)
        machines = checked(Machines, returned(result, "Start the virtual machines", "machine"), "machine")
        self.emulated = machines.emulated
        self._hosts = {
            name: replace(host, port=machines.ports[name], key_file=machines.key_file)
            for name, host in self._hosts.items()
        }

    def _connections(self) -> Mapping[str, Mapping[str, Any]]:
        testbed = {
            "cache_folder": str(CACHE),
            "distribution": self._distribution,
            "nic": self._nic,
            "state_folder": str(self._machines_folder),
            "memory_mib": MEMORY_MIB,
            "machines": [{"name": name, "data_address": self._gateways[name].underlay + "/30"} for name in GATEWAYS],
        }
        return {**super()._connections(), "machine": {"vm_testbed": testbed}}

    def _damage(self) -> str | None:
        _require_root()
        return None if (self._machines_folder / "machines.json").exists() else "its virtual machines are gone"


def _require_root() -> None:
    if os.geteuid() != 0:
        raise LabError("the virtual machines of a testbed need root", hint="run it with sudo")
