#!/usr/bin/env python3
"""wirelane beside the other user-space WireGuards on this machine: throughput, CPU, packet rate, latency (root).

Engines take turns within each round, tables give medians, and only the ratios within one run mean anything: nothing
else should run meanwhile. Everything happens in network namespaces of its own, which are gone afterwards.
"""

import argparse
import os
import shutil
import signal
import statistics
import subprocess
import sys
from collections.abc import Callable
from itertools import chain
from pathlib import Path

import workloads
from rivals import boringtun, gotatun, wireguard_go
from testbed import Engine

DATAPLANE = Path(__file__).resolve().parents[2] / "dataplane"
STICK = DATAPLANE.parents[1] / "shared" / "probe" / "compare.py"
MODES = ("inline", "pipelined")
TABLES = ("tcp", "forwarded", "udp", "modes", "latency", "memory", "footprint", "probe")

LATENCY_ROUNDS = 12

Rows = list[tuple[str, list[float]]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one short round of everything: shows that it works")
    parser.add_argument("--only", nargs="+", choices=TABLES, default=TABLES, metavar="TABLE",
                        help=f"some of {', '.join(TABLES)}")  # fmt: skip
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=3, help="of each measurement")
    parser.add_argument("--no-rivals", action="store_true", help="wireguard-go only: nothing is built from crates")
    parser.add_argument("--wirelane", type=Path, default=DATAPLANE / "target" / "release" / "wirelane")
    args = parser.parse_args()
    if args.quick:
        args.rounds, args.seconds = 1, 1
    # So that SIGTERM takes the namespaces away as Ctrl-C does.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    missing = [tool for tool in ("ip", "wg", "iperf3", "ping") if shutil.which(tool) is None]
    if missing or os.geteuid() != 0:
        sys.exit(f"bench: needs root, and {', '.join(missing) or 'no other program'} (Debian: iproute2 wireguard-tools "
                 "iperf3 iputils-ping)")  # fmt: skip
    engines = find_engines(args)
    reference = engines[1]
    print(f"ratios are to {reference.name}; median of {args.rounds} rounds of {args.seconds} s\n")
    for table in args.only:
        globals()[f"table_{table}"](args, engines)


def find_engines(args: argparse.Namespace) -> list[Engine]:
    """wirelane, then the reference, then whoever else can be had; who cannot is said."""
    if not args.wirelane.exists():
        sys.exit(f"bench: no {args.wirelane}: cargo build --release in dataplane/")
    found: list[Engine] = [Engine("wirelane", args.wirelane, arguments=("-f",))]
    reference = wireguard_go()
    if isinstance(reference, str):
        sys.exit(f"bench: there is nothing to compare with: {reference}")
    found.append(reference)
    if not args.no_rivals:
        for rival in (boringtun(), gotatun()):
            if isinstance(rival, str):
                print(f"cannot be had: {rival}")
            else:
                found.append(rival)
    return found


def in_turn(args: argparse.Namespace, engines: list[Engine], measure: Callable[[Engine], list[float]]) -> Rows:
    """Medians of every engine. One that fails in any round is left out, and said to be."""
    runs: dict[str, list[list[float]]] = {engine.name: [] for engine in engines}
    for _ in range(args.rounds):
        for engine in [e for e in engines if e.name in runs]:
            try:
                runs[engine.name].append(measure(engine))
            except (RuntimeError, ValueError, KeyError, ZeroDivisionError, subprocess.TimeoutExpired) as error:
                print(f"  {engine.name} failed: {str(error).strip().splitlines()[0]}")
                del runs[engine.name]
    return [
        (name, [statistics.median(column) for column in zip(*values, strict=True)]) for name, values in runs.items()
    ]


def show(title: str, columns: tuple[str, ...], rows: Rows, reference: str, *, less_is_better: tuple[int, ...]) -> None:
    """One line an engine: each value, then how many times better than the reference it is."""
    print(title)
    head = "".join(f"{column:>14}" for column in columns) + "".join(f"{'x ' + column:>16}" for column in columns)
    print(f"  {'engine':24}{head}")
    base = dict(rows).get(reference)
    for name, values in rows:
        line = "".join(f"{value:14.3f}" if value < 100 else f"{value:14.0f}" for value in values)
        for i, value in enumerate(values):
            is_known = base is not None and value and base[i]
            ratio = (base[i] / value if i in less_is_better else value / base[i]) if base and is_known else float("nan")
            line += f"{ratio:16.2f}"
        print(f"  {name:24}{line}")
    print(flush=True)


def _throughput(args: argparse.Namespace, lanes: int, *, forwarded: bool) -> Callable[[Engine], list[float]]:
    def measure(engine: Engine) -> list[float]:
        result = workloads.tcp(engine, lanes, args.seconds, forwarded=forwarded)
        return [result.gbps, result.cpu_s_per_gbit]

    return measure


def table_tcp(args: argparse.Namespace, engines: list[Engine]) -> None:
    for lanes in (1, 2):
        rows = in_turn(args, engines, _throughput(args, lanes, forwarded=False))
        show(f"TCP, {lanes} tunnel(s), gateway to gateway", ("Gb/s", "CPU-s/Gbit"), rows, engines[1].name,
             less_is_better=(1,))  # fmt: skip


def table_forwarded(args: argparse.Namespace, engines: list[Engine]) -> None:
    rows = in_turn(args, engines, _throughput(args, 1, forwarded=True))
    show("TCP, 1 tunnel, forwarded between the networks behind the gateways", ("Gb/s", "CPU-s/Gbit"), rows,
         engines[1].name, less_is_better=(1,))  # fmt: skip


def table_udp(args: argparse.Namespace, engines: list[Engine]) -> None:
    load = DATAPLANE / "target" / "release" / "examples" / "udp_load"
    if not load.exists():
        print(f"UDP: skipped, no {load}: cargo build --release --example udp_load -p wirelane-io\n")
        return
    steps = 4 if args.quick else 7
    for payload_bytes, gso in ((1392, False), (64, False), (1392, True)):
        title = f"UDP, {payload_bytes} B payload, {'GSO' if gso else 'no GSO'} from the sender, at most 0.1% loss"
        rows = in_turn(
            argparse.Namespace(rounds=1),
            engines,
            lambda engine, size=payload_bytes, gso=gso: [  # type: ignore[misc]
                workloads.udp_pps(engine, load, size, min(args.seconds, 1.5), steps, gso=gso)
            ],
        )
        show(title, ("packets/s",), rows, engines[1].name, less_is_better=())


def table_modes(args: argparse.Namespace, engines: list[Engine]) -> None:
    wirelane = engines[0]
    for lanes in (1, 2, 4):
        variants = [Engine(mode, wirelane.path, {"WIRELANE_MODE": mode}, wirelane.arguments) for mode in MODES]
        workers = {"WIRELANE_MODE": "pipelined", "WIRELANE_CRYPTO_WORKERS": "2"}
        variants.append(Engine("pipelined, 2 workers", wirelane.path, workers, wirelane.arguments))
        rows = in_turn(args, variants, _throughput(args, lanes, forwarded=False))
        show(f"wirelane's modes, TCP, {lanes} lane(s); ratios to inline", ("Gb/s", "CPU-s/Gbit"), rows, "inline",
             less_is_better=(1,))  # fmt: skip


def table_latency(args: argparse.Namespace, engines: list[Engine]) -> None:
    """All round trips together, and how far the rounds agree on the ratio."""
    reference = engines[1].name
    for loaded in (False, True):
        trips = workloads.latency(engines, 1 if args.quick else LATENCY_ROUNDS, loaded=loaded)
        rows = [
            (name, [percentile(list(chain.from_iterable(rounds)), p) for p in (50, 99)])
            for name, rounds in trips.items()
        ]
        count = min(sum(map(len, rounds)) for rounds in trips.values())
        title = f"ping through 1 tunnel, {'beside two TCP streams' if loaded else 'idle'}, {count} pings and more each"
        show(title, ("p50 us", "p99 us"), rows, reference, less_is_better=(0, 1))
        for p in () if args.quick else (50, 99):
            pairs = zip(trips[reference], trips[engines[0].name], strict=True)
            ratios = sorted(percentile(theirs, p) / percentile(ours, p) for theirs, ours in pairs)
            # Of twelve, the third smallest and the third largest enclose the median in 96% of all cases (sign test).
            print(f"  x p{p} of {engines[0].name}, round by round: median {statistics.median(ratios):.2f}"
                  f" ({ratios[2]:.2f} to {ratios[-3]:.2f})")  # fmt: skip
        print(flush=True)


def percentile(values: list[float], percent: int) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def table_memory(args: argparse.Namespace, engines: list[Engine]) -> None:
    del args, engines
    print("Without the kernel: the AEAD alone, splitting and coalescing, and all of it", flush=True)
    for crate, bench in (("wirelane-crypto", "aead"), ("wirelane-packet", "offload"), ("wirelane-engine", "in_memory")):
        command = ["cargo", "bench", "--locked", "--quiet", "-p", crate, "--bench", bench]
        subprocess.run(command, check=True, cwd=DATAPLANE)
    print()


def table_footprint(args: argparse.Namespace, engines: list[Engine]) -> None:
    """Start-up, memory, many peers. A limit that is passed is said in its line."""
    del args
    script = Path(__file__).with_name("footprint.py")
    subprocess.run([sys.executable, str(script), str(engines[0].path)], check=False)
    print(flush=True)


def table_probe(args: argparse.Namespace, engines: list[Engine]) -> None:
    """The project's measuring stick, where it lies beside the repository."""
    if not STICK.exists():
        print("the probe: skipped, ../shared/probe is not beside this repository")
        return
    subprocess.run([str(STICK), "--rounds", str(args.rounds), "--seconds", str(args.seconds), "--tunnels", "1", "2",
                    "--", "probe", "nocrypt", f"wirelane={engines[0].path}", f"wireguard-go={engines[1].path}"],
                   check=False)  # fmt: skip


if __name__ == "__main__":
    main()
