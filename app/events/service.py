"""Events: appended inside the transaction they tell of, followed by any number of clients."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import timedelta
from typing import Any

from fastapi.concurrency import run_in_threadpool
from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from app.database import Database, now
from app.events.models import Event
from app.events.schemas import EventType, EventView

_BATCH = 200
_POLL_S = 1.0  # another process may write too (PostgreSQL); in this process a commit wakes the followers at once
_KEPT_FOR = timedelta(days=90)


def append(
    session: Session,
    type_: EventType,
    *,
    testbed: str | None = None,
    study_id: str | None = None,
    measurement_id: str | None = None,
    **data: Any,
) -> None:
    """Record an event in the caller's transaction: it exists if, and only if, what it tells of does."""
    session.add(
        Event(at=now(), type=type_, testbed=testbed, study_id=study_id, measurement_id=measurement_id, data=data)
    )


class EventFeed:
    """Lets asynchronous clients follow the events table."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = set()
        self._lock = threading.Lock()
        self._closed = False
        database.on_commit(self._wake)

    async def newest_id(self) -> int:
        """Id of the newest event; 0 before the first."""
        return await run_in_threadpool(self._newest_id)

    async def follow(
        self,
        *,
        after: int,
        study_id: str | None = None,
        is_finished: Callable[[], bool] | None = None,
    ) -> AsyncIterator[EventView]:
        """Events with a greater id than `after`, as they happen.

        Ends when the service stops, or when `is_finished` says so and everything until then was answered.
        """
        committed = asyncio.Event()
        entry = (asyncio.get_running_loop(), committed)
        with self._lock:
            self._waiting.add(entry)
        try:
            while not self._closed:
                committed.clear()
                last = is_finished is not None and await run_in_threadpool(is_finished)
                events = await run_in_threadpool(self._read, after, study_id)
                for event in events:
                    after = event.id
                    yield event
                if len(events) == _BATCH:
                    continue
                if last:
                    return
                try:
                    await asyncio.wait_for(committed.wait(), _POLL_S)
                except TimeoutError:
                    continue
        finally:
            with self._lock:
                self._waiting.discard(entry)

    def close(self) -> None:
        """End every follower: the service stops."""
        self._closed = True
        self._wake()

    def forget_old(self) -> None:
        """Delete events that nobody will resume from any more."""
        with self._database.writing() as session:
            session.execute(delete(Event).where(Event.at < now() - _KEPT_FOR))

    def _newest_id(self) -> int:
        with self._database.reading() as session:
            return session.scalar(select(func.max(Event.id))) or 0

    def _read(self, after: int, study_id: str | None) -> Sequence[EventView]:
        query = select(Event).where(Event.id > after).order_by(Event.id).limit(_BATCH)
        if study_id is not None:
            query = query.where(Event.study_id == study_id)
        with self._database.reading() as session:
            return [_view(event) for event in session.scalars(query)]

    def _wake(self) -> None:
        with self._lock:
            for loop, committed in self._waiting:
                loop.call_soon_threadsafe(committed.set)


def _view(event: Event) -> EventView:
    return EventView.model_validate(
        {
            "id": event.id,
            "at": event.at,
            "type": event.type,
            "testbed": event.testbed,
            "study_id": event.study_id,
            "measurement_id": event.measurement_id,
            "data": event.data,
        }
    )
