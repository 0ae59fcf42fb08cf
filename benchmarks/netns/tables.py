"""The tables of `python -m benchmarks.netns`, from result.json files."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from statistics import median
from typing import Any

Result = dict[str, Any]
PHASES = ("apply", "verify", "collect")


def print_tables(results: Mapping[str, Result | None], aa: Collection[str]) -> None:
    """Verdicts, whether they agree, the A/A studies, and the overhead of a block by phase."""
    studies = {part: result for part, result in results.items() if part not in aa and result is not None}
    missing = [part for part, result in results.items() if result is None]
    if missing:
        print(f"\nNot run yet: {', '.join(missing)}.")
    _table(
        ["study", "trials", "s a sample", "blocks", "minutes", "gain", "95% interval", "winner"],
        [_study_row(part, result) for part, result in results.items() if result is not None],
    )
    if len(studies) > 1:
        print(f"\n{_agreement([result['verdict'] for result in studies.values()])}")
    against = [result for part, result in results.items() if part in aa and result is not None]
    if against:
        words = [result["verdict"]["conclusion"].replace("_", " ") for result in against]
        print(f"\nA/A, both {against[0]['baseline']['words']}: **{'; '.join(words)}**.")
    blocks = [block for result in results.values() if result is not None for block in _blocks(result)]
    if blocks:
        print(f"\nTime of a block beyond measuring, medians of {len(blocks)} blocks:")
        _table([*PHASES, "starting Ansible", "in all"], [_overhead_row(blocks)])


def _study_row(part: str, result: Result) -> list[str]:
    verdict, spec = result["verdict"], result["spec"]
    asked = sum(trial["number"] is not None for trial in result["trials"])
    blocks = sum(len(trial["measured"]) for trial in result["trials"])
    minutes = _minutes(result["started_at"], result["finished_at"])
    gain, low, high = (f"{verdict[name]:.3f}" for name in ("gain", "gain_low", "gain_high"))
    seconds = f"{spec['sample_seconds']:g}"
    return [part, str(asked), seconds, str(blocks), minutes, gain, f"{low} to {high}", result["best"]["words"]]


def _minutes(start: str, end: str) -> str:
    return f"{(datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds() / 60:.1f}"


def _agreement(verdicts: Sequence[dict[str, Any]]) -> str:
    low = max(verdict["gain_low"] for verdict in verdicts)
    high = min(verdict["gain_high"] for verdict in verdicts)
    if low <= high:
        return f"The {len(verdicts)} intervals **overlap**: each contains {low:.3f} to {high:.3f}."
    return f"The {len(verdicts)} intervals **do not all overlap**: one begins at {low:.3f}, another ends at {high:.3f}."


def _blocks(result: Result) -> Iterable[dict[str, Any]]:
    for trial in result["trials"]:
        yield from (block for block in trial["measured"] if block["state"] == "completed")


def _overhead_row(blocks: Sequence[dict[str, Any]]) -> list[str]:
    phases = {name: [block["timings"][f"{name}_s"] for block in blocks] for name in PHASES}
    start = [block["overhead_s"] - sum(block["timings"][f"{name}_s"] for name in PHASES) for block in blocks]
    every = [*phases.values(), start, [block["overhead_s"] for block in blocks]]
    return [f"{median(values):.2f} s" for values in every]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    print()
    for cells in (head, ["---"] * len(head), *rows):
        print("|", " | ".join(cells), "|")
