"""Server-Sent Events: every event of the service, or of one study."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, cast

from fastapi import APIRouter, Depends, Header, Request
from fastapi.sse import EventSourceResponse, ServerSentEvent

from app.events.schemas import EventView
from app.events.service import EventFeed

router = APIRouter(tags=["events"])

LastEventId = Annotated[
    int | None,
    Header(alias="Last-Event-ID", ge=0, le=2**53, description="answer only events after this one"),
]


def event_feed(request: Request) -> EventFeed:
    """The feed of the running application."""
    return cast(EventFeed, request.app.state.feed)


Feed = Annotated[EventFeed, Depends(event_feed)]


def as_sse(event: EventView) -> ServerSentEvent:
    """The event as it goes over the wire: its id is what Last-Event-ID refers to."""
    return ServerSentEvent(id=str(event.id), event=event.type, data=event)


@router.get("/events", response_class=EventSourceResponse, operation_id="followEvents")
async def follow_events(feed: Feed, last_event_id: LastEventId = None) -> AsyncIterator[ServerSentEvent]:
    """Follow everything (Server-Sent Events).

    Without `Last-Event-ID` only what happens from now on; with it, all that was missed as well.
    """
    start = await feed.newest_id() if last_event_id is None else last_event_id
    async for event in feed.follow(after=start):
        yield as_sse(event)
