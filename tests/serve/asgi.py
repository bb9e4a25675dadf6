"""Speak ASGI to an application directly, so that a test decides about every message."""

import json
from collections.abc import Iterable
from typing import Any

import anyio
from starlette.types import ASGIApp, Message


def drive(
    app: ASGIApp, messages: Iterable[Message], scope: dict[str, Any] | None = None
) -> list[Message]:
    """Hand ``messages`` to the application, one for each call of receive; give what it sent."""
    left, sent = iter(messages), []

    async def receive() -> Message:
        return next(left, {"type": "http.disconnect"})

    async def send(message: Message) -> None:
        sent.append(message)

    anyio.run(app, scope or post(), receive, send)
    return sent


def post(path: str = "/predict", **headers: str) -> dict[str, Any]:
    """The scope of a POST; underscores in the headers' names become hyphens."""
    raw = [(k.replace("_", "-").encode(), v.encode()) for k, v in headers.items()]
    return {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "scheme": "http",
        "headers": raw,
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }


def chunks(body: bytes, size: int) -> list[Message]:
    """A body as it arrives."""
    parts = [body[i : i + size] for i in range(0, len(body), size)] or [b""]
    return [
        {"type": "http.request", "body": part, "more_body": i < len(parts)}
        for i, part in enumerate(parts, start=1)
    ]


def status_of(sent: list[Message]) -> int:
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    return int(sent[0]["status"])


def error_of(sent: list[Message]) -> dict[str, str]:
    error: dict[str, str] = json.loads(sent[1]["body"])["error"]
    return error
