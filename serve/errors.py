"""The one shape of every error, and the boundary that nothing passes without it."""

import logging
import traceback
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nas.errors import SettingsError
from serve.codes import STATUS, Code, by_status
from serve.request_ids import current_id
from serve.schemas import ErrorAnswer, ErrorDetail

LOGGER = logging.getLogger("uvicorn.error.serve")
"""Below uvicorn's own logger, so that its settings apply; under another server, below the root."""


class ApiError(Exception):
    """A request that is refused on purpose."""

    def __init__(
        self, code: Code, message: str, remedy: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.code, self.message, self.remedy, self.headers = code, message, remedy, headers

    @classmethod
    def worded(cls, code: Code, text: str, *, remedy: str) -> "ApiError":
        """From a message of this project, ``rule, value; remedy``; ``remedy`` when it has none."""
        message, found, own = text.rpartition("; ")
        return cls(code, message, own) if found else cls(code, text, remedy)

    def detail(self) -> ErrorDetail:
        """The error as a part of an answer."""
        return ErrorDetail(
            code=self.code, message=self.message, remedy=self.remedy, request_id=current_id()
        )

    def response(self, status: int | None = None, headers: Any = None) -> JSONResponse:
        """The error as an answer; ``status`` defaults to the code's own."""
        content = ErrorAnswer(error=self.detail()).model_dump(mode="json")
        return JSONResponse(content, status or STATUS[self.code], headers or self.headers)


def documented(*codes: Code) -> dict[int | str, dict[str, Any]]:
    """FastAPI's ``responses`` for these codes."""
    return {
        status: {
            "model": ErrorAnswer,
            "description": "error.code: " + " or ".join(f"`{code}`" for code in group),
        }
        for status, group in by_status(codes).items()
    }


def install_handlers(app: FastAPI) -> None:
    """Word the errors of this service and of the framework in the one shape."""
    app.exception_handler(ApiError)(_on_api_error)
    app.exception_handler(HTTPException)(_on_http_error)
    app.exception_handler(RequestValidationError)(_on_validation_error)


async def _on_api_error(_: Request, error: ApiError) -> JSONResponse:
    return error.response()


async def _on_http_error(request: Request, error: HTTPException) -> JSONResponse:
    headers = error.headers
    if error.status_code == 404:
        answer = ApiError(
            Code.NOT_FOUND, "there is nothing at this address", "see GET / for what there is"
        )
    elif error.status_code == 405:
        allowed = (headers or {}).get("Allow", "another method")
        answer = ApiError(
            Code.METHOD_NOT_ALLOWED,
            f"this address answers {allowed}, but the request is {request.method}",
            f"use {allowed}, or see GET / for what there is",
        )
    else:
        answer = ApiError(Code.REFUSED, str(error.detail), "see /openapi.json for what is expected")
    return answer.response(error.status_code, headers)


async def _on_validation_error(_: Request, error: RequestValidationError) -> JSONResponse:
    # Places and rules only: what was sent is not sent back.
    faults = [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()]
    message = "a request must have the documented form, but " + "; ".join(faults)
    return ApiError(
        Code.INVALID_REQUEST, message, "see /openapi.json for what is expected"
    ).response()


class ErrorBoundary:
    """Middleware: an unexpected error is logged and answered without its text.

    An error's text may quote what was uploaded, so the log gets its type and the places it passed,
    but never the text. A wrong setting ends the start with its one sentence.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the application's whole life."""
        if scope["type"] == "lifespan":
            await self._lifespan(scope, receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = unheard = False

        async def watch(message: Message) -> None:
            nonlocal started, unheard
            started = True
            try:
                await send(message)
            except Exception:
                unheard = True
                raise

        try:
            await self._app(scope, receive, watch)
        except Exception as error:  # noqa: BLE001 - this is the last place that can answer
            if unheard:
                # The server has refused the request meanwhile, say for a chunk of its body that is
                # no chunk, or the client has gone: nobody is left to be answered.
                LOGGER.info("an answer could not be sent, request %s", current_id())
                return
            LOGGER.error("unexpected error, request %s\n%s", current_id(), _without_text(error))
            if started:
                # The answer is cut off; only an error makes the server close the connection.
                raise RuntimeError("an answer broke off") from None
            answer = ApiError(
                Code.INTERNAL_ERROR,
                "the server met an error that it did not expect",
                "try again; if it persists, look for request_id in the server's log",
            )
            await answer.response()(scope, receive, send)

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        failed: Message | None = None

        async def hold(message: Message) -> None:
            nonlocal failed
            if message["type"] == "lifespan.startup.failed":
                failed = message  # its text is a traceback; a better one may follow below
            else:
                await send(message)

        try:
            await self._app(scope, receive, hold)
        except SettingsError as error:
            await send({"type": "lifespan.startup.failed", "message": str(error)})
        except BaseException:
            if failed is not None:
                await send(failed)
            raise


def _without_text(error: BaseException) -> str:
    parts: list[str] = []
    cause: BaseException | None = error
    while cause is not None:
        places = "".join(traceback.format_tb(cause.__traceback__))
        name = f"{type(cause).__module__}.{type(cause).__qualname__}"
        parts.append(f"Traceback (most recent call last):\n{places}{name}")
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    return "\nfollowing from\n".join(parts)
