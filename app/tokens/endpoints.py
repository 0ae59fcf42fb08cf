"""Bearer tokens: the dependency that checks them, and their endpoints."""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import APIRouter, Depends, Path, Request, Response, status
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from app.errors import UnauthorizedError, problem_responses
from app.pagination import Limit, Offset, Page
from app.tokens.schemas import TokenCreate, TokenCreated, TokenView
from app.tokens.service import TokenService

router = APIRouter(prefix="/tokens", tags=["tokens"])
bearer = HTTPBearer(
    auto_error=False, description="`Authorization: Bearer wt_…`; the first token is in `<data_dir>/token`"
)

TokenId = Annotated[int, Path(ge=1, le=2**31)]


def token_service(request: Request) -> TokenService:
    """The service of the running application."""
    return cast(TokenService, request.app.state.tokens)


Tokens = Annotated[TokenService, Depends(token_service)]


def require_token(tokens: Tokens, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]) -> None:
    """Let a request pass that carries a valid token; raise UnauthorizedError otherwise."""
    if credentials is None:
        raise UnauthorizedError(
            "This needs a bearer token.", hint="Send `Authorization: Bearer $(cat <data_dir>/token)`."
        )
    tokens.check(credentials.credentials)


@router.post("", status_code=status.HTTP_201_CREATED, operation_id="createToken")
def create_token(body: TokenCreate, tokens: Tokens, response: Response) -> TokenCreated:
    """Make a token. The answer is the only place where its secret is ever shown."""
    created = tokens.create(body.name)
    response.headers["Location"] = f"/api/v1/tokens/{created.id}"
    return created


@router.get("", operation_id="listTokens")
def list_tokens(tokens: Tokens, limit: Limit = 200, offset: Offset = 0) -> Page[TokenView]:
    """All tokens, revoked ones too, without their secrets."""
    return tokens.list(limit, offset)


@router.get("/{token_id}", operation_id="getToken", responses=problem_responses(404))
def get_token(token_id: TokenId, tokens: Tokens) -> TokenView:
    """One token, without its secret."""
    return tokens.get(token_id)


@router.delete(
    "/{token_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    operation_id="revokeToken",
    responses=problem_responses(404, 409),
)
def revoke_token(token_id: TokenId, tokens: Tokens) -> None:
    """Revoke a token; it is refused from now on. The last valid token cannot be revoked."""
    tokens.revoke(token_id)
