"""iperf3's JSON (`-J`) of one client, as versions 3.9 to 3.19 write it."""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError


class FlowReport(BaseModel):
    """What one iperf3 client reports of its run; received figures are the receiver's own."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    protocol: str
    duration_s: float = Field(gt=0)
    received_bytes: int = Field(ge=0)
    retransmits: int | None = Field(None, ge=0, description="tcp only; null where the sender's kernel does not say")
    sent_packets: int | None = Field(None, ge=0, description="udp only")
    received_packets: int | None = Field(None, ge=0, description="udp only")
    received_gbps: float = Field(ge=0)


def parse_client(text: str) -> FlowReport:
    """Parse the output of `iperf3 -c … -J`. Raises ValueError that says what is wrong with it."""
    try:
        report = json.loads(text)
    except ValueError as error:
        raise ValueError(f"iperf3 wrote no JSON: {text.strip()[:200]!r}") from error
    if not isinstance(report, dict):
        raise ValueError("iperf3's JSON is not an object")
    if "error" in report:
        raise ValueError(f"iperf3 failed: {str(report['error'])[:300]}")
    try:
        protocol = str(report["start"]["test_start"]["protocol"]).lower()
        return _udp(report["end"]) if protocol == "udp" else _tcp(report["end"])
    except (KeyError, TypeError, ValidationError) as error:
        raise ValueError(f"iperf3's report lacks what a finished run has: {error}") from error


def _tcp(end: dict[str, Any]) -> FlowReport:
    received = end["sum_received"]
    return FlowReport(
        protocol="tcp",
        duration_s=received["seconds"],
        received_bytes=received["bytes"],
        received_gbps=_gbps(received["bytes"], received["seconds"]),
        retransmits=end["sum_sent"].get("retransmits"),
    )


def _udp(end: dict[str, Any]) -> FlowReport:
    total = end["sum"]
    # Up to 3.12 `sum.bytes` of a forward run are the bytes sent, later those received; `sum_received` has been right
    # since it exists (3.9), and `sum` alone tells how many packets the receiver missed.
    received = end.get("sum_received", total)
    sent_packets = max(int(total["packets"]), int(end.get("sum_sent", total)["packets"]))
    received_packets = int(total["packets"]) - int(total["lost_packets"])
    received_bytes = int(received["bytes"])
    if total["packets"] and total["lost_packets"]:
        # 3.12 counts lost packets into the received bytes of a forward run: the packet size puts that right.
        received_bytes = min(received_bytes, _packet_bytes(end) * received_packets)
    return FlowReport(
        protocol="udp",
        duration_s=received["seconds"],
        received_bytes=received_bytes,
        received_gbps=_gbps(received_bytes, received["seconds"]),
        sent_packets=sent_packets,
        received_packets=max(0, received_packets),
    )


def _packet_bytes(end: dict[str, Any]) -> int:
    sent = end.get("sum_sent", end["sum"])
    return round(sent["bytes"] / sent["packets"]) if sent["packets"] else 0


def _gbps(amount_bytes: float, seconds: float) -> float:
    return amount_bytes * 8 / seconds / 1e9 if seconds > 0 else 0.0
