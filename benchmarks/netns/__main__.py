"""Does a study's answer hold on real packets? Five full studies of two namespaces, A/A studies, and where time goes.

    make bench-netns                                        # as root; half an hour
    make bench-netns BENCH_ARGS="--trials 8 --seconds 1"    # a quarter of an hour
    python -m benchmarks.netns --only 3                     # one part; results are kept, and no part runs twice
    python -m benchmarks.netns --table                      # only the tables, of the parts that are there

Prints Markdown for docs/measurement.md. Every study has a seed of its own. In an A/A study the only candidate is the
baseline itself, so that any difference that it finds is a false one; one in twenty is expected to find one.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from rich.console import Console

from app.cli.failures import CommandError
from app.cli.tune import TuneRequest, tune
from app.settings import Settings
from benchmarks.netns.tables import print_tables
from tuner.candidate import Candidate

STUDIES = ("1", "2", "3", "4", "5")
AA = ("aa-1", "aa-2", "aa-3")
PARTS = (*STUDIES, *AA)
STOCK = Candidate(mode="pipelined", crypto_workers=2)
"""Both sides of an A/A study: one pipelined lane, as stock WireGuard works."""


def main() -> None:
    arguments = _arguments()
    arguments.results.mkdir(parents=True, exist_ok=True)
    wanted = () if arguments.table else [arguments.only] if arguments.only else PARTS
    console = Console()
    for part in wanted:
        path = arguments.results / f"study-{part}.json"
        if not path.exists():
            console.rule(f"study {part}")
            _run(part, path, arguments, console)
    print_tables({part: _read(arguments.results / f"study-{part}.json") for part in PARTS}, AA)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.netns", description=__doc__.split("\n")[0])
    parser.add_argument("--results", type=Path, default=Path("var/bench-netns"), help="where results are kept")
    parser.add_argument("--only", choices=PARTS, help="run this part only")
    parser.add_argument("--table", action="store_true", help="run nothing")
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--seconds", type=float, default=3.0, help="length of one sample")
    parser.add_argument("--explain-rounds", type=int, default=4, help="0: the path to the winner is not measured")
    return parser.parse_args()


def _run(part: str, path: Path, arguments: argparse.Namespace, console: Console) -> None:
    study: dict[str, Any] = {
        "label": f"bench-netns {part}",
        "engines": ["wirelane"],
        "trials": arguments.trials,
        "sample_seconds": arguments.seconds,
        "explain_rounds": arguments.explain_rounds,
        "seed": 2025 + PARTS.index(part),
    }
    if part in AA:
        study |= {"engines": None, "space": _only(STOCK)}
    bundle = path.with_suffix(".tar.gz")
    settings = Settings(data_dir=path.parent / "data")
    try:
        tune(settings, TuneRequest("netns", None, study, path, bundle), console)
    except CommandError as error:
        path.unlink(missing_ok=True)  # of a study that failed
        raise SystemExit(f"study {part}: {error.message} {error.hint}") from error
    finally:
        bundle.unlink(missing_ok=True)


def _only(candidate: Candidate) -> dict[str, Any]:
    """A search space of one candidate, which is the baseline too."""
    value = candidate.model_dump(mode="json")
    tunables = ("engine", "mode", "lanes", "crypto_workers", "mtu", "batch_packets", "socket_buffer_bytes")
    return {name: value[name] for name in tunables} | {"placement": "unpinned", "baseline": value}


def _read(path: Path) -> dict[str, Any] | None:
    return json.loads(path.read_text()) if path.exists() else None


if __name__ == "__main__":
    main()
