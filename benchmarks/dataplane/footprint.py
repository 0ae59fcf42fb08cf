"""What wirelane costs before it carries a packet: start-up time, resident memory, and 10,000 peers on one device.

Run as root, on a machine that does nothing else: `python3 benchmarks/dataplane/footprint.py [WIRELANE]`. It works in
network namespaces of its own, prints a table with the limits, and exits 1 if a limit is passed.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

STARTUP_LIMIT_MS = 50.0
RESIDENT_LIMIT_MIB = 40.0
PEERS_LIMIT = 0.95
PEERS = 10_000
STARTS = 7
ROUNDS = 12
TRANSFER_S = 1


def run(*argv: str, stdin: str | None = None) -> str:
    """Runs a program; a failure shows what it said."""
    done = subprocess.run(argv, input=stdin, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(argv)} exited {done.returncode}: {done.stderr or done.stdout}")
    return done.stdout


def key() -> tuple[str, str]:
    private = run("wg", "genkey").strip()
    return private, run("wg", "pubkey", stdin=private).strip()


@contextlib.contextmanager
def namespaces() -> Iterator[dict[str, str]]:
    """Two namespaces joined by a veth pair."""
    names = {side: f"wlfp{os.getpid()}{side}" for side in "ab"}
    try:
        for name in names.values():
            run("ip", "netns", "add", name)
            run("ip", "-n", name, "link", "set", "lo", "up")
        peer = ["peer", "name", "underlay", "netns", names["b"]]
        run("ip", "-n", names["a"], "link", "add", "underlay", "type", "veth", *peer)
        for number, name in enumerate(names.values(), start=1):
            run("ip", "-n", name, "addr", "add", f"198.18.0.{number}/30", "dev", "underlay")
            run("ip", "-n", name, "link", "set", "underlay", "up")
        yield names
    finally:
        for name in names.values():
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


@contextlib.contextmanager
def started(argv: list[str]) -> Iterator[tuple[subprocess.Popen[str], float]]:
    """A process that says `ready`, and how many milliseconds it took to."""
    began = time.monotonic()
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    try:
        if process.stdout is None or process.stdout.readline() != "ready\n":
            raise SystemExit(f"{' '.join(argv)} did not start")
        yield process, 1000 * (time.monotonic() - began)
    finally:
        process.terminate()
        process.wait(timeout=30)


def gateway(folder: pathlib.Path, lanes: int, spread: str) -> pathlib.Path:
    """A configuration of so many idle lanes."""
    private, public = key()
    key_file = folder / "key"
    key_file.write_text(private)
    key_file.chmod(0o600)
    text = f'spread = "{spread}"\n' + ('[bond]\ninterface = "wlfp0"\n' if spread == "bond" else "")
    for lane in range(lanes):
        text += f'[[lane]]\nlisten_port = {40000 + lane}\nprivate_key_file = "{key_file}"\n'
        text += f'interface = "wlfp{lane}"\naddresses = ["198.18.129.{lane}/32"]\n' if spread == "ecmp" else ""
        text += f'[[lane.peer]]\npublic_key = "{public}"\n'
    path = folder / f"{spread}.toml"
    path.write_text(text)
    return path


def startup_ms(inside: list[str], wirelane: str, config: pathlib.Path) -> float:
    """Median time to `ready`."""
    times = []
    for _ in range(STARTS):
        with started([*inside, wirelane, "run", "--config", str(config)]) as (_, taken_ms):
            times.append(taken_ms)
    return statistics.median(times)


def resident_mib(inside: list[str], wirelane: str, config: pathlib.Path) -> float:
    """Resident memory of an idle gateway."""
    with started([*inside, wirelane, "run", "--config", str(config)]) as (process, _):
        time.sleep(0.5)
        status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
        return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))) / 1024


@contextlib.contextmanager
def tunnel(names: dict[str, str], folder: pathlib.Path, wirelane: str, peers: int, place: int) -> Iterator[None]:
    """A tunnel between the namespaces, with so many peers on either device; tunnels in other places may stand too."""
    keys = {side: key() for side in "ab"}
    devices = {side: f"wlfp{side}{peers}" for side in "ab"}
    # Any 32 bytes are a public key; none of these peers is ever spoken to.
    strangers = [
        f"[Peer]\nPublicKey = {some_public_key(number)}\nAllowedIPs = 10.{number >> 8}.{number & 255}.0/24\n"
        for number in range(peers - 1)
    ]
    running = []
    try:
        for side, other, last in (("a", "b", 0), ("b", "a", 1)):
            inside, name = ["ip", "netns", "exec", names[side]], devices[side]
            running.append(subprocess.Popen([*inside, wirelane, "-f", name]))
            socket = pathlib.Path(f"/var/run/wireguard/{name}.sock")
            while not socket.exists():
                time.sleep(0.01)
            config = folder / f"{name}.conf"
            address = "198.18.0.2" if side == "a" else "198.18.0.1"
            text = f"[Interface]\nPrivateKey = {keys[side][0]}\nListenPort = {51820 + place}\n"
            text += f"[Peer]\nPublicKey = {keys[other][1]}\nEndpoint = {address}:{51820 + place}\n"
            config.write_text(text + f"AllowedIPs = 198.18.128.{2 * place + 1 - last}/32\n" + "".join(strangers))
            run(*inside, "wg", "setconf", name, str(config))
            run("ip", "-n", names[side], "link", "set", name, "mtu", "1420", "up")
            run("ip", "-n", names[side], "addr", "add", f"198.18.128.{2 * place + last}/31", "dev", name)
        yield
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.wait(timeout=30)


def some_public_key(number: int) -> str:
    """Some public key."""
    return base64.b64encode(hashlib.sha256(str(number).encode()).digest()).decode()


def throughput_gbps(names: dict[str, str], place: int) -> float:
    """TCP from a to b, over the tunnel in this place."""
    server = subprocess.Popen(
        ["ip", "netns", "exec", names["b"], "iperf3", "-s", "-1"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    time.sleep(0.3)
    target = f"198.18.128.{2 * place + 1}"
    client = ["ip", "netns", "exec", names["a"], "iperf3", "-c", target, "-t", str(TRANSFER_S), "-J"]
    report = json.loads(run(*client))
    server.wait(timeout=10)
    return float(report["end"]["sum_received"]["bits_per_second"]) / 1e9


def many_peers(names: dict[str, str], folder: pathlib.Path, wirelane: str) -> tuple[float, float, float]:
    """Throughput with many peers over that with one: the median, and its interval at 95% or more.

    Both tunnels stand all the while, and short transfers over them take turns, first one and then the other going
    first: what else happens on the machine meets both alike.
    """
    ratios = []
    with contextlib.ExitStack() as stack:
        for place, peers in enumerate((1, PEERS)):
            stack.enter_context(tunnel(names, folder, wirelane, peers, place))
        for turn in range(ROUNDS):
            rates = {}
            for place in (0, 1) if turn % 2 else (1, 0):
                rates[place] = throughput_gbps(names, place)
            ratios.append(rates[1] / rates[0])
    ratios.sort()
    # Of twelve, the third smallest and the third largest enclose the median in 96% of all cases (sign test).
    return statistics.median(ratios), ratios[2], ratios[-3]


def main() -> int:
    """Prints the table."""
    default = pathlib.Path(__file__).resolve().parents[2] / "dataplane/target/release/wirelane"
    wirelane = sys.argv[1] if len(sys.argv) > 1 else str(default)
    rows: list[tuple[str, str, str, bool | None]] = []
    with namespaces() as names, tempfile.TemporaryDirectory() as temporary:
        folder, inside = pathlib.Path(temporary), ["ip", "netns", "exec", names["a"]]
        for lanes, spread in ((1, "ecmp"), (16, "ecmp"), (16, "bond")):
            config = gateway(folder, lanes, spread)
            what = f"{lanes} lane{'s' if lanes > 1 else ''}, {spread}"
            taken_ms, mib = startup_ms(inside, wirelane, config), resident_mib(inside, wirelane, config)
            rows.append(
                (f"start-up, {what}", f"{taken_ms:.1f} ms", f"< {STARTUP_LIMIT_MS:.0f} ms", taken_ms < STARTUP_LIMIT_MS)
            )
            rows.append(
                (f"resident, {what}", f"{mib:.1f} MiB", f"< {RESIDENT_LIMIT_MIB:.0f} MiB", mib < RESIDENT_LIMIT_MIB)
            )
        ratio, low, high = many_peers(names, folder, wirelane)
        spread_of = f"{ratio:.3f} ({low:.3f} to {high:.3f})"
        # None: the interval has the limit in it, and nothing can be said.
        is_within = None if low < PEERS_LIMIT <= high else low >= PEERS_LIMIT
        rows.append((f"throughput, {PEERS} peers over 1", spread_of, f">= {PEERS_LIMIT}", is_within))
    verdicts = {True: "ok", False: "BEYOND THE LIMIT", None: "cannot be told: too noisy"}
    for what, measured, limit, is_within in rows:
        sys.stdout.write(f"{what:36} {measured:28} {limit:10} {verdicts[is_within]}\n")
    return 1 if any(row[3] is False for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
