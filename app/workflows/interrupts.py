"""When running work has to stop: it was cancelled, which the tables say, or the process stops."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

_ASK_EVERY_S = 0.25


class Interrupts:
    """What the lab polls. Whoever cancels may be another process, so it is the tables that are asked."""

    def __init__(self) -> None:
        self._stopping = threading.Event()

    @property
    def stopping(self) -> bool:
        """The process stops; unfinished work goes on when it starts again."""
        return self._stopping.is_set()

    def stop_all(self) -> None:
        """Interrupt everything, now and from now on."""
        self._stopping.set()

    def should_cancel(self, is_cancelled: Callable[[], bool]) -> Callable[[], bool]:
        """The callback that a testbed driver polls, as often as it likes. Once it said yes, it stays with that."""
        asked_at_s, cancelled = float("-inf"), False

        def should_cancel() -> bool:
            nonlocal asked_at_s, cancelled
            if not cancelled and time.monotonic() - asked_at_s >= _ASK_EVERY_S:
                asked_at_s, cancelled = time.monotonic(), is_cancelled()
            return cancelled or self.stopping

        return should_cancel
