"""Optuna's journal in one file, where everything that an ask or a tell writes is one append: all of it or nothing."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from optuna.storages.journal import BaseJournalBackend


class StudyJournal(BaseJournalBackend):
    """A backend of optuna.storages.JournalStorage that several handles and processes may share.

    Optuna's own file backend syncs the disk for each of the twenty records of a trial; this one writes and syncs once
    for each `transaction`, whose records make one line. A torn last line, which a power failure or a full disk leaves,
    is cut off by the next transaction.
    """

    def __init__(self, path: Path) -> None:
        """Opens or creates the file. Raises OSError, and ValueError for a file that is not a journal."""
        self._path = path
        self._file = path.open("a+b", buffering=0)
        self._offset = 0
        self._records: list[dict[str, Any]] = []
        self._pending: list[dict[str, Any]] | None = None
        try:
            self._refresh()
        except ValueError:
            self._file.close()
            raise

    def _refresh(self) -> None:
        """Reads what was added to the file since; an unfinished line stays unread."""
        self._file.seek(self._offset)
        content = self._file.read()
        whole = content.rfind(b"\n") + 1
        for line in content[:whole].splitlines():
            try:
                records = json.loads(line)
            except ValueError as error:
                raise ValueError(f"{self._path} is not the journal of a study: {error}") from error
            if not isinstance(records, list):
                raise ValueError(f"{self._path} is not the journal of a study: a line is no list of records")
            self._records += records
        self._offset += whole

    def read_logs(self, log_number_from: int) -> Iterable[dict[str, Any]]:
        """The records from this number on, those of an open transaction included."""
        if self._pending is None:
            self._refresh()
        pending_from = max(0, log_number_from - len(self._records))
        return [*self._records[log_number_from:], *(self._pending or [])[pending_from:]]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Adds records: at the end of the open transaction, or durably at once where there is none."""
        if self._pending is None:
            with self.transaction():
                self.append_logs(logs)
        else:
            self._pending += logs

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Writes and syncs all that is added inside as one line, also when it ends in an exception, because the storage
        in front has the records by then. A killed process leaves nothing of it. After an OSError open the file anew."""
        fcntl.flock(self._file, fcntl.LOCK_EX)
        try:
            self._refresh()
            self._file.truncate(self._offset)
            self._pending = []
            try:
                yield
            finally:
                added, self._pending = self._pending, None
                self._write(added)
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)

    def _write(self, records: list[dict[str, Any]]) -> None:
        if not records:
            return
        line = json.dumps(records, separators=(",", ":")).encode() + b"\n"
        if self._file.write(line) != len(line):
            raise OSError(f"{self._path} took only part of a record: is the disk full?")
        os.fsync(self._file.fileno())
        self._records += records
        self._offset += len(line)

    def close(self) -> None:
        """Closes the file."""
        self._file.close()
