"""One name for each request, in its answer, in errors and in the log."""

import re
import uuid
from contextvars import ContextVar

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADER = "X-Request-ID"

PATTERN = re.compile(r"[A-Za-z0-9._-]{1,64}")
"""What is taken from a client: nothing that a log, a shell or a page could read as more."""

OUTSIDE = "none"
"""The id where no request is being served."""

_CURRENT: ContextVar[str] = ContextVar("request_id", default=OUTSIDE)


def current_id() -> str:
    """The id of the request that this task, or the worker thread that it waits for, serves.

    A task that works for several requests, such as one that gathers images, has none of its own.
    """
    return _CURRENT.get()


class RequestIds:
    """Outermost middleware: gives every request an id and every answer its header.

    The client's own is taken where it sends exactly one that fits PATTERN; any other is replaced
    by 32 random hexadecimal digits. It is in ``scope["state"]["request_id"]`` too.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _id_for(Headers(scope=scope))
        scope.setdefault("state", {})["request_id"] = request_id

        async def named(message: Message) -> None:
            if message["type"] == "http.response.start":
                message.setdefault("headers", [])
                MutableHeaders(scope=message)[HEADER] = request_id
            await send(message)

        before = _CURRENT.set(request_id)
        try:
            await self._app(scope, receive, named)
        finally:
            _CURRENT.reset(before)


def _id_for(headers: Headers) -> str:
    given = headers.getlist(HEADER)
    if len(given) == 1 and PATTERN.fullmatch(given[0]):
        return given[0]
    return uuid.uuid4().hex
