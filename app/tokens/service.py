"""Bearer tokens: made, checked, revoked. Only their SHA-256 is kept."""

from __future__ import annotations

import hashlib
import os
import secrets
from datetime import timedelta
from pathlib import Path

from sqlalchemy import func, select

from app.database import Database, now
from app.errors import ConflictError, NotFoundError, UnauthorizedError
from app.pagination import Page
from app.tokens.models import Token
from app.tokens.schemas import TokenCreated, TokenView

PREFIX = "wt_"
_LONGEST_TOKEN = 200
_LAST_USED_RESOLUTION = timedelta(minutes=1)


def hash_token(secret: str) -> str:
    """What the database keeps of a token. Salt and stretching would add nothing to 256 random bits."""
    return hashlib.sha256(secret.encode()).hexdigest()


class TokenService:
    """Tokens of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, name: str) -> TokenCreated:
        """A new token; its secret is in the answer and nowhere else."""
        secret = PREFIX + secrets.token_urlsafe(32)
        token = Token(name=name, sha256=hash_token(secret), created_at=now())
        with self._database.writing() as session:
            session.add(token)
        return TokenCreated(**_view(token).model_dump(), token=secret)

    def create_first(self, path: Path) -> str | None:
        """On first start, make a token and write it to `path`, readable by the owner only. None when there is one."""
        with self._database.reading() as session:
            if session.scalar(select(func.count()).select_from(Token)):
                return None
        created = self.create("first")
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        os.fchmod(descriptor, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(created.token + "\n")
        return created.token

    def check(self, secret: str) -> None:
        """Raise UnauthorizedError unless this is a token that was made here and not revoked."""
        moment = now()
        with self._database.reading() as session:
            token = (
                session.scalar(select(Token).where(Token.sha256 == hash_token(secret)))
                if len(secret) <= _LONGEST_TOKEN
                else None
            )
        if token is None or token.revoked_at is not None:
            raise UnauthorizedError("This bearer token is not valid.", hint="Make one with `wiretune token create`.")
        if token.last_used_at is None or moment - token.last_used_at > _LAST_USED_RESOLUTION:
            with self._database.writing() as session:
                session.merge(token).last_used_at = moment

    def list(self, limit: int, offset: int) -> Page[TokenView]:
        """All tokens in the order they were made."""
        with self._database.reading() as session:
            tokens = session.scalars(select(Token).order_by(Token.id).limit(limit).offset(offset)).all()
            total = session.scalar(select(func.count()).select_from(Token)) or 0
        return Page(items=[_view(token) for token in tokens], total=total)

    def get(self, token_id: int) -> TokenView:
        """One token. Raises NotFoundError."""
        with self._database.reading() as session:
            token = session.get(Token, token_id)
        if token is None:
            raise NotFoundError(f"There is no token {token_id}.")
        return _view(token)

    def revoke(self, token_id: int) -> None:
        """Refuse a token from now on. Raises NotFoundError; ConflictError for the last one or one that is revoked."""
        with self._database.writing() as session:
            token = session.get(Token, token_id)
            if token is None:
                raise NotFoundError(f"There is no token {token_id}.")
            if token.revoked_at is not None:
                raise ConflictError(f"Token {token_id} is already revoked.")
            valid = session.scalar(select(func.count()).select_from(Token).where(Token.revoked_at.is_(None)))
            if valid == 1:
                raise ConflictError("This is the last valid token.", hint="Make another one first.")
            token.revoked_at = now()


def _view(token: Token) -> TokenView:
    return TokenView(
        id=token.id,
        name=token.name,
        created_at=token.created_at,
        last_used_at=token.last_used_at,
        revoked_at=token.revoked_at,
    )
