"""What a testbed driver does for the workflows: provision two gateways, run trials on them, leave no trace."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field

from tuner.candidate import Candidate, Gateway
from tuner.samples import Reference, Sample, Workload

Phase = Literal["provision", "apply", "verify", "measure", "collect", "rollback", "teardown"]
OnPhase = Callable[[Phase, str], None]
"""Called from the driver's thread with the phase that begins and one line for people."""
ShouldCancel = Callable[[], bool]
"""Polled at least once a second; true stops the running playbook and everything it started."""


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ProvisionedGateway(_Value):
    """What one gateway said of itself when it was provisioned. Untrusted input: sizes and types are checked."""

    fingerprint: dict[str, Any] = Field(description="CPU model, topology, kernel, tool versions, …; JSON values only")
    fingerprint_hash: str
    topology: dict[str, Any] = Field(description="input of tuner.topology.Topology.model_validate")
    emulated: bool = Field(False, description="its CPUs are emulated")
    engines: tuple[str, ...] = Field(description="engines that can run here")
    lane_public_keys: tuple[str, ...] = Field(description="base64; the private halves never leave the gateway")
    host_key: str = Field("", description="fingerprint of the SSH host key that was pinned; empty without SSH")
    host_tunables: tuple[str, ...] = Field((), description="fields of tuner.host_tuning.HostTuning that this host has")
    notices: tuple[str, ...] = Field((), description="what of the host may disturb measurements, in words")
    proposals: tuple[str, ...] = Field((), description="what a reboot could improve, in words; never done")
    canary_ms: float | None = Field(
        None, description="a small fixed piece of work on one CPU; grows when that slows down"
    )


class ProvisionedTestbed(_Value):
    """Both gateways, ready for trials."""

    gateways: dict[Gateway, ProvisionedGateway]
    shared_machine: bool = Field(description="both gateways run on the same CPUs (netns)")
    underlay_mtu: int
    simulated: bool = False
    emulated: bool = Field(False, description="the gateways' CPUs are emulated: real behaviour, meaningless speed")


class PhaseTimings(_Value):
    """Where a trial's time went, in seconds."""

    apply_s: float = 0.0
    verify_s: float = 0.0
    measure_s: float = Field(0.0, description="workloads' windows, between the first and the last packet that counts")
    collect_s: float = Field(0.0, description="starting and stopping the workloads, and collecting what they say")
    total_s: float = 0.0

    @property
    def start_s(self) -> float:
        """The rest: starting Ansible, for the most part."""
        return max(0.0, self.overhead_s - self.apply_s - self.verify_s - self.collect_s)

    @property
    def overhead_s(self) -> float:
        """Time of the trial that was not spent measuring."""
        return max(0.0, self.total_s - self.measure_s)


class TrialResult(_Value):
    """A candidate that was applied, read back and measured. One sample a workload, in order."""

    samples: tuple[Sample, ...]
    read_back: Mapping[str, Any] = Field(description="per gateway: what is really set, as the host reports it")
    timings: PhaseTimings


class LabError(Exception):
    """The lab could not do it: an infrastructure fault. `hint` says what to do about it."""

    def __init__(self, message: str, *, hint: str = "", detail: str = "") -> None:
        super().__init__(message)
        self.message, self.hint, self.detail = message, hint, detail


class CandidateFailed(LabError):  # noqa: N818 - the name says what happened
    """The candidate itself cannot run here, or its data plane died under load: the trial counts as infeasible."""


class LabCancelled(LabError):  # noqa: N818 - the name says what happened
    """`should_cancel` said so; everything the call had started is gone."""


class TestbedDriver(Protocol):
    """One object a testbed. Calls block; a testbed runs one call at a time. All of them may raise LabError."""

    def provision(self, on_phase: OnPhase, should_cancel: ShouldCancel) -> ProvisionedTestbed:
        """Make both gateways ready. Idempotent: heals a half-made or damaged testbed."""
        ...

    def run_trial(
        self,
        candidate: Candidate,
        workloads: Sequence[Workload],
        on_phase: OnPhase,
        should_cancel: ShouldCancel,
    ) -> TrialResult:
        """Apply the candidate, read it back, run every workload once. Needs a provisioned testbed."""
        ...

    def reference(self, workload: Workload, on_phase: OnPhase, should_cancel: ShouldCancel) -> Reference:
        """What the hosts can do without a tunnel: TCP over the underlay with the direction, flows and duration of
        `workload`, and the AEAD of each gateway. Needs a provisioned testbed; nothing has to be applied."""
        ...

    def rollback(self) -> None:
        """Stop the applied candidate and whatever measures it; settings are back to before the first apply."""
        ...

    def teardown(self) -> None:
        """Remove everything that this testbed ever made on its hosts. Idempotent; works after a crash."""
        ...

    def forget(self) -> None:
        """Drop what this machine keeps of hosts that are gone for good, such as their keys, without reaching them."""
        ...
