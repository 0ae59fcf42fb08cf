"""The `netns` testbed driver: two network namespaces on this machine, driven through the playbooks."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from app.lab.addressing import GatewayAddresses
from app.lab.driver import LabError, OnPhase, ProvisionedTestbed, ShouldCancel
from app.lab.gateway_pair import SHORT_PLAY_TIMEOUT_S, GatewayPairDriver
from tuner.candidate import GATEWAYS, Engine

UNDERLAY_MTU = 1500
NAMESPACES = Path("/run/netns")


class NetnsDriver(GatewayPairDriver):
    """Both gateways are on this machine and share its CPUs."""

    shared_machine = True

    def provision(self, on_phase: OnPhase, should_cancel: ShouldCancel) -> ProvisionedTestbed:
        """See TestbedDriver. About two seconds when everything is there already."""
        _require_root()
        result = self._play("provision.yml", {}, SHORT_PLAY_TIMEOUT_S, on_phase, should_cancel)
        gateways = {name: self._provisioned(result, name) for name in GATEWAYS}
        self._public_keys = {name: gateway.lane_public_keys for name, gateway in gateways.items()}
        return ProvisionedTestbed(gateways=gateways, shared_machine=self.shared_machine, underlay_mtu=UNDERLAY_MTU)

    def teardown(self) -> None:
        """See TestbedDriver."""
        _require_root()
        self._play("teardown.yml", {}, SHORT_PLAY_TIMEOUT_S, lambda *_: None, lambda: False)
        self._public_keys = None

    def _connections(self) -> Mapping[str, Mapping[str, Any]]:
        testbed = {
            "underlay_mtu": UNDERLAY_MTU,
            "gateways": [
                {
                    "namespace": gateway.namespace,
                    "state_folder": str(gateway.state_folder),
                    "underlay_address": gateway.underlay_prefix,
                    "inner_address": gateway.inner_prefix,
                }
                for gateway in self._gateways.values()
            ],
        }
        gateways: dict[str, dict[str, Any]] = {
            name: {
                "ansible_connection": "netns",
                "netns_namespace": gateway.namespace,
                "netns_uapi_folder": str(gateway.state_folder / "uapi"),
            }
            for name, gateway in self._gateways.items()
        }
        return {"machine": {"netns_testbed": testbed}, **gateways}

    def _programs_on(self, gateway: GatewayAddresses, engine: Engine) -> list[str]:
        return list(self._programs.of(engine))

    def _damage(self) -> str | None:
        _require_root()
        missing = [
            gateway.namespace for gateway in self._gateways.values() if not (NAMESPACES / gateway.namespace).exists()
        ]
        return f"namespace {missing[0]} is gone" if missing else None


def _require_root() -> None:
    if os.geteuid() != 0:
        raise LabError("network namespaces need root", hint="run it with sudo")
