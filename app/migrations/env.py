"""Alembic's environment: migrates over the connection that app.database hands over."""

from typing import Any, Literal

from alembic import context

from app.database import Base, UtcDateTime
from app.events import models as events
from app.measurements import models as measurements
from app.studies import models as studies
from app.testbeds import models as testbeds
from app.tokens import models as tokens

TABLES = (events, measurements, studies, testbeds, tokens)


def render_item(kind: str, item: Any, _context: Any) -> str | Literal[False]:
    """Migrations name plain types, so that they stay true when the application's code changes."""
    return "sa.DateTime(timezone=True)" if kind == "type" and isinstance(item, UtcDateTime) else False


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,
    compare_type=True,
    render_item=render_item,
)
with context.begin_transaction():
    context.run_migrations()
