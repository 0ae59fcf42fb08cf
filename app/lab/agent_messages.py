"""What the agent on a gateway returns, as a schema: a gateway is not trusted, so types and sizes are checked here."""

from __future__ import annotations

import base64
import binascii
import json
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from app.lab.driver import LabError
from app.lab.fingerprint import MAX_BYTES, bounded, on_one_line
from tuner.candidate import MAX_LANES, Engine, Gateway
from tuner.topology import Topology


def _public_key(text: str) -> str:
    try:
        if len(base64.b64decode(text, validate=True)) == 32:
            return text
    except binascii.Error:
        pass  # Falls through to the one message for every kind of damage.
    raise ValueError("not a WireGuard public key")


def _bounded_json(value: dict[str, Any]) -> dict[str, Any]:
    if len(json.dumps(value)) > MAX_BYTES:
        raise ValueError(f"more than {MAX_BYTES} bytes")
    return value


PublicKey = Annotated[str, Field(max_length=64), AfterValidator(_public_key)]
BoundedJson = Annotated[dict[str, Any], AfterValidator(_bounded_json)]
Fingerprint = Annotated[dict[str, Any], AfterValidator(bounded)]
RawText = Annotated[str, Field(max_length=1 << 20)]
ShownName = Annotated[str, Field(max_length=64), AfterValidator(on_one_line)]
Text = Annotated[str, Field(max_length=4000)]
ShownText = Annotated[str, Field(max_length=1000), AfterValidator(on_one_line)]


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class AgentFailure(_Message):
    """Why a call failed, and whether the candidate or the lab is to blame."""

    message: Text
    blame: Literal["lab", "candidate"]
    hint: Text = ""
    detail: Annotated[str, Field(max_length=8000)] = ""


class Preparation(_Message):
    """Result of `prepare`."""

    lane_public_keys: tuple[PublicKey, ...] = Field(max_length=MAX_LANES)


class HostReport(_Message):
    """Result of `prepare_host`."""

    data_interface: str = Field(max_length=32)
    mtu: int = Field(ge=68, le=65535)


class Machines(_Message):
    """Result of `start_machines`, on this machine."""

    ports: dict[Gateway, Annotated[int, Field(ge=1, le=65535)]]
    key_file: Text
    emulated: bool


class BeforeMeasuring(_Message):
    """How the host is before anything is measured."""

    canary_ms: float = Field(gt=0, le=60_000, allow_inf_nan=False)
    notices: tuple[ShownText, ...] = Field(max_length=16)
    proposals: tuple[ShownText, ...] = Field(max_length=16)


class Facts(_Message):
    """Result of `facts`."""

    fingerprint: Fingerprint
    topology: Topology
    emulated: bool = False
    before: BeforeMeasuring | None = None
    engines: tuple[Engine, ...] = Field(max_length=8)
    host_tunables: tuple[Annotated[str, Field(max_length=64, pattern=r"^[a-z0-9_]+$")], ...] = Field((), max_length=64)


class ReadBack(_Message):
    """Result of `verify`, after the agent has found no difference."""

    lanes: BoundedJson
    spread: Literal["ecmp", "bond"] = "ecmp"
    routes: tuple[BoundedJson, ...] = Field(max_length=64)
    sysctls: dict[str, Text] = Field(max_length=64)
    threads: tuple[BoundedJson, ...] = Field(max_length=8192)
    host_tuning: dict[Annotated[str, Field(max_length=200)], Text] = Field({}, max_length=8192)
    answers_ms: tuple[Annotated[float, Field(ge=0)], ...] = Field(max_length=MAX_LANES)


class ThreadTime(_Message):
    """CPU time of one data-plane thread since it started."""

    tid: int = Field(ge=0)
    stage: Annotated[str, Field(max_length=32)]
    cpu_s: float = Field(ge=0)


class Moment(_Message):
    """Counters of one gateway at one moment, as its kernel wrote them."""

    monotonic_s: float
    unix_time_s: float
    ticks_per_s: int = Field(gt=0, le=100_000)
    proc_stat: str = Field(max_length=1 << 20)
    process_stats: tuple[Text, ...] = Field(max_length=MAX_LANES)
    kernel_worker_ticks: dict[int, Annotated[int, Field(ge=0)]] = Field({}, max_length=8192)
    net_dev: str = Field(max_length=1 << 20)
    threads: tuple[ThreadTime, ...] = Field((), max_length=8192)
    drops: dict[Annotated[str, Field(max_length=64)], Annotated[int, Field(ge=0)]] = Field({}, max_length=64)
    lane_received_bytes: tuple[Annotated[int, Field(ge=0)], ...] = Field((), max_length=MAX_LANES)


Counts = Annotated[dict[Annotated[str, Field(max_length=64)], int], Field(max_length=16)]


class Surroundings(_Message):
    """What else happened on a gateway around one workload."""

    window_s: float = Field(gt=0, allow_inf_nan=False)
    canary_ms: float = Field(gt=0, le=60_000, allow_inf_nan=False)
    foreign_cpu_s: float = Field(ge=0, allow_inf_nan=False)
    foreign_busiest: tuple[tuple[ShownName, float], ...] = Field(max_length=8)
    throttled: Counts
    link: Counts
    lanes: Counts
    softnet: tuple[RawText, RawText]
    queues: tuple[RawText, RawText]
    undone: tuple[ShownText, ...] = Field((), max_length=8)


class FarWorkload(_Message):
    """Gateway b's side of a workload."""

    opened: Moment
    closed: Moment
    surroundings: Surroundings | None = None
    drained_net_dev: str | None = Field(
        None, max_length=1 << 20, description="interface counters once everything on its way has arrived"
    )
    argv: tuple[tuple[Text, ...], ...] = Field((), max_length=256)


class LeadWorkload(FarWorkload):
    """Gateway a's side: the counters, and what the tools said."""

    outputs: tuple[Annotated[str, Field(max_length=200_000)], ...] = Field(max_length=256)
    reversed: tuple[bool, ...] = Field(max_length=256)
    tool_version: Text
    warnings: tuple[Text, ...] = Field((), max_length=64)
    round_trips_ms: tuple[Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)], ...] = Field(
        (), max_length=100_000, description="answers to the echo requests, as the kernel stamped them"
    )
    echoes_sent: int = Field(0, ge=0, le=10_000_000)


class Measurement(_Message):
    """Result of `measure` on gateway a."""

    workloads: tuple[LeadWorkload, ...] = Field(max_length=256)


class FarMeasurement(_Message):
    """Result of `measure` on gateway b."""

    workloads: tuple[FarWorkload, ...] = Field(max_length=256)


class AeadRate(_Message):
    """What `wirelane aead-rate --json` says."""

    backend: Annotated[str, Field(max_length=32)]
    packet_bytes: int = Field(ge=1, le=65535)
    gbit_per_s: float = Field(gt=0, le=100_000, allow_inf_nan=False)


class FarReference(_Message):
    """Result of `reference` on gateway b."""

    argv: tuple[tuple[Text, ...], ...] = Field(max_length=256)
    aead: AeadRate | None


class LeadReference(FarReference):
    """Result of `reference` on gateway a."""

    outputs: tuple[Annotated[str, Field(max_length=200_000)], ...] = Field(max_length=256)
    tool_version: Text


Message = TypeVar("Message", bound=_Message)


def checked(schema: type[Message], value: object, gateway: str) -> Message:
    """`value` as a message. Raises LabError that names the gateway and the first thing that is wrong."""
    try:
        return schema.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise LabError(
            f"gateway {gateway} returned something implausible: {place}: {first['msg']}",
            hint="a gateway's agent of another version, or a host that is not what it claims",
        ) from error
