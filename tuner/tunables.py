"""The dimensions of a search space: which values each tunable can take on two hosts, and what the user says to that."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from tuner.candidate import (
    GATEWAYS,
    INLINE_STAGES,
    MAX_LANES,
    NAPI_STAGES,
    PIPELINED_STAGES,
    WIREGUARD_OVERHEAD_BYTES,
    Candidate,
    Engine,
    Gateway,
    GatewayCpuSets,
    Mode,
    NumaPolicy,
    Spread,
)
from tuner.host_tuning import HostChoices, HostTuning
from tuner.placement import legal_placements
from tuner.topology import Topology

Choice = str | int
Params = dict[str, Choice]
"""Value of each tunable that applies, by name: {"engine": "wirelane", "mode": "inline", "lanes": 2, …}."""

STOCK_MTU = 1420
LEAST_MTU = 1280
UNPINNED = "unpinned"
HOST_PREFIX = "host_"
_MIB = 1 << 20
_BATCH_PACKETS = (8, 16, 32, 64, 128)
_SOCKET_BUFFER_BYTES = (_MIB // 4, _MIB, 4 * _MIB, 16 * _MIB)

_T = TypeVar("_T")
_Some = Annotated[
    tuple[_T, ...] | None,
    BeforeValidator(lambda given: given if given is None or isinstance(given, list | tuple) else (given,)),
]
"""One value (the tunable is fixed) or a list of them (it is narrowed, or gets values of its own); null: generated."""


class Narrowing(BaseModel):
    """The user's word on the search space. Each field takes one value, a list of values, or null for "as generated".

    Unknown fields and impossible values (zero lanes) raise ValueError here; what depends on the hosts (a CPU that does
    not exist, an engine that is not installed) does so in `SearchSpace.from_host`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    engine: _Some[Engine] = Field(None, min_length=1)
    mode: _Some[Mode] = Field(None, min_length=1)
    threaded_napi: _Some[bool] = Field(None, min_length=1)
    lanes: _Some[Annotated[int, Field(ge=1, le=MAX_LANES)]] = Field(None, min_length=1, max_length=MAX_LANES)
    spread: _Some[Spread] = Field(
        None, min_length=1, description="how flows come to lanes; null: by ecmp alone, the space does not ask"
    )
    placement: _Some[str] = Field(None, min_length=1, description='names such as "near" or "packed apart"')
    cpu_sets: _Some[GatewayCpuSets] = Field(
        None, min_length=1, max_length=32, description="CPU sets of the user's own, in place of generated placements"
    )
    crypto_workers: _Some[Annotated[int, Field(ge=1, le=256)]] = Field(None, min_length=1, max_length=64)
    numa_policy: _Some[NumaPolicy] = Field(None, min_length=1)
    mtu: _Some[Annotated[int, Field(ge=LEAST_MTU, le=65455)]] = Field(None, min_length=1, max_length=64)
    batch_packets: _Some[Annotated[int, Field(ge=1, le=128)]] = Field(None, min_length=1, max_length=64)
    socket_buffer_bytes: _Some[Annotated[int, Field(ge=64 << 10, le=256 << 20)]] = Field(
        None, min_length=1, max_length=64
    )
    placement_per_gateway: bool = Field(False, description="search a placement for each gateway, not one for both")
    host: HostChoices = Field(
        {},
        max_length=32,
        description="settings of the hosts' kernels and NICs to search, each with its values; none unless asked for",
        examples=[{"netdev_budget": ["as it is", 600], "gro": [True, False]}],
    )
    baseline: Candidate | None = Field(None, description="compare with this; null: one pipelined lane, as stock does")


@dataclass(frozen=True, slots=True)
class Tunable:
    """One dimension of the space."""

    name: str
    label: str
    choices: tuple[Choice, ...]
    unit: str = ""
    ordered: bool = False
    applies_when: Mapping[str, tuple[Choice, ...]] | None = None
    """It exists only where each tunable named here has one of the values; None: it always does."""

    def applies(self, params: Mapping[str, Choice]) -> bool:
        """Whether it exists, given the tunables before it."""
        if self.applies_when is None:  # asked ten thousand times a trial
            return True
        return all(params.get(name) in values for name, values in self.applies_when.items())


def custom_placements(narrowing: Narrowing) -> dict[str, GatewayCpuSets]:
    """The user's own CPU sets by the name that stands for them in the parameters."""
    sets = narrowing.cpu_sets or ()
    return {"custom" if len(sets) == 1 else f"custom {number}": given for number, given in enumerate(sets, 1)}


def generate_tunables(
    topologies: Mapping[Gateway, Topology],
    engines: Sequence[Engine],
    shared_machine: bool,
    underlay_mtu: int,
    narrowing: Narrowing,
) -> tuple[Tunable, ...]:
    """The tunables of two hosts, in an order in which each comes after those it depends on. Raises ValueError."""
    cpus = min(len(topology.usable_cpus) for topology in topologies.values())
    engine = _engines(engines, narrowing)
    mode = _modes(engine, narrowing)
    placement = _placements(topologies, shared_machine, narrowing, engine, mode)
    wirelane = {"engine": ("wirelane",)}
    lanes = _counts(narrowing.lanes, min(cpus, MAX_LANES))
    pinned = tuple(name for name in placement if name != UNPINNED)
    names = ("placement_a", "placement_b") if narrowing.placement_per_gateway else ("placement",)
    tunables = [
        Tunable("engine", "Engine", engine),
        Tunable("mode", "Mode", mode, applies_when=wirelane),
        Tunable("lanes", "Lanes", lanes, ordered=True),
        *_spread(narrowing, lanes),
        Tunable(
            "crypto_workers",
            "Crypto workers",
            _counts(narrowing.crypto_workers, min(cpus, 256)),
            unit="per lane and direction",
            ordered=True,
            applies_when=wirelane | {"mode": ("pipelined",)},
        ),
        Tunable(
            "threaded_napi",
            "Threaded NAPI",
            narrowing.threaded_napi or (False, True),
            applies_when={"engine": ("kernel",)},
        ),
        *(
            Tunable(name, f"Placement{name.removeprefix('placement').upper().replace('_', ' ')}", placement)
            for name in names
        ),
    ]
    nodes = max(len(topology.nodes) for topology in topologies.values())
    policies = narrowing.numa_policy or (get_args(NumaPolicy) if nodes > 1 else ())
    if policies and pinned:
        # Buffers follow the CPU sets, so that the policy says nothing where there are none.
        applies_when: dict[str, tuple[Choice, ...]] = wirelane | dict.fromkeys(names, pinned)
        tunables.append(Tunable("numa_policy", "NUMA policy", tuple(policies), applies_when=applies_when))
    tunables += [
        Tunable("mtu", "MTU", _mtus(underlay_mtu, narrowing), unit="bytes", ordered=True),
        Tunable(
            "batch_packets",
            "Batch",
            _ascending(narrowing.batch_packets or _BATCH_PACKETS),
            unit="packets",
            ordered=True,
            applies_when=wirelane,
        ),
        Tunable(
            "socket_buffer_bytes",
            "Socket buffer",
            _ascending(narrowing.socket_buffer_bytes or _SOCKET_BUFFER_BYTES),
            unit="bytes",
            ordered=True,
            applies_when=wirelane,
        ),
    ]
    tunables += [
        Tunable(HOST_PREFIX + name, name.replace("_", " ").capitalize(), values)
        for name, values in sorted(narrowing.host.items())
    ]
    return tuple(tunable for tunable in tunables if _can_apply(tunable, engine, mode))


def check_host_settings(
    tuning: HostTuning, has: Collection[str] | None, topologies: Mapping[Gateway, Topology]
) -> None:
    """Raises ValueError for a setting that a host does not have, or for CPUs that do not exist. `has`: names of the
    settings of both; None: not known."""
    for name, value in tuning.used().items():
        if has is not None and name not in has:
            offered = f"they have {', '.join(sorted(has))}" if has else "they have none"
            raise ValueError(f"these hosts do not both have the setting {name}; {offered}")
        if name.endswith("_cpus"):
            for topology in topologies.values():
                topology.check({name: value})


def mtu_limit(underlay_mtu: int) -> int:
    """The largest inner MTU that crosses the underlay unfragmented. Raises ValueError below IPv6's least MTU."""
    limit = underlay_mtu - WIREGUARD_OVERHEAD_BYTES
    if limit < LEAST_MTU:
        raise ValueError(
            f"the underlay's MTU of {underlay_mtu} bytes leaves {limit} for the tunnel; it needs {LEAST_MTU} (RFC 8200)"
        )
    return min(limit, 65455)


def check_cpu_sets(sets: GatewayCpuSets, topologies: Mapping[Gateway, Topology]) -> None:
    """Raises ValueError when a set names a CPU that its gateway does not have, or that the lab must not use."""
    for gateway in GATEWAYS:
        try:
            topologies[gateway].check(getattr(sets, gateway).used())
        except ValueError as error:
            raise ValueError(f"gateway {gateway}: {error}") from None


def _can_apply(tunable: Tunable, engine: Sequence[str], mode: Sequence[str]) -> bool:
    needs = tunable.applies_when or {}
    return all(
        not set(needs[name]).isdisjoint(has) for name, has in (("engine", engine), ("mode", mode)) if name in needs
    )


def _engines(engines: Sequence[Engine], narrowing: Narrowing) -> tuple[Engine, ...]:
    if not engines:
        raise ValueError("no engine runs on both gateways; install wirelane, wireguard-go or a kernel with WireGuard")
    for engine in narrowing.engine or ():
        if engine not in engines:
            raise ValueError(f"engine {engine} does not run on both gateways; {', '.join(engines)} would")
    return narrowing.engine or tuple(engines)


def _modes(engine: Sequence[Engine], narrowing: Narrowing) -> tuple[Mode, ...]:
    if "kernel" not in engine and narrowing.threaded_napi is not None:
        raise ValueError(f"threaded_napi is a tunable of kernel, which is not among the engines: {', '.join(engine)}")
    if "wirelane" not in engine:
        for name in ("mode", "spread", "crypto_workers", "numa_policy", "batch_packets", "socket_buffer_bytes"):
            if getattr(narrowing, name) is not None:
                raise ValueError(
                    f"{name} is a tunable of wirelane, which is not among the engines: {', '.join(engine)}"
                )
        return ()
    modes = narrowing.mode or get_args(Mode)
    if narrowing.crypto_workers is not None and "pipelined" not in modes:
        raise ValueError("crypto_workers belongs to pipelined mode, which the search space leaves out")
    return modes


def _spread(narrowing: Narrowing, lanes: Sequence[int]) -> Iterator[Tunable]:
    """A bond of one lane would be a detour: the tunable is there with two lanes or more."""
    several = tuple(count for count in lanes if count > 1)
    if narrowing.spread in (None, ("ecmp",)):
        return
    if not several:
        raise ValueError("spread bond needs two lanes or more; the search space has one")
    yield Tunable("spread", "Spread", narrowing.spread, applies_when={"engine": ("wirelane",), "lanes": several})


def _placements(
    topologies: Mapping[Gateway, Topology],
    shared_machine: bool,
    narrowing: Narrowing,
    engine: Sequence[Engine],
    mode: Sequence[Mode],
) -> tuple[str, ...]:
    custom = custom_placements(narrowing)
    for sets in custom.values():
        check_cpu_sets(sets, topologies)
        _check_stages(sets, engine, mode)
    legal = (*(placement.name for placement in legal_placements(topologies, shared_machine)), *custom)
    for name in narrowing.placement or ():
        if name not in legal:
            raise ValueError(f"placement {name!r} does not exist on these hosts; {', '.join(legal)} do")
    return narrowing.placement or tuple(custom) or legal


def _check_stages(sets: GatewayCpuSets, engine: Sequence[Engine], mode: Sequence[Mode]) -> None:
    """A set of the user's own must fit every engine and mode of the space, or half of the candidates were invalid."""
    stages = {
        "wireguard-go": ("process",), "kernel": NAPI_STAGES, "inline": INLINE_STAGES, "pipelined": PIPELINED_STAGES
    }  # fmt: skip
    for kind in (*(name for name in engine if name != "wirelane"), *mode):
        for gateway in GATEWAYS:
            stray = set(getattr(sets, gateway).used()) - set(stages[kind])
            if stray:
                raise ValueError(
                    f"cpu_sets names stage {min(stray)}, which {kind} does not have (it has"
                    f" {', '.join(stages[kind])}); fix engine and mode to those that do"
                )


def _mtus(underlay_mtu: int, narrowing: Narrowing) -> tuple[int, ...]:
    limit = mtu_limit(underlay_mtu)
    for mtu in narrowing.mtu or ():
        if mtu > limit:
            raise ValueError(f"MTU {mtu} does not fit the underlay's {underlay_mtu} bytes: {limit} is the most")
    generated = {LEAST_MTU, min(STOCK_MTU, limit)}
    if limit > 2 * STOCK_MTU:
        # A multiple of 16, to which WireGuard pads: no byte is wasted.
        generated |= {limit // 32 * 16, limit // 16 * 16}
    return _ascending(narrowing.mtu or generated)


def _counts(given: Sequence[int] | None, most: int) -> tuple[int, ...]:
    """The user's numbers, or powers of two up to and including `most`."""
    return _ascending(given or {most, *(1 << k for k in range(most.bit_length()) if 1 << k <= most)})


def _ascending(values: Any) -> tuple[int, ...]:
    return tuple(sorted(set(values)))
