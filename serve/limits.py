"""No request body larger than allowed, whatever its headers say."""

from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.codes import Code
from serve.errors import ApiError


class OverLimit(Exception):
    """Ends the application's reading of a body that is too large."""


class BodyLimit:
    """Middleware: 413 as soon as a body is known to be larger than ``limit()`` bytes.

    An honest Content-Length is refused before anything is read. Bytes are counted as they arrive
    besides, which catches chunked bodies and lengths that lie. Starlette's own limiter answers in
    plain text and wants its limit before the settings are read.

    Args:
        app: what is protected.
        limit: gives the limit in bytes; asked once per request.
    """

    def __init__(self, app: ASGIApp, limit: Callable[[], int]) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = self._limit()
        if (declared := _declared(scope)) > limit:
            await _refusal(limit, f"is announced with {declared:,}").response()(
                scope, receive, send
            )
            return
        count, over, started = 0, False, False

        async def counted() -> Message:
            nonlocal count, over
            message = await receive()
            count += len(message.get("body", b""))
            if count > limit:
                over = True
                raise OverLimit
            return message

        async def watched(message: Message) -> None:
            nonlocal started
            if over and not started:
                return  # whatever the application makes of the broken body, 413 is the answer
            started = True
            await send(message)

        try:
            await self._app(scope, counted, watched)
        except Exception:
            if not over or started:
                raise
        if over and not started:
            await _refusal(limit, "has more").response()(scope, receive, send)


def _declared(scope: Scope) -> int:
    """Content-Length in bytes; 0 where it is absent or no number: then counting decides."""
    try:
        return int(Headers(scope=scope).get("content-length", "0"))
    except ValueError:
        return 0


def _refusal(limit: int, found: str) -> ApiError:
    return ApiError(
        Code.BODY_TOO_LARGE,
        f"a request body must have at most {limit:,} bytes, but this one {found}",
        "send a smaller or compressed image, or start the server with a larger "
        "NAS_MAX_UPLOAD_BYTES",
    )
