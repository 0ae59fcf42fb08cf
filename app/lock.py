"""One service process a data folder: an flock that also tells clients where the service listens."""

from __future__ import annotations

import fcntl
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self


@dataclass(frozen=True)
class RunningService:
    """A service that holds the lock. `base_url` is empty while it starts."""

    pid: int
    base_url: str = ""


class ServiceRunningError(Exception):
    """Another process serves this data folder."""

    def __init__(self, service: RunningService | None) -> None:
        super().__init__(f"another Wiretune service uses this data folder: {service}")
        self.service = service


class ServiceLock:
    """The lock of a data folder. The kernel releases it when the process ends, however it ends."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1

    def acquire(self) -> Self:
        """Take the lock. Raises ServiceRunningError when another process has it."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise ServiceRunningError(running_service(self._path)) from None
        self._descriptor = descriptor
        self.announce("")
        return self

    def announce(self, base_url: str) -> None:
        """Say where the service listens."""
        text = json.dumps(asdict(RunningService(os.getpid(), base_url)))
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, text.encode(), 0)

    def release(self) -> None:
        """Give the lock back."""
        if self._descriptor >= 0:
            os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = -1


def running_service(path: Path) -> RunningService | None:
    """The service that holds the lock of this file; None when nobody does."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        text = os.pread(descriptor, 4096, 0)
        return RunningService(**json.loads(text)) if text else RunningService(pid=0)
    finally:
        os.close(descriptor)
    return None
