"""iperf3's JSON (`-J`) of one client, with the sums of sender and receiver (iperf3 3.7 and later)."""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel, ConfigDict, Field


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
        return _udp(report) if protocol == "udp" else _tcp(report["end"])
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
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


def _udp(report: dict[str, Any]) -> FlowReport:
    end, packet_bytes = report["end"], int(report["start"]["test_start"]["blksize"])
    received = end["sum_received"]
    # Counts of packets and of losses disagree between 3.12's `sum` and `sum_received`; the received bytes are right in
    # both directions, and every packet has the same size.
    return FlowReport(
        protocol="udp",
        duration_s=received["seconds"],
        received_bytes=received["bytes"],
        received_gbps=_gbps(received["bytes"], received["seconds"]),
        sent_packets=end["sum_sent"]["packets"],
        received_packets=round(received["bytes"] / packet_bytes),
    )


def _gbps(amount_bytes: float, seconds: float) -> float:
    return amount_bytes * 8 / seconds / 1e9 if seconds > 0 else 0.0
