"""Ready-made packets for a generator that replays them."""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence
from typing import NamedTuple

ETHERNET_BYTES = 14
UDP_AND_IPV4_BYTES = 28
DISCARD_PORT = 9
DO_NOT_FRAGMENT = 0x4000

IMIX = ((64, 7), (570, 4), (1400, 1))
"""Packet sizes in bytes and how many of each, as tuner/samples.py has them."""


class End(NamedTuple):
    """Who sends or receives a frame."""

    mac: str
    address: str


def udp_frame(source: End, target: End, source_port: int, packet_bytes: int) -> bytes:
    """An Ethernet frame with a valid IPv4 and UDP packet of `packet_bytes`; UDP checksum 0 (RFC 768: none)."""
    payload = bytes(packet_bytes - UDP_AND_IPV4_BYTES)
    udp = struct.pack("!HHHH", source_port, DISCARD_PORT, 8 + len(payload), 0)
    addresses = socket.inet_aton(source.address) + socket.inet_aton(target.address)
    header = struct.pack("!BBHHHBBH", 0x45, 0, packet_bytes, 0, DO_NOT_FRAGMENT, 64, socket.IPPROTO_UDP, 0) + addresses
    header = header[:10] + struct.pack("!H", checksum(header)) + header[12:]
    macs = bytes.fromhex(target.mac.replace(":", "")) + bytes.fromhex(source.mac.replace(":", ""))
    return macs + b"\x08\x00" + header + udp + payload


def mixed_sizes(most_bytes: int) -> list[int]:
    """One round of IMIX, each size spread evenly over it; none larger than `most_bytes`."""
    places = [((index + 0.5) / count, size) for size, count in IMIX for index in range(count)]
    return [min(size, most_bytes) for _, size in sorted(places)]


def checksum(header: bytes) -> int:
    """The Internet checksum (RFC 1071) of an even number of bytes."""
    total: int = sum(struct.unpack(f"!{len(header) // 2}H", header))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def capture_file(frames: Sequence[bytes]) -> bytes:
    """The frames as a pcap file (draft-ietf-opsawg-pcap), link type Ethernet."""
    text = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)
    return text + b"".join(struct.pack("<IIII", 0, 0, len(frame), len(frame)) + frame for frame in frames)
