"""The configuration value that a trial measures: engine, mode, lanes, CPU sets, NUMA, MTU, batch, socket buffers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cached_property
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from tuner.cpulist import MAX_CPU, CpuSet, format_cpulist, parse_cpulist
from tuner.host_tuning import HostTuning

__all__ = ["MAX_CPU", "CpuSet", "format_cpulist", "parse_cpulist"]

Engine = Literal["wirelane", "kernel", "wireguard-go"]
Mode = Literal["inline", "pipelined"]
Spread = Literal["ecmp", "bond"]
NumaPolicy = Literal["local", "bind", "prefer"]
Gateway = Literal["a", "b"]

GATEWAYS: tuple[Gateway, Gateway] = ("a", "b")
MAX_LANES = 64

WIREGUARD_OVERHEAD_BYTES = 80
"""IPv6 40 + UDP 8 + WireGuard header 16 + tag 16 (WireGuard paper, section 5.4.6); over IPv4 20 fewer."""

INLINE_STAGES = ("tx", "rx")
PIPELINED_STAGES = ("read", "crypto", "write")
NAPI_STAGES = ("napi",)
BOND_STAGE = "read"
"""A bond has one thread more, which reads its device; in pipelined mode that stage is there anyway."""


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class StageCpuSets(_Value):
    """CPU set of each stage on one gateway.

    Thread k of a stage is pinned to CPU number k mod |set| of its set; an empty set leaves it to the scheduler.
    `tx`/`rx` are the stages of inline mode, `read`/`crypto`/`write` those of pipelined mode, `process` confines
    every thread of an engine that has no placement of its own (wireguard-go), `napi` holds the kernel threads that
    receive for in-tree WireGuard with threaded NAPI, one a lane.
    """

    tx: CpuSet = ""
    rx: CpuSet = ""
    read: CpuSet = ""
    crypto: CpuSet = ""
    write: CpuSet = ""
    process: CpuSet = ""
    napi: CpuSet = ""

    def used(self) -> dict[str, str]:
        """The stages that have a CPU set, with it."""
        return {stage: cpus for stage, cpus in self.model_dump().items() if cpus}


class GatewayCpuSets(_Value):
    """CPU sets of both gateways; they differ when the hosts do, or when both share one machine."""

    a: StageCpuSets = StageCpuSets()
    b: StageCpuSets = StageCpuSets()


class Candidate(_Value):
    """One configuration of both gateways; two equal candidates behave alike and have the same `key`."""

    engine: Engine = "wirelane"
    mode: Mode | None = Field("inline", description="wirelane's architecture; null for an engine without modes")
    lanes: int = Field(1, ge=1, le=MAX_LANES, description="tunnels side by side, each with a port and keys of its own")
    spread: Spread = Field(
        "ecmp", description="ecmp: a device a lane, routes over all · bond: one device, wirelane puts flows on lanes"
    )
    crypto_workers: int | None = Field(
        None, ge=1, le=256, description="packet workers per lane and direction; pipelined mode only"
    )
    threaded_napi: bool = Field(False, description="engine kernel: receive in a kernel thread a lane, not in softirq")
    cpu_sets: GatewayCpuSets = GatewayCpuSets()
    numa_policy: NumaPolicy = Field("local", description="where packet buffers live; nodes follow the CPU sets")
    mtu: int = Field(1420, ge=1280, le=65455, description="inner MTU in bytes, without the tunnel's headers")
    batch_packets: int = Field(64, ge=1, le=128, description="most packets handled as one unit of work")
    socket_buffer_bytes: int = Field(4 << 20, ge=64 << 10, le=256 << 20, description="UDP send and receive buffer")
    host: HostTuning = Field(HostTuning(), description="settings of both gateways' kernels and NICs; null: as they are")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.host.underlay_mtu is not None and self.mtu > self.host.underlay_mtu - WIREGUARD_OVERHEAD_BYTES:
            raise ValueError(f"an MTU of {self.mtu} does not fit an underlay of {self.host.underlay_mtu} bytes")
        if self.spread == "bond" and (self.engine != "wirelane" or self.lanes == 1):
            reason = "it needs two lanes or more" if self.engine == "wirelane" else f"{self.engine} has none"
            raise ValueError(f"a bond is one device over several lanes of wirelane: {reason}")
        allowed = self._allowed_stages()
        for gateway in GATEWAYS:
            stray = set(getattr(self.cpu_sets, gateway).used()) - set(allowed)
            if stray:
                kind = self.engine if self.mode is None else f"{self.engine} in {self.mode} mode"
                has = f"its stages are {', '.join(allowed)}" if allowed else "only threaded NAPI can be placed there"
                raise ValueError(f"{kind} has no stage {sorted(stray)[0]!r}; {has}")
        return self

    def _allowed_stages(self) -> tuple[str, ...]:
        if self.threaded_napi and self.engine != "kernel":
            raise ValueError(f"threaded_napi belongs to engine kernel; {self.engine} does not receive by NAPI")
        if self.engine != "wirelane":
            if self.mode is not None or self.crypto_workers is not None:
                raise ValueError(f"{self.engine} has neither a mode nor crypto workers: leave both null")
            if self.engine == "kernel":
                return NAPI_STAGES if self.threaded_napi else ()
            return ("process",)
        if self.mode is None:
            raise ValueError("wirelane needs a mode: inline or pipelined")
        if self.mode == "inline":
            if self.crypto_workers is not None:
                raise ValueError("crypto_workers belongs to pipelined mode; inline threads encrypt themselves")
            return INLINE_STAGES if self.spread == "ecmp" else (*INLINE_STAGES, BOND_STAGE)
        if self.crypto_workers is None:
            raise ValueError("pipelined mode needs crypto_workers, the packet workers per lane and direction")
        return PIPELINED_STAGES

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A validated copy; Pydantic's own would skip the checks and keep the cached `key` of the original."""
        return type(self)(**({name: getattr(self, name) for name in type(self).model_fields} | dict(update or {})))

    def changes_from(self, other: Candidate) -> int:
        """In how many settings this candidate differs from the other; host settings count one each."""
        pairs = ((self, other), (self.host, other.host))
        return sum(
            getattr(own, name) != getattr(its, name)
            for own, its in pairs
            for name in type(own).model_fields
            if name != "host"
        )

    @property
    def devices(self) -> int:
        """Network devices of one gateway: one a lane, or one for all of them."""
        return 1 if self.spread == "bond" else self.lanes

    @cached_property
    def key(self) -> str:
        """16 hex digits that name this configuration; equal for equal candidates on every machine."""
        value = self.model_dump(mode="json")
        if not self.host.used():
            del value["host"]  # A candidate that leaves the hosts alone is named as before there was host tuning.
        if self.spread == "ecmp":
            del value["spread"]  # As above: it was the only way.
        text = json.dumps(value, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def in_words(self) -> str:
        """One line for people: "wirelane inline, 2 lanes, tx on CPU 0, rx on CPU 1, MTU 1420"."""
        words = [self.engine if self.mode is None else f"{self.engine} {self.mode}"]
        words.append("1 lane" if self.lanes == 1 else f"{self.lanes} lanes")
        if self.spread == "bond":
            words.append("bond")
        if self.crypto_workers is not None:
            words.append(f"{self.crypto_workers} crypto worker{'s' if self.crypto_workers > 1 else ''} a direction")
        if self.threaded_napi:
            words.append("threaded NAPI")
        a, b = self.cpu_sets.a.used(), self.cpu_sets.b.used()
        if a == b:
            words += [f"{stage} on CPU {cpus}" for stage, cpus in a.items()]
        else:
            words += [
                f"{stage} on CPU {cpus} at {name}"
                for name, sets in (("a", a), ("b", b))
                for stage, cpus in sets.items()
            ]
        if self.numa_policy != "local":
            words.append(f"NUMA {self.numa_policy}")
        words.append(f"MTU {self.mtu}")
        if self.engine == "wirelane":
            words.append(f"batches of {self.batch_packets}")
            words.append(f"{self.socket_buffer_bytes / (1 << 20):g} MiB socket buffers")
        return ", ".join(words + self.host.in_words())


def candidate_json_schema() -> dict[str, Any]:
    """JSON schema of a candidate, for documents and the generated client."""
    return Candidate.model_json_schema()
