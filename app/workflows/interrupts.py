"""Asks running work to stop: one study, one measurement, one testbed, or everything because the service stops."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Interrupts:
    """Flags that the lab polls. They live as long as the process; what must outlive it is a state in the database."""

    def __init__(self) -> None:
        self._subjects: set[str] = set()
        self._lock = threading.Lock()
        self._stopping = threading.Event()

    @property
    def stopping(self) -> bool:
        """The service stops; unfinished work goes on when it starts again."""
        return self._stopping.is_set()

    def stop_all(self) -> None:
        """Interrupt everything, now and from now on."""
        self._stopping.set()

    def request(self, subject: str) -> None:
        """Interrupt the work on this study, measurement or testbed."""
        with self._lock:
            self._subjects.add(subject)

    def clear(self, subject: str) -> None:
        """Forget an earlier request: new work on the subject begins."""
        with self._lock:
            self._subjects.discard(subject)

    def requested(self, subject: str) -> bool:
        """Whether the work on this subject must stop."""
        with self._lock:
            return self.stopping or subject in self._subjects

    def should_cancel(self, subject: str) -> Callable[[], bool]:
        """The callback that a testbed driver polls."""
        return lambda: self.requested(subject)
