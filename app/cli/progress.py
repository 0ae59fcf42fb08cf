"""What a running study looks like on a terminal, or as plain lines where there is none."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any, Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text


def duration_words(seconds: float) -> str:
    """ "45 s", "3 min 05 s", "2 h 10 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


def trial_words(block: dict[str, Any]) -> str:
    """ "baseline", "trial 3", or "on the path" from the baseline to the winner; of a block or a trial."""
    if block["is_baseline"]:
        return "baseline"
    return "on the path" if block["number"] is None else f"trial {block['number']}"


def metrics_words(metrics: dict[str, Any]) -> str:
    """ "6.31 Gbit/s, 4.2 Gbit per CPU-second"."""
    words = f"{metrics['throughput_gbps']:.2f} Gbit/s"
    if metrics.get("gbit_per_cpu_s"):
        words += f", {metrics['gbit_per_cpu_s']:.2f} Gbit per CPU-second"
    for name in ("ndr", "pdr"):
        if metrics.get(f"{name}_pps"):
            words = f"{name.upper()} {metrics[f'{name}_pps'] / 1e3:.1f} kpps, {words}"
    return words


def gain_words(gain: float) -> str:
    """A ratio as percent: 1.5 is "+50.0%"."""
    return f"{(gain - 1) * 100:+.1f}%"


class StudyDisplay:
    """Shows events of one study: what is tried, best so far, time left."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress: dict[str, Any] = {}
        self._progress_at = time.monotonic()
        self._running: dict[str, Any] | None = None
        self._lab = ""
        self._state = "queued"
        self._live = Live(self, console=console, refresh_per_second=4, transient=True) if console.is_terminal else None

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.__exit__(kind, error, traceback)

    def show(self, event: dict[str, Any]) -> None:
        """Take one event of the study in."""
        data = event["data"]
        match event["type"]:
            case "study.state":
                self._state = data["state"]
                self._line(
                    f"{self._state} …" if self._state not in ("completed", "cancelled", "failed") else self._state
                )
            case "study.progress":
                self._progress, self._progress_at = data, time.monotonic()
            case "trial.started":
                self._line(f"{trial_words(data)} is {data['words']}")
            case "block.started":
                self._running, self._lab = data, ""
            case "block.phase":
                self._lab = f"{data['phase']}: {data['message']}"
            case "block.finished":
                self._block_finished(data)
            case "lab.fault":
                self._line(f"lab fault: {data['message']}")
            case _:
                pass

    def _block_finished(self, data: dict[str, Any]) -> None:
        self._running, self._lab = None, ""
        what = f"{data['phase']} {data['block'] + 1}"
        if data["phase"] != "baseline":
            what += f", {trial_words(data)}"
        came = metrics_words(data["metrics"]) if data["metrics"] else f"{data['state']}: {data['detail']}"
        self._line(f"{what}: {came}{self._tail()}")

    def _tail(self) -> str:
        parts = []
        best = self._progress.get("best")
        if best and best["gain"]:
            parts.append(f"best so far {best['gain']:.2f}x")
        left = self._seconds_left()
        if left is not None:
            parts.append(f"{duration_words(left)} left")
        return f" · {' · '.join(parts)}" if parts else ""

    def _seconds_left(self) -> float | None:
        eta_s = self._progress.get("eta_s")
        return None if eta_s is None else max(0.0, eta_s - (time.monotonic() - self._progress_at))

    def _line(self, text: str) -> None:
        if self._live is None:
            self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def __rich__(self) -> Group:
        """The live view."""
        grid = Table.grid(padding=(0, 2))
        grid.add_column(style="dim", justify="right")
        grid.add_column(overflow="fold")
        grid.add_row("study", self._state)
        if self._running:
            running = self._running
            grid.add_row("trying", Text(f"{trial_words(running)}: {running['words']}"))
            lab = f"{running['phase']} {running['block'] + 1}"
            grid.add_row("now", Text(f"{lab} · {self._lab}" if self._lab else lab))
        best = self._progress.get("best")
        if best:
            gain = f" ({best['gain']:.2f}x the baseline)" if best["gain"] else ""
            grid.add_row("best so far", Text(f"{metrics_words(best['metrics'])}{gain}"))
            grid.add_row("", Text(best["words"], style="dim"))
        done, total = self._progress.get("blocks_done", 0), self._progress.get("blocks_total", 0)
        left = self._seconds_left()
        grid.add_row("time left", "…" if left is None else duration_words(left))
        return Group(grid, ProgressBar(total=max(total, 1), completed=done, width=60))
