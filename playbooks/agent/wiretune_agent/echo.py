"""Round trips through every lane while a load runs: ICMP echo requests, answers stamped by the kernel.

The far kernel answers and this one stamps the arrival, so that neither end's scheduling is taken for the tunnel's. The
requests go to the lanes' own addresses in turn, since all of one destination would take one lane (RFC 792).
"""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Sequence
from types import TracebackType

SO_TIMESTAMPNS = 35
"""asm-generic/socket.h; Python's socket module has no name for it. The control message has the same number."""
ECHO_REPLY, ECHO_REQUEST = 0, 8
PAYLOAD = struct.Struct("!QI")
LONGEST_ANSWER_BYTES = 2048
MAX_ROUND_TRIPS = 100_000


class LaneEcho:
    """Echo requests of one measurement. `send` and `collect` are called from the loop that watches the load."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self._addresses, self._sent = addresses, 0
        self._identifier = os.getpid() & 0xFFFF
        self._token = int.from_bytes(os.urandom(4), "big")
        self.round_trips_ms: list[float] = []
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        self._socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self._socket.setblocking(False)

    @property
    def sent(self) -> int:
        """Requests so far."""
        return self._sent

    def send(self) -> None:
        """One request through the next lane. One that the kernel does not take counts as lost."""
        address = self._addresses[self._sent % len(self._addresses)]
        self._sent += 1
        payload = PAYLOAD.pack(time.time_ns(), self._token)
        header = struct.pack("!BBHHH", ECHO_REQUEST, 0, 0, self._identifier, self._sent & 0xFFFF)
        packet = header[:2] + struct.pack("!H", _checksum(header + payload)) + header[4:] + payload
        try:
            self._socket.sendto(packet, (address, 0))
        except OSError:
            return  # A full queue is what the load does to packets; it is counted as sent and never answered.

    def collect(self) -> None:
        """Take in the answers that have come."""
        while len(self.round_trips_ms) < MAX_ROUND_TRIPS:
            try:
                packet, control, _, _ = self._socket.recvmsg(LONGEST_ANSWER_BYTES, 128)
            except BlockingIOError:
                return
            sent_ns = self._ours(packet)
            stamp = next((data for _, kind, data in control if kind == SO_TIMESTAMPNS), None)
            if sent_ns is not None and stamp is not None:
                seconds, nanoseconds = struct.unpack("@qq", stamp[:16])
                round_trip_ms = (seconds * 1_000_000_000 + nanoseconds - sent_ns) / 1e6
                if round_trip_ms > 0:  # the clock was set back meanwhile
                    self.round_trips_ms.append(round_trip_ms)

    def _ours(self, packet: bytes) -> int | None:
        """When the request was sent that this answers; None for any other packet."""
        icmp = packet[(packet[0] & 0xF) * 4 :] if packet else b""
        if len(icmp) < 8 + PAYLOAD.size or icmp[0] != ECHO_REPLY:
            return None
        if struct.unpack("!H", icmp[4:6])[0] != self._identifier:
            return None
        sent_ns, token = PAYLOAD.unpack(icmp[8 : 8 + PAYLOAD.size])
        return int(sent_ns) if token == self._token else None

    def __enter__(self) -> LaneEcho:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._socket.close()


def _checksum(packet: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    padded = packet + b"\0" * (len(packet) % 2)
    total: int = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    total = (total & 0xFFFF) + (total >> 16)
    total += total >> 16
    return ~total & 0xFFFF
