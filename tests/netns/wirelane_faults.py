"""Programs that make trouble: a lossy relay, a flood of handshakes, numbered datagrams. Run in a namespace.

The relay does what `tc netem` does, in user space: not every kernel has netem. It is a NAT as well: each side knows the
relay only, and the relay can change the port that it speaks from.
"""

from __future__ import annotations

import hashlib
import heapq
import random
import select
import socket
import struct
import sys
import time
from collections.abc import Iterator

UDP_SEGMENT = 103
INITIATION_LEN = 148


def say(line: str) -> None:
    """To whoever started the program."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def relay(loss: str, duplicates: str, delay_ms: str, jitter_ms: str, rebind_after_s: str, *ends: str) -> None:
    """Carries datagrams between two ends, ADDRESS:PORT each, at ports 5001 (for the first end) and 5002."""
    draw = random.Random(11)
    addresses = [(host, int(port)) for host, port in (end.rsplit(":", 1) for end in ends)]
    sockets = [bound(5001), bound(5002)]
    waiting: list[tuple[float, int, int, bytes]] = []
    sequence, rebind_at = 0, time.monotonic() + float(rebind_after_s) if float(rebind_after_s) else float("inf")
    say("ready")
    while True:
        now = time.monotonic()
        if now >= rebind_at:
            # As a NAT that has forgotten: the first end is spoken to from another port from now on.
            sockets[0], rebind_at = bound(5003), float("inf")
        while waiting and waiting[0][0] <= now:
            _, _, to, datagram = heapq.heappop(waiting)
            sockets[to].sendto(datagram, addresses[to])
        wait_s = max(0.0, waiting[0][0] - now) if waiting else 0.05
        for ready in select.select(sockets, [], [], wait_s)[0]:
            came_from = sockets.index(ready)
            datagram, addresses[came_from] = ready.recvfrom(65536)
            for _ in range(1 + (draw.random() < float(duplicates))):
                if draw.random() >= float(loss):
                    sequence += 1
                    due = time.monotonic() + (float(delay_ms) + draw.random() * float(jitter_ms)) / 1000
                    heapq.heappush(waiting, (due, sequence, 1 - came_from, datagram))


def bound(port: int) -> socket.socket:
    """A UDP socket on every address, with room for a burst."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    sock.bind(("", port))
    return sock


def initiations(public_key: str, count: int) -> Iterator[bytes]:
    """Handshake initiations with a right mac1, which takes the public key alone (paper, section 5.4.4)."""
    key = hashlib.blake2s(b"mac1----" + bytes.fromhex(public_key)).digest()
    draw = random.Random(12)
    for index in range(count):
        body = struct.pack("<II", 1, index) + draw.randbytes(INITIATION_LEN - 8 - 32)
        yield body + hashlib.blake2s(body, key=key, digest_size=16).digest() + bytes(16)


def flood(public_key: str, target: str, port: str, total: str, per_second: str) -> None:
    """Sends `total` initiations at `per_second`, in batches that the kernel segments."""
    batches = [b"".join(initiations(public_key, 64)) for _ in range(8)]
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, INITIATION_LEN)
    sock.connect((target, int(port)))
    start, sent = time.monotonic(), 0
    while sent < int(total):
        due = start + sent / float(per_second)
        time.sleep(max(0.0, due - time.monotonic()))
        sock.send(batches[sent // 64 % len(batches)])
        sent += 64
    say(f"sent {sent} in {time.monotonic() - start:.2f} s")


def numbers_out(target: str, port: str, count: str) -> None:
    """Sends numbered datagrams of several sizes, in bursts."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for number in range(int(count)):
        sock.sendto(struct.pack("!I", number).ljust(64 + number % 5 * 300, b"."), (target, int(port)))
        if number % 40 == 39:
            time.sleep(0.002)


def numbers_in(port: str) -> None:
    """Receives numbered datagrams until two seconds are silent; prints how many came and how many came out of order."""
    sock = bound(int(port))
    say("ready")
    sock.settimeout(10)
    last, received, late = -1, 0, 0
    try:
        while True:
            (number,) = struct.unpack("!I", sock.recv(65536)[:4])
            sock.settimeout(2)
            received, late, last = received + 1, late + (number <= last), max(last, number)
    except TimeoutError:
        say(f"received {received} late {late}")


if __name__ == "__main__":
    {"relay": relay, "flood": flood, "numbers_out": numbers_out, "numbers_in": numbers_in}[sys.argv[1]](*sys.argv[2:])
