"""Which web pages of other origins may call this server (CORS)."""

from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from serve import keys, request_ids
from serve.codes import Code
from serve.errors import ApiError

METHODS = ("GET", "POST")
ASKED = ("Authorization", keys.HEADER, request_ids.HEADER)
TOLD = (request_ids.HEADER, "Retry-After", "WWW-Authenticate")


class _Cors(CORSMiddleware):
    """Starlette's, with its refusals in this service's error shape."""

    def preflight_response(self, request_headers: Headers) -> Response:
        """The answer to a browser's question whether a page may send something."""
        answer = super().preflight_response(request_headers)
        if answer.status_code < 400:
            return answer
        refusal = ApiError(
            Code.REFUSED,
            f"a page must be of an origin that is allowed here and ask for {' or '.join(METHODS)} "
            f"and known headers, but: {bytes(answer.body).decode()}",
            "name the page's origin in the server's NAS_CORS_ORIGINS",
        )
        told = {k: v for k, v in answer.headers.items() if not k.startswith("content-")}
        return refusal.response(answer.status_code, told)


class Origins:
    """Middleware: CORS headers where origins are set, nothing otherwise.

    Starlette's own wants its origins before the settings are read.

    Args:
        app: the application.
        origins: gives the allowed origins; asked once per request.
    """

    def __init__(self, app: ASGIApp, origins: Callable[[], tuple[str, ...]]) -> None:
        self._app = app
        self._origins = origins
        self._made: tuple[tuple[str, ...], ASGIApp] = ((), app)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        origins = self._origins() if scope["type"] == "http" else ()
        if not origins:
            await self._app(scope, receive, send)
            return
        if self._made[0] != origins:
            cors = _Cors(
                self._app,
                allow_origins=origins,
                allow_methods=METHODS,
                allow_headers=ASKED,
                expose_headers=TOLD,
            )
            self._made = (origins, cors)
        await self._made[1](scope, receive, send)
