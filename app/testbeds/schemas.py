"""Testbeds as the API shows them."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, model_validator

from app.lab.distribution import DEFAULT_DISTRIBUTION, Distribution
from app.lab.secret_reference import PATTERN as SECRET_REFERENCE
from tuner.candidate import Engine, Gateway

TestbedName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,14}$", min_length=1, max_length=15)]
Driver = Literal["netns", "vm", "ssh", "compose", "sim"]


class TestbedState(StrEnum):
    """Where a testbed is in its life."""

    PROVISIONING = "provisioning"
    READY = "ready"
    FAILED = "failed"
    DELETING = "deleting"
    FORGETTING = "forgetting"


class SimulationOptions(BaseModel):
    """The simulated machine pair of driver `sim`. Its results are always marked simulated."""

    model_config = ConfigDict(extra="forbid")

    sockets: int = Field(1, ge=1, le=8)
    cores_per_socket: int = Field(4, ge=1, le=128)
    threads_per_core: int = Field(1, ge=1, le=2)
    noise_ratio: float = Field(0.02, ge=0, le=0.5, description="relative standard deviation of a sample")
    drift_per_hour: float = Field(
        0.0, ge=-0.9, le=1, description="trend of both hosts: -0.1 loses 10% of the throughput an hour"
    )
    swing_ratio: float = Field(
        0.0, ge=0, le=0.9, description="amplitude of a wave of ten minutes over the throughput, as a neighbour's load"
    )
    outlier_ratio: float = Field(
        0.0, ge=0, le=1, description="share of samples that something else disturbs; they lose 40%"
    )
    seed: int = Field(0, ge=0, lt=2**32)
    sample_time_ratio: float = Field(
        0.0, ge=0, le=1, description="share of a sample's duration that really passes; 0: answers at once"
    )
    lab_failure_ratio: float = Field(0.0, ge=0, le=1, description="share of blocks that the simulated lab fails")
    broken_candidate_ratio: float = Field(0.0, ge=0, le=1, description="share of candidates that cannot run")


_HOST = r"^[A-Za-z0-9:]([A-Za-z0-9.:-]{0,251}[A-Za-z0-9:])?$"
_USER = r"^[a-z_][a-z0-9_-]{0,31}$"
_JUMP = r"^([a-z_][a-z0-9_-]{0,31}@)?([A-Za-z0-9][A-Za-z0-9.-]{0,251}|\[[0-9A-Fa-f:.]{2,45}\])(:[0-9]{1,5})?$"
_PATH = r"^/[A-Za-z0-9._/-]{1,200}$"
_HOST_KEY = r"^(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(256|384|521)) [A-Za-z0-9+/]{20,1400}={0,3}$"


def _without_brackets(address: object) -> object:
    """As in a URL, the brackets of an IPv6 address are no part of it."""
    if not isinstance(address, str):
        return address
    if "%" in address:
        raise ValueError(
            "an address with a zone (after %) means something on one machine only: give the host a name, or an address"
            " that is unique, of fd00::/8 for instance"
        )
    return address[1:-1] if address.startswith("[") and address.endswith("]") else address


def _of_a_link(given: object) -> IPv4Address | IPv6Address:
    address = ip_address(str(_without_brackets(given)))
    if isinstance(address, IPv6Address):
        if address.is_link_local:
            raise ValueError(
                "a link-local IPv6 address needs a zone, which tunnels of the other gateway do not have: give the"
                " interface an address that is unique, of fd00::/8 for instance"
            )
        if address.ipv4_mapped:
            raise ValueError(f"write this IPv4 address as {address.ipv4_mapped}")
    return address


ManagementAddress = Annotated[str, Field(pattern=_HOST, max_length=253), BeforeValidator(_without_brackets)]
DataAddress = Annotated[IPv4Address | IPv6Address, BeforeValidator(_of_a_link)]


class SshHostOptions(BaseModel):
    """How one gateway is reached. Nothing here is a secret: keys and passwords are named by their place."""

    model_config = ConfigDict(extra="forbid")

    address: ManagementAddress = Field(description="management address or name")
    data_address: DataAddress = Field(description="own address on the link between the gateways, IPv4 or IPv6")
    port: int = Field(22, ge=1, le=65535)
    user: str = Field("root", pattern=_USER)
    key_file: str | None = Field(None, pattern=_PATH, description="private key on the service's machine; null: its own")
    jump: str | None = Field(None, pattern=_JUMP, max_length=300, description="user@host:port on the way")
    host_key: str | None = Field(None, pattern=_HOST_KEY, description="public host key; null: pinned on first contact")
    become: bool = Field(False, description="become root with sudo")
    become_password: str | None = Field(
        None, pattern=SECRET_REFERENCE, description="env:NAME or file:/PATH, by reference"
    )


class SshOptions(BaseModel):
    """The two hosts of driver `ssh`."""

    model_config = ConfigDict(extra="forbid")

    a: SshHostOptions
    b: SshHostOptions


class VmOptions(BaseModel):
    """The two machines of driver `vm`."""

    model_config = ConfigDict(extra="forbid")

    distribution: Distribution = Field(DEFAULT_DISTRIBUTION, description="what both machines run")


class TestbedCreate(BaseModel):
    """A new pair of gateways."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"name": "demo", "driver": "netns"},
                {"name": "plan", "driver": "sim", "simulation": {"sockets": 2, "cores_per_socket": 16}},
            ]
        },
    )

    name: TestbedName
    driver: Driver = "netns"
    simulation: SimulationOptions | None = Field(None, description="for driver sim only")
    ssh: SshOptions | None = Field(None, description="for driver ssh, which needs it")
    vm: VmOptions | None = Field(None, description="for driver vm only")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.simulation is not None and self.driver != "sim":
            raise ValueError("simulation is for driver sim only")
        if self.vm is not None and self.driver != "vm":
            raise ValueError("vm is for driver vm only")
        if (self.ssh is not None) != (self.driver == "ssh"):
            raise ValueError("ssh names the two hosts of driver ssh, and only that driver has it")
        if self.ssh is not None:
            addresses = (self.ssh.a.data_address, self.ssh.b.data_address)
            if addresses[0].version != addresses[1].version:
                raise ValueError("the data addresses of both gateways must be of the same IP version")
            if addresses[0] == addresses[1]:
                raise ValueError("both gateways have the same data address")
        return self


class GatewayView(BaseModel):
    """What a gateway said of itself when it was provisioned."""

    fingerprint: dict[str, Any]
    fingerprint_hash: str
    topology: dict[str, Any]
    host_tunables: list[str] = Field(description="host settings that a candidate or a study may ask for here")
    notices: list[str] = Field(description="what of the host may disturb measurements, as it was provisioned")
    proposals: list[str] = Field(description="what a change that needs a reboot could improve; Wiretune makes none")
    engines: list[Engine]
    host_key: str = Field("", description="fingerprint of the SSH host key that was pinned; empty without SSH")


class TestbedView(BaseModel):
    """A pair of gateways and the link between them."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "demo",
                    "driver": "netns",
                    "state": "ready",
                    "simulation": None,
                    "ssh": None,
                    "vm": None,
                    "simulated": False,
                    "emulated": False,
                    "shared_machine": True,
                    "underlay_mtu": 1500,
                    "gateways": {},
                    "detail": None,
                    "hint": None,
                    "phase": None,
                    "footprint": ["this machine: network namespaces wt-demo-a and wt-demo-b"],
                    "created_at": "2026-11-23T08:30:00Z",
                    "provisioned_at": "2026-11-23T08:30:02Z",
                }
            ]
        }
    )

    name: TestbedName
    driver: Driver
    state: TestbedState
    simulation: SimulationOptions | None
    ssh: SshOptions | None
    vm: VmOptions | None
    simulated: bool = Field(description="true: no packet is ever sent; figures come from the cost model")
    emulated: bool = Field(description="true: the gateways' CPUs are emulated, so that speeds mean nothing")
    shared_machine: bool | None = Field(description="both gateways use the same CPUs; null until provisioned")
    underlay_mtu: int | None
    gateways: dict[Gateway, GatewayView] = Field(description="empty until provisioned")
    detail: str | None = Field(description="why it failed")
    hint: str | None = Field(description="what to do about it")
    phase: str | None = Field(description="what the lab does now")
    footprint: list[str] = Field(
        description="what the testbed makes on its hosts and a deletion takes away: for hosts that cannot be reached"
    )
    created_at: datetime
    provisioned_at: datetime | None
