"""A key that a client must show before it may use the model."""

import hmac
from collections.abc import Callable
from typing import Any

from fastapi import FastAPI
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from serve.codes import Code
from serve.errors import ApiError, documented
from serve.page import PARTS

HEADER = "X-API-Key"

OPEN = frozenset({"/", "/openapi.json", *(f"/{part}" for part in PARTS)})
"""Addresses that need no key: the page, what it is made of, and the description. What is in neither
list needs one, so that a new address is closed until somebody opens it."""

OPEN_BELOW = ("/health",)
"""Beginnings of further such addresses: probes."""

CHALLENGE = {"WWW-Authenticate": 'Bearer realm="nas"'}

SCHEMES: dict[str, Any] = {
    "key": {"type": "apiKey", "in": "header", "name": HEADER},
    "bearer": {"type": "http", "scheme": "bearer", "description": "the same key"},
}


def is_open(path: str) -> bool:
    """Whether an address needs no key."""
    return path in OPEN or path.startswith(OPEN_BELOW)


class Keys:
    """Middleware: 401 before anything of the body is read, unless the request shows the key.

    It is shown as ``X-API-Key: …`` or ``Authorization: Bearer …``.

    Args:
        app: what is protected.
        key: gives the key, or None where none is asked for; called once per request.
    """

    def __init__(self, app: ASGIApp, key: Callable[[], str | None]) -> None:
        self._app = app
        self._key = key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http" and (key := self._key()) is not None:
            # As the router does it: a proxy's prefix is no part of the address.
            path = scope["path"].removeprefix(scope.get("root_path", "").rstrip("/"))
            if not is_open(path) and not _shown(Headers(scope=scope), key):
                await _refusal().response(headers=CHALLENGE)(scope, receive, send)
                return
        await self._app(scope, receive, send)


def describe_keys(app: FastAPI) -> None:
    """Add the two ways of showing a key, and the 401, to the application's OpenAPI description.

    None of the two is also right, for a server without NAS_API_KEY asks for no key.
    """
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is not None:
            return app.openapi_schema
        schema = plain()
        schema.setdefault("components", {})["securitySchemes"] = SCHEMES
        description = documented(Code.UNAUTHORIZED)[401]["description"]
        content = {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorAnswer"}}}
        for path, item in schema["paths"].items():
            if not is_open(path):
                for operation in item.values():
                    operation["security"] = [{"key": []}, {"bearer": []}, {}]
                    operation["responses"]["401"] = {"description": description, "content": content}
        return schema

    # FastAPI's documentation has it done like this; there is no other way in.
    app.openapi = openapi  # type: ignore[method-assign]


def _shown(headers: Headers, key: str) -> bool:
    candidates = headers.getlist(HEADER)
    for value in headers.getlist("authorization"):
        scheme, _, token = value.partition(" ")
        if scheme.lower() == "bearer":
            candidates.append(token.strip())
    # All are compared, each in a time that tells nothing of how much was right.
    expected = key.encode()
    return sum(hmac.compare_digest(one.encode(), expected) for one in candidates) > 0


def _refusal() -> ApiError:
    return ApiError(
        Code.UNAUTHORIZED,
        "a request to this address must show the server's key, but this one shows none or another",
        f"send the key that is in the server's NAS_API_KEY as {HEADER} or Authorization: Bearer",
    )
