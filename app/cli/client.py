"""The API as the commands use it: JSON in, JSON out, problem details as one clear error."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx

from app.cli.failures import CommandError, Exit
from app.lock import running_service
from app.settings import Settings

_RECONNECT_S = 0.5
_SILENCE_S = 60.0
"""An event stream that is silent for this long is dead: the service sends a comment every 15 seconds."""


class Api:
    """A client of one service."""

    def __init__(self, base_url: str, token: str) -> None:
        self.base_url = base_url
        self._http = httpx.Client(
            base_url=f"{base_url}/api/v1",
            headers={"Authorization": f"Bearer {token}"},
            timeout=httpx.Timeout(30.0, connect=5.0),
            trust_env=False,
        )

    def get(self, path: str, **query: Any) -> Any:
        """The JSON of a resource. Raises CommandError with the service's own words."""
        return self._call("GET", path, params=query)

    def find(self, path: str) -> Any | None:
        """The JSON of a resource, or None where there is none."""
        try:
            response = self._http.get(path)
        except httpx.HTTPError as error:
            raise _unreachable(self.base_url, error) from error
        return None if response.status_code == httpx.codes.NOT_FOUND else _json(response)

    def post(self, path: str, body: Any = None) -> Any:
        """Create or start something. Raises CommandError."""
        return self._call("POST", path, json=body)

    def delete(self, path: str, **query: Any) -> Any:
        """Delete something. Raises CommandError."""
        return self._call("DELETE", path, params=query)

    def download(self, path: str, output: Path) -> None:
        """Write a resource to a file, whole or not at all. Raises CommandError."""
        part = output.with_name(output.name + ".part")
        try:
            with self._http.stream("GET", path) as response:
                if response.is_error:
                    response.read()
                    _json(response)
                with part.open("wb") as file:
                    for chunk in response.iter_bytes():
                        file.write(chunk)
            part.replace(output)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise CommandError(f"cannot write {output}: {error.strerror}") from error
        except httpx.HTTPError as error:
            part.unlink(missing_ok=True)
            raise _unreachable(self.base_url, error) from error

    def follow(self, path: str, *, until: Callable[[], bool], **query: Any) -> Iterator[dict[str, Any]]:
        """Events of a stream, resumed after the last one seen. Ends when the stream does and `until` agrees."""
        last_id = "0"
        while True:
            try:
                for event in self._stream(path, last_id, query):
                    last_id = str(event["id"])
                    yield event
            except httpx.HTTPError as error:
                if self.find("/health") is None:
                    raise _unreachable(self.base_url, error) from error
            if until():
                return
            time.sleep(_RECONNECT_S)

    def _stream(self, path: str, last_id: str, query: dict[str, Any]) -> Iterator[dict[str, Any]]:
        timeout = httpx.Timeout(_SILENCE_S, connect=5.0)
        headers = {"Last-Event-ID": last_id}
        with self._http.stream("GET", path, params=query, headers=headers, timeout=timeout) as response:
            if response.is_error:
                response.read()
                _json(response)
            for line in response.iter_lines():
                if line.startswith("data:"):
                    yield json.loads(line[len("data:") :])

    def wait_while(self, path: str, busy: Callable[[Any], bool], timeout_s: float) -> Any | None:
        """Poll a resource until it is gone (None) or not busy any more. Raises CommandError after `timeout_s`."""
        deadline = time.monotonic() + timeout_s
        while True:
            resource = self.find(path)
            if resource is None or not busy(resource):
                return resource
            if time.monotonic() > deadline:
                raise CommandError(f"{path} is still {resource.get('state')} after {timeout_s:.0f} s")
            time.sleep(0.1)

    def _call(self, method: str, path: str, **arguments: Any) -> Any:
        try:
            return _json(self._http.request(method, path, **arguments))
        except httpx.HTTPError as error:
            raise _unreachable(self.base_url, error) from error


def _json(response: httpx.Response) -> Any:
    if not response.is_error:
        return response.json() if response.content else None
    try:
        problem = response.json()
        message, hint = problem["detail"], problem.get("hint") or ""
    except (ValueError, KeyError, TypeError):
        message, hint = f"the service answered {response.status_code} {response.reason_phrase}", ""
    code = Exit.SERVICE if response.status_code in (401, 403) else Exit.FAILED
    raise CommandError(message, hint=hint, code=code)


def _unreachable(base_url: str, error: httpx.HTTPError) -> CommandError:
    return CommandError(
        f"the service at {base_url} does not answer: {error}", hint="Is `wiretune serve` running?", code=Exit.SERVICE
    )


def read_token(settings: Settings) -> str:
    """The token in $WIRETUNE_TOKEN, else that of the data folder. Raises CommandError."""
    from_environment = os.environ.get("WIRETUNE_TOKEN")
    if from_environment:
        return from_environment
    try:
        return settings.token_file.read_text().strip()
    except OSError as error:
        raise CommandError(
            f"cannot read the token in {settings.token_file}: {error.strerror}",
            hint="Set WIRETUNE_TOKEN, or run as the user that runs the service.",
            code=Exit.SERVICE,
        ) from error


def service_url(settings: Settings) -> str | None:
    """The service named by $WIRETUNE_URL, else the one that serves this data folder; None where none runs."""
    url = os.environ.get("WIRETUNE_URL")
    if not url:
        service = running_service(settings.lock_file)
        url = service.base_url if service else ""
    return url.rstrip("/") or None


def connect(settings: Settings) -> Api:
    """A client of the service at `service_url`. Raises CommandError."""
    url = service_url(settings)
    if url is None:
        raise CommandError(
            f"no service runs for {settings.data_dir}",
            hint="Start it with `wiretune serve`, or set WIRETUNE_URL and WIRETUNE_TOKEN.",
            code=Exit.SERVICE,
        )
    return Api(url, read_token(settings))


def health_at(url: str) -> Any:
    """What a service says of itself, without a token. Raises CommandError."""
    try:
        return _json(httpx.get(f"{url}/api/v1/health", timeout=5.0, trust_env=False))
    except httpx.HTTPError as error:
        raise _unreachable(url, error) from error
    except ValueError as error:
        raise CommandError(f"what answers at {url} is no Wiretune", code=Exit.SERVICE) from error
