"""`wiretune worker`: runs the jobs of a service whose API is another process. Both share a PostgreSQL database."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable

from app.service import Service
from app.settings import Settings


def work(settings: Settings, on_ready: Callable[[], None]) -> None:
    """Run jobs until SIGINT or SIGTERM, then interrupt them, roll their hosts back and end.

    Raises lock.ServiceRunningError and database.JobsTakenError when another process does that already.
    """
    ending = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ending.set())
    service = Service(settings, "worker")
    service.start()
    on_ready()
    ending.wait()
    service.interrupt()
    service.stop()
