"""What the drivers of real gateways share: trials on two gateways, driven through the playbooks."""

from __future__ import annotations

import abc
import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from app.lab.addressing import RENDEZVOUS_PORT, GatewayAddresses, gateways_of, lane_endpoint, lane_network, lane_port
from app.lab.agent_messages import (
    Facts,
    FarMeasurement,
    FarReference,
    LeadReference,
    Measurement,
    Preparation,
    ReadBack,
    checked,
)
from app.lab.driver import (
    LabError,
    OnPhase,
    Phase,
    PhaseTimings,
    ProvisionedGateway,
    ProvisionedTestbed,
    ShouldCancel,
    TrialResult,
)
from app.lab.engine_programs import EnginePrograms
from app.lab.errors import failure_of
from app.lab.fingerprint import fingerprint_hash, with_controller
from app.lab.playbook_runner import PLAYBOOKS, PlaybookResult, run_playbook
from app.lab.rate_workload import search_rate_of
from app.lab.sampling import reference_of, sample_of
from app.lab.wirelane_config import wirelane_toml
from tuner.candidate import GATEWAYS, MAX_LANES, WIREGUARD_OVERHEAD_BYTES, Candidate, Engine, Gateway, parse_cpulist
from tuner.samples import Reference, Sample, Workload

FEW_LANES = 16
"""Key pairs made at first; a candidate with more lanes gets the rest when it comes."""
SHORT_PLAY_TIMEOUT_S = 60.0
TRIAL_EXTRA_S = 60.0
WORKLOAD_EXTRA_S = 30.0
SYSCTLS = {"net.ipv4.ip_forward": "1", "net.ipv4.fib_multipath_hash_policy": "1"}
"""What a multi-lane gateway needs: the ECMP hash must see ports (policy 1, L4)."""

EMULATED = "measured on emulated CPUs: the behaviour is real, the speed means nothing"

# The tasks of the playbooks as phases, with a line for people.
PHASES: dict[str, tuple[Phase, str]] = {
    "Create or heal the namespaces": ("provision", "making two network namespaces"),
    "Build the disk image": ("provision", "building the disk image of the virtual machines (minutes, once)"),
    "Start the virtual machines": ("provision", "booting two virtual machines"),
    "Bring the agent": ("provision", "connecting to both gateways"),
    "Check the host": ("provision", "checking what the hosts offer"),
    "Bring wirelane": ("provision", "copying wirelane to both gateways"),
    "Make the state folder and the key pairs": ("provision", "making key pairs"),
    "Gather fingerprint and topology": ("provision", "looking at the hosts"),
    "Apply the candidate": ("apply", "applying to both gateways"),
    "Confirm over a new connection": ("verify", "confirming over a new connection"),
    "Read back and compare": ("verify", "reading back what is set"),
    "Run the workloads": ("measure", "measuring"),
    "Measure without a tunnel": ("measure", "measuring the link without a tunnel, and the AEAD"),
}


class GatewayPairDriver(abc.ABC):
    """Implements app.lab.driver.TestbedDriver but for what a testbed is made of. One object a testbed; one call at a
    time."""

    trial_playbook = "trial.yml"
    patience = 1
    """How many times the usual time things may take."""
    lease_s = 0.0
    """How long an unconfirmed candidate may stay on a gateway; 0: there is no connection to lose."""
    sysctls: Mapping[str, str] = SYSCTLS
    emulated = False
    shared_machine = False
    """Whether both gateways are on one machine and share its CPUs, and settings that no namespace has to itself."""

    def __init__(self, name: str, programs: EnginePrograms | None = None) -> None:
        """Raises LabError for a name that is no testbed name."""
        self.name = name
        self._programs = programs or EnginePrograms()
        self._gateways: Mapping[Gateway, GatewayAddresses] = gateways_of(name)
        self._underlay_mtu = 1500
        self._key_pairs = FEW_LANES
        self._public_keys: dict[Gateway, tuple[str, ...]] | None = None

    @abc.abstractmethod
    def provision(self, on_phase: OnPhase, should_cancel: ShouldCancel) -> ProvisionedTestbed:
        """See TestbedDriver."""

    @abc.abstractmethod
    def teardown(self) -> None:
        """See TestbedDriver."""

    def forget(self) -> None:
        """See TestbedDriver."""
        self._public_keys = None

    @abc.abstractmethod
    def _damage(self) -> str | None:
        """What of the testbed is gone, as far as this machine can see it at once."""

    @abc.abstractmethod
    def _connections(self) -> Mapping[str, Mapping[str, Any]]:
        """Inventory variables that lead to `machine` (where the testbed is made), `a` and `b`."""

    @abc.abstractmethod
    def _programs_on(self, gateway: GatewayAddresses, engine: Engine) -> list[str]:
        """Where the gateway may find an engine's program."""

    def run_trial(
        self,
        candidate: Candidate,
        workloads: Sequence[Workload],
        on_phase: OnPhase,
        should_cancel: ShouldCancel,
    ) -> TrialResult:
        """See TestbedDriver. A failed or cancelled trial leaves no candidate applied."""
        started = time.monotonic()
        if candidate.lanes > self._key_pairs:
            self._key_pairs, self._public_keys = MAX_LANES, None
        if self._public_keys is None:
            self.provision(on_phase, should_cancel)
        try:
            return self._trial(candidate, workloads, on_phase, should_cancel, started)
        except LabError as error:
            damage = self._damage()
            if damage:
                self._public_keys = None
                raise LabError(
                    f"the testbed is damaged: {damage}",
                    hint="provision it again, which heals it",
                    detail=f"{error.message}\n{error.detail}",
                ) from error
            self._roll_back_after(error)
            raise

    def _roll_back_after(self, error: LabError) -> None:
        """Roll back. A host on which that fails was lost during the trial: whatever went wrong, it explains it better
        than the candidate does."""
        try:
            self.rollback()
        except LabError as lost:
            raise LabError(
                f"{error.message}; then the rollback failed: {lost.message}",
                hint=lost.hint or error.hint,
                detail=f"{error.detail}\n{lost.detail}",
            ) from lost

    def reference(self, workload: Workload, on_phase: OnPhase, should_cancel: ShouldCancel) -> Reference:
        """See TestbedDriver."""
        token = secrets.token_hex(16)
        variables: dict[Gateway, dict[str, Any]] = {
            name: {
                "gateway_reference": {
                    "gateway": name,
                    "state_folder": str(gateway.state_folder),
                    "underlay_address": gateway.underlay,
                    "far_underlay_address": gateway.far.underlay,
                    "rendezvous_port": RENDEZVOUS_PORT,
                    "token": token,
                    "packet_bytes": self._underlay_mtu - WIREGUARD_OVERHEAD_BYTES,
                    "wirelane_paths": self._programs_on(gateway, "wirelane"),
                    "workload": {
                        "tool": "iperf3",
                        "protocol": "tcp",
                        "direction": workload.direction,
                        "flows": workload.flows,
                        "duration_s": workload.duration_s,
                    },
                }
            }
            for name, gateway in self._gateways.items()
        }
        timeout_s = SHORT_PLAY_TIMEOUT_S + workload.duration_s
        result = self._play("reference.yml", variables, timeout_s, on_phase, should_cancel)
        return reference_of(
            checked(LeadReference, returned(result, "Measure without a tunnel", "a"), "a"),
            checked(FarReference, returned(result, "Measure without a tunnel", "b"), "b"),
        )

    def rollback(self) -> None:
        """See TestbedDriver. Does nothing where the testbed does not exist."""
        if self._damage() is None:
            self._play("rollback.yml", {}, SHORT_PLAY_TIMEOUT_S, lambda *_: None, lambda: False)

    def _trial(
        self,
        candidate: Candidate,
        workloads: Sequence[Workload],
        on_phase: OnPhase,
        should_cancel: ShouldCancel,
        started: float,
    ) -> TrialResult:
        ordinary = [workload for workload in workloads if workload.rate_search is None]
        variables = self._trial_variables(candidate, ordinary)
        result = self._play(
            self.trial_playbook, variables, TRIAL_EXTRA_S + _traffic_s(ordinary), on_phase, should_cancel
        )
        read_back = {
            name: checked(ReadBack, returned(result, "Read back and compare", name), name).model_dump(mode="json")
            for name in GATEWAYS
        }
        measured, measure_s = _measured(result, candidate, ordinary)
        collect_s = max(0.0, _slowest(result, "Run the workloads") - measure_s)
        samples = []
        for workload in workloads:
            if workload.rate_search is None:
                samples.append(self._marked(measured.pop(0)))
            else:
                steps = _RateSteps(self, candidate, on_phase, should_cancel)
                samples.append(search_rate_of(candidate, workload, steps.measure))
                measure_s += steps.measure_s
        timings = PhaseTimings(
            apply_s=_slowest(result, "Apply the candidate"),
            verify_s=_slowest(result, "Read back and compare"),
            measure_s=measure_s,
            collect_s=collect_s,
            total_s=time.monotonic() - started,
        )
        return TrialResult(samples=tuple(samples), read_back=read_back, timings=timings)

    def measure_applied(
        self, candidate: Candidate, workload: Workload, on_phase: OnPhase, should_cancel: ShouldCancel
    ) -> tuple[Sample, float]:
        """One workload on the candidate that is applied, and the seconds that its window was open."""
        variables = self._trial_variables(candidate, [workload])
        timeout_s = TRIAL_EXTRA_S + _traffic_s([workload])
        result = self._play("measure.yml", variables, timeout_s, on_phase, should_cancel)
        samples, measure_s = _measured(result, candidate, [workload])
        return self._marked(samples[0]), measure_s

    def _marked(self, sample: Sample) -> Sample:
        """The sample, marked where the CPUs that it was measured on are emulated."""
        if not self.emulated:
            return sample
        return sample.model_copy(update={"emulated": True, "warnings": (EMULATED, *sample.warnings)})

    def _play(
        self,
        playbook: str,
        variables: Mapping[Gateway, Mapping[str, Any]],
        timeout_s: float,
        on_phase: OnPhase,
        should_cancel: ShouldCancel,
    ) -> PlaybookResult:
        """Run a playbook on this testbed; any failed task is raised as the error it stands for."""

        def on_task(task: str) -> None:
            if task in PHASES:
                on_phase(*PHASES[task])

        result = run_playbook(
            playbook,
            self._inventory(variables),
            timeout_s=timeout_s * self.patience,
            should_cancel=should_cancel,
            on_task=on_task,
        )
        if result.failed:
            raise failure_of(result)
        return result

    def _inventory(self, variables: Mapping[Gateway, Mapping[str, Any]]) -> dict[str, Any]:
        connections = self._connections()
        hosts = {
            name: {
                "gateway_preparation": {"state_folder": str(gateway.state_folder), "key_pairs": self._key_pairs},
                "gateway_rollback": {"state_folder": str(gateway.state_folder)},
                "gateway_facts": {
                    "engine_paths": {engine: self._programs_on(gateway, engine) for engine in get_args(Engine)},
                    "data_address": gateway.underlay,
                    "whole_host": not self.shared_machine,
                },
                **connections[name],
                **variables.get(name, {}),
            }
            for name, gateway in self._gateways.items()
        }
        agent = {"gateway_agent_folder": str(PLAYBOOKS / "agent")}
        machine = {"machine": {"ansible_connection": "local", **connections["machine"]}}
        return {"all": {"vars": agent, "hosts": machine, "children": {"gateways": {"hosts": hosts}}}}

    def _trial_variables(self, candidate: Candidate, workloads: Sequence[Workload]) -> dict[Gateway, dict[str, Any]]:
        assert self._public_keys is not None  # noqa: S101 - provision has set it
        token = secrets.token_hex(16)
        variables: dict[Gateway, dict[str, Any]] = {}
        for name, gateway in self._gateways.items():
            probes = [gateway.far.lane(lane) for lane in range(candidate.lanes)]
            variables[name] = {
                "gateway_candidate": self._candidate_variables(
                    candidate, gateway, self._public_keys[gateway.far.gateway], probes if name == "a" else []
                ),
                "gateway_measurement": {
                    "gateway": name,
                    "state_folder": str(gateway.state_folder),
                    "underlay_address": gateway.underlay,
                    "far_underlay_address": gateway.far.underlay,
                    "rendezvous_port": RENDEZVOUS_PORT,
                    "token": token,
                    "inner_address": gateway.inner,
                    "far_inner_address": gateway.far.inner,
                    "lease_s": self.patience * (TRIAL_EXTRA_S + _traffic_s(workloads)) if self.lease_s else 0,
                    "devices": candidate.devices,
                    "mtu": candidate.mtu,
                    "probe_lanes": probes,
                    "data_plane_cpus": data_plane_cpus(candidate, GATEWAYS if self.shared_machine else (name,)),
                    "workloads": [workload.model_dump(mode="json", exclude={"rate_search"}) for workload in workloads],
                },
            }
        return variables

    def _candidate_variables(
        self, candidate: Candidate, gateway: GatewayAddresses, peer_keys: Sequence[str], probes: Sequence[str]
    ) -> dict[str, Any]:
        cpu_sets = getattr(candidate.cpu_sets, gateway.gateway).used()
        is_wirelane = candidate.engine == "wirelane"
        return {
            "state_folder": str(gateway.state_folder),
            "engine": candidate.engine,
            "spread": candidate.spread,
            "engine_paths": self._programs_on(gateway, candidate.engine),
            "lease_s": self.lease_s,
            "config": wirelane_toml(candidate, gateway, peer_keys) if is_wirelane else "",
            "mtu": candidate.mtu,
            "threaded_napi": candidate.threaded_napi,
            "process_cpu_set": cpu_sets.get("process", ""),
            "stage_cpu_sets": {stage: parse_cpulist(cpus) for stage, cpus in cpu_sets.items()},
            "socket_buffer_bytes": candidate.socket_buffer_bytes if is_wirelane else 0,
            "host_tuning": candidate.host.used(),
            "data_address": gateway.underlay,
            "far_data_address": gateway.far.underlay,
            "rendezvous_port": RENDEZVOUS_PORT,
            "routes": [gateway.far.inner_network],
            "route_source": gateway.inner,
            "sysctls": dict(self.sysctls),
            "probe_lanes": list(probes),
            "lanes": [
                {
                    "interface": f"wl{lane if candidate.spread == 'ecmp' else 0}",
                    "listen_port": lane_port(lane),
                    "address": f"{gateway.lane(lane)}/31",
                    "peer_public_key": peer_keys[lane],
                    "endpoint": lane_endpoint(gateway.far.underlay, lane),
                    "allowed_ips": [gateway.far.inner_network, lane_network(lane)],
                }
                for lane in range(candidate.lanes)
            ],
        }

    def _provisioned(self, result: PlaybookResult, name: Gateway) -> ProvisionedGateway:
        prepared = checked(Preparation, returned(result, "Make the state folder and the key pairs", name), name)
        facts = with_controller(checked(Facts, returned(result, "Gather fingerprint and topology", name), name))
        if len(prepared.lane_public_keys) != self._key_pairs:
            found = len(prepared.lane_public_keys)
            raise LabError(f"gateway {name} returned {found} key pairs instead of {self._key_pairs}")
        return ProvisionedGateway(
            fingerprint=facts.fingerprint,
            fingerprint_hash=fingerprint_hash(facts),
            topology=facts.topology.model_dump(mode="json"),
            emulated=facts.emulated,
            engines=facts.engines,
            lane_public_keys=prepared.lane_public_keys,
            host_tunables=facts.host_tunables,
            notices=facts.before.notices if facts.before else (),
            proposals=facts.before.proposals if facts.before else (),
            canary_ms=facts.before.canary_ms if facts.before else None,
        )


class _RateSteps:
    """The trials of one rate search, each a short play on the candidate that stays applied."""

    def __init__(
        self, driver: GatewayPairDriver, candidate: Candidate, on_phase: OnPhase, should_cancel: ShouldCancel
    ) -> None:
        self._driver, self._candidate = driver, candidate
        self._on_phase, self._should_cancel = on_phase, should_cancel
        self.measure_s = 0.0

    def measure(self, workload: Workload) -> Sample:
        load = workload.offered_load_pps or workload.offered_load_gbps
        unit = "packets/s" if workload.offered_load_pps else "Gbit/s"
        self._on_phase("measure", f"{workload.name}: offering {f'{load:,.6g} {unit}' if load else 'all it can'}")
        sample, window_s = self._driver.measure_applied(self._candidate, workload, lambda *_: None, self._should_cancel)
        self.measure_s += window_s
        return sample


def data_plane_cpus(candidate: Candidate, gateways: Sequence[Gateway]) -> list[int]:
    """CPUs that the candidate gives to the data planes of these gateways, of all that share a machine."""
    sets = (cpus for gateway in gateways for cpus in getattr(candidate.cpu_sets, gateway).used().values())
    return sorted({cpu for cpus in sets for cpu in parse_cpulist(cpus)})


def _traffic_s(workloads: Sequence[Workload]) -> float:
    return sum(workload.duration_s + WORKLOAD_EXTRA_S for workload in workloads)


def _measured(
    result: PlaybookResult, candidate: Candidate, workloads: Sequence[Workload]
) -> tuple[list[Sample], float]:
    """One sample a workload, and how long their windows were open in all."""
    lead = checked(Measurement, returned(result, "Run the workloads", "a"), "a")
    far = checked(FarMeasurement, returned(result, "Run the workloads", "b"), "b")
    if not len(lead.workloads) == len(far.workloads) == len(workloads):
        raise LabError("the gateways returned another number of workloads than was asked for")
    samples = [
        sample_of(candidate, workload, at_a, at_b)
        for workload, at_a, at_b in zip(workloads, lead.workloads, far.workloads, strict=True)
    ]
    return samples, sum(run.closed.monotonic_s - run.opened.monotonic_s for run in lead.workloads)


def returned(result: PlaybookResult, task: str, host: str) -> object:
    """What a task's call returned on one host; None when it did not run there."""
    return next((done.result.get("result") for done in result.tasks if (done.task, done.host) == (task, host)), None)


def _slowest(result: PlaybookResult, task: str) -> float:
    return max((done.duration_s for done in result.tasks if done.task == task), default=0.0)
