"""Testbed driver without hosts: the tuner's cost model with noise. Everything that it says is marked simulated."""

from __future__ import annotations

import hashlib
import json
import random
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from app.lab.driver import (
    CandidateFailed,
    LabCancelled,
    LabError,
    OnPhase,
    PhaseTimings,
    ProvisionedGateway,
    ProvisionedTestbed,
    ShouldCancel,
    TrialResult,
)
from app.lab.rate_workload import search_rate_of
from tuner.candidate import GATEWAYS, WIREGUARD_OVERHEAD_BYTES, Candidate, Gateway
from tuner.model import CostParameters, GatewayModel
from tuner.samples import Reference, Sample, Workload
from tuner.simulation import Noise, Simulation
from tuner.topology import Topology

_POLL_S = 0.1
# What the phases of a trial take on two namespaces, in simulated seconds.
_APPLY_S, _VERIFY_S, _COLLECT_S = 0.9, 0.3, 0.3
_ENGINES = ("wirelane", "wireguard-go")


class SimSettings(BaseModel):
    """What the simulated testbed looks like. Untrusted input: unknown fields and impossible values raise ValueError."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    topology_a: Topology = Topology.uniform(cores_per_node=2)
    topology_b: Topology = Topology.uniform(cores_per_node=2)
    shared_machine: bool = Field(True, description="both gateways on the CPUs of topology_a, as with netns")
    underlay_mtu: int = Field(1500, ge=1360, le=65535)
    link_gbps: float = Field(100.0, gt=0, le=10_000)
    noise: Noise = Noise()
    seed: int = Field(0, ge=0, le=2**32 - 1)
    time_scale: float = Field(0.01, ge=0, le=1, description="real seconds that a simulated second takes")
    lab_failure_rate: float = Field(0.0, ge=0, le=1, description="share of trials that the simulated lab fails")
    broken_candidate_rate: float = Field(0.0, ge=0, le=1, description="share of candidates that cannot run here")


class SimDriver:
    """Implements app.lab.driver.TestbedDriver. Holds nothing that a restart could lose: the gateways always exist."""

    def __init__(self, name: str, settings: SimSettings | None = None) -> None:
        self._name, self._settings = name, settings or SimSettings()
        self._simulation = Simulation(self.model, self._settings.noise, self._settings.seed)
        self._elapsed_s = 0.0  # simulated
        self._faults = random.Random(self._settings.seed)  # noqa: S311 (simulated faults)

    @property
    def model(self) -> GatewayModel:
        """The noise-free truth behind the samples, for tests and plots."""
        settings = self._settings
        return GatewayModel(
            topologies=self._topologies(),
            shared_machine=settings.shared_machine,
            costs=CostParameters(link_gbps=settings.link_gbps),
        )

    def _topologies(self) -> dict[Gateway, Topology]:
        one, other = self._settings.topology_a, self._settings.topology_b
        return {"a": one, "b": one if self._settings.shared_machine else other}

    def provision(self, on_phase: OnPhase, should_cancel: ShouldCancel) -> ProvisionedTestbed:
        """See TestbedDriver. Raises LabCancelled."""
        on_phase("provision", f"simulated testbed {self._name}: nothing to set up")
        self._spend(_APPLY_S, should_cancel)
        topologies = self._topologies()
        return ProvisionedTestbed(
            gateways={gateway: self._describe(topologies[gateway]) for gateway in GATEWAYS},
            shared_machine=self._settings.shared_machine,
            underlay_mtu=self._settings.underlay_mtu,
            simulated=True,
        )

    @staticmethod
    def _describe(topology: Topology) -> ProvisionedGateway:
        facts: dict[str, Any] = {"simulated": True, "cpus": len(topology.cpus), "numa_nodes": len(topology.nodes)}
        shape = topology.model_dump(mode="json")
        digest = hashlib.sha256(json.dumps([facts, shape], sort_keys=True).encode()).hexdigest()
        return ProvisionedGateway(
            fingerprint=facts, fingerprint_hash=digest[:16], topology=shape, engines=_ENGINES, lane_public_keys=()
        )

    def run_trial(
        self,
        candidate: Candidate,
        workloads: Sequence[Workload],
        on_phase: OnPhase,
        should_cancel: ShouldCancel,
    ) -> TrialResult:
        """See TestbedDriver. Raises CandidateFailed and LabError at the rates of the settings, LabCancelled, and
        LabError for a candidate that these gateways could not run."""
        begin = time.monotonic()
        on_phase("apply", candidate.in_words())
        self._check(candidate)
        apply_s = self._spend(_APPLY_S, should_cancel)
        on_phase("verify", "the model is always as configured")
        verify_s = self._spend(_VERIFY_S, should_cancel)
        if self._faults.random() < self._settings.lab_failure_rate:
            raise LabError("a simulated fault of the lab", hint="set lab_failure_rate to 0 for a lab without faults")
        measure_s = 0.0

        def measure(workload: Workload) -> Sample:
            nonlocal measure_s
            on_phase("measure", f"{workload.name}, {workload.duration_s:g} simulated seconds")
            sample = self._simulation.measure(
                candidate, [workload], elapsed_s=self._elapsed_s, started_at=datetime.now(UTC)
            )[0]
            measure_s += self._spend(workload.duration_s, should_cancel)
            return sample

        samples = [
            measure(workload) if workload.rate_search is None else search_rate_of(candidate, workload, measure)
            for workload in workloads
        ]
        on_phase("collect", "samples of the model")
        collect_s = self._spend(_COLLECT_S, should_cancel)
        return TrialResult(
            samples=tuple(samples),
            read_back={gateway: candidate.model_dump(mode="json") for gateway in GATEWAYS},
            timings=PhaseTimings(
                apply_s=apply_s,
                verify_s=verify_s,
                measure_s=measure_s,
                collect_s=collect_s,
                total_s=time.monotonic() - begin,
            ),
        )

    def reference(self, workload: Workload, on_phase: OnPhase, should_cancel: ShouldCancel) -> Reference:
        """See TestbedDriver. The model's link and AEAD. Raises LabCancelled."""
        on_phase("measure", "the model's link and AEAD")
        self._spend(workload.duration_s, should_cancel)
        costs, packet_bytes = self.model.costs, self._settings.underlay_mtu - WIREGUARD_OVERHEAD_BYTES
        ns_per_packet = costs.aead_ns_per_packet + costs.aead_ns_per_byte * packet_bytes
        rates = dict.fromkeys(GATEWAYS, packet_bytes * 8 / ns_per_packet)
        return Reference(
            raw_gbps=costs.link_gbps,
            aead_gbps=rates,
            aead_backend=dict.fromkeys(GATEWAYS, "simulated"),
            packet_bytes=packet_bytes,
            tool_version="simulated",
            simulated=True,
        )

    def _check(self, candidate: Candidate) -> None:
        for gateway, topology in self._topologies().items():
            try:
                topology.check(getattr(candidate.cpu_sets, gateway).used())
            except ValueError as error:
                raise CandidateFailed(f"gateway {gateway}: {error}") from error
        # By its key, so that a broken candidate stays broken.
        luck = int(candidate.key, 16) / 16 ** len(candidate.key)
        if luck < self._settings.broken_candidate_rate:
            raise CandidateFailed("a simulated candidate that cannot run", hint="set broken_candidate_rate to 0")

    def _spend(self, simulated_s: float, should_cancel: ShouldCancel) -> float:
        """Lets simulated time pass and returns the real seconds it took. Raises LabCancelled."""
        begin = time.monotonic()
        end = begin + simulated_s * self._settings.time_scale
        while True:
            if should_cancel():
                raise LabCancelled("cancelled")
            left = end - time.monotonic()
            if left <= 0:
                break
            time.sleep(min(left, _POLL_S))
        self._elapsed_s += simulated_s
        return time.monotonic() - begin

    def rollback(self) -> None:
        """See TestbedDriver: there is nothing to undo."""

    def teardown(self) -> None:
        """See TestbedDriver: there is nothing to remove."""

    def forget(self) -> None:
        """See TestbedDriver: there is nothing to drop."""
