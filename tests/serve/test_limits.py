"""Bodies of every honesty."""

import tracemalloc
from collections.abc import Iterator

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from starlette.responses import PlainTextResponse
from starlette.types import Message, Receive, Scope, Send

from serve.limits import BodyLimit, OverLimit
from tests.serve.answers import assert_error
from tests.serve.asgi import chunks, drive, error_of, post, status_of
from tests.serve.conftest import MAX_UPLOAD_BYTES
from tests.serve.pictures import form, multipart, png

BIG, KIND = multipart(b"x" * (2 * MAX_UPLOAD_BYTES))


@pytest.fixture
def app(client: TestClient) -> FastAPI:
    assert isinstance(client.app, FastAPI)
    return client.app


def counting(messages: list[Message]) -> tuple[Iterator[Message], list[int]]:
    taken = [0]

    def give() -> Iterator[Message]:
        for message in messages:
            taken[0] += 1
            yield message

    return give(), taken


def assert_too_large(sent: list[Message]) -> None:
    assert status_of(sent) == 413
    error = error_of(sent)
    assert error["code"] == "body_too_large"
    assert f"{MAX_UPLOAD_BYTES:,}" in error["message"]
    assert "NAS_MAX_UPLOAD_BYTES" in error["remedy"]


def test_an_honest_length_is_refused_before_anything_is_read(app: FastAPI) -> None:
    messages, taken = counting(chunks(BIG, 1000))
    scope = post(content_type=KIND, content_length=str(len(BIG)))
    assert_too_large(drive(app, messages, scope))
    assert taken == [0]


@pytest.mark.parametrize("length", [None, "10", "0", "-5", "many", "9" * 5000])
def test_bytes_are_counted_whatever_the_length_says(app: FastAPI, length: str | None) -> None:
    messages, taken = counting(chunks(BIG, 1000))
    lengths = {} if length is None else {"content_length": length}
    assert_too_large(drive(app, messages, post(content_type=KIND, **lengths)))
    assert taken[0] <= MAX_UPLOAD_BYTES // 1000 + 1


def test_chunked_over_http(client: TestClient) -> None:
    headers = {"content-type": KIND}
    pieces = (BIG[i : i + 4096] for i in range(0, len(BIG), 4096))
    answer = client.post("/predict", content=pieces, headers=headers)
    assert "content-length" not in answer.request.headers
    assert_error(answer, 413, "body_too_large")


def test_an_honest_length_is_refused_at_every_address(client: TestClient) -> None:
    for path in ("/", "/nope", "/predict"):
        answer = client.request("GET", path, content=BIG)
        error = assert_error(answer, 413, "body_too_large")
        assert f"{len(BIG):,}" in error["message"]


def test_a_small_body_in_small_pieces_passes(app: FastAPI) -> None:
    body, kind = multipart(png())
    assert status_of(drive(app, chunks(body, 7), post(content_type=kind))) == 200


def test_a_client_that_leaves_is_no_unexpected_error(
    app: FastAPI, caplog: pytest.LogCaptureFixture
) -> None:
    body, kind = multipart(png())
    sent = drive(app, chunks(body, 100)[:2], post(content_type=kind))
    assert error_of(sent)["code"] == "malformed_form"
    assert "unexpected" not in caplog.text


async def _echo(scope: Scope, receive: Receive, send: Send) -> None:
    count = 0
    while (message := await receive()).get("more_body"):
        count += len(message["body"])
    await PlainTextResponse(str(count + len(message["body"])))(scope, receive, send)


async def _swallow(scope: Scope, receive: Receive, send: Send) -> None:
    try:
        await _echo(scope, receive, send)
    except Exception:  # noqa: BLE001 - as frameworks do
        await PlainTextResponse("could not read that", 400)(scope, receive, send)


async def _answer_first(scope: Scope, receive: Receive, send: Send) -> None:
    await PlainTextResponse("early")(scope, receive, send)
    await _echo(scope, receive, send)


@pytest.mark.parametrize("size", [1, 9, 10, 1000])
def test_the_limit_itself_is_allowed(size: int) -> None:
    sent = drive(BodyLimit(_echo, lambda: 1000), chunks(b"x" * 1000, size))
    assert (status_of(sent), sent[1]["body"]) == (200, b"1000")


def test_one_byte_more_is_not() -> None:
    assert status_of(drive(BodyLimit(_echo, lambda: 1000), chunks(b"x" * 1001, 7))) == 413


def test_an_application_cannot_hide_the_limit() -> None:
    assert status_of(drive(BodyLimit(_swallow, lambda: 10), chunks(b"x" * 11, 4))) == 413


def test_an_answer_under_way_is_not_overwritten() -> None:
    sent: list[Message] = []
    app = BodyLimit(_answer_first, lambda: 10)

    async def keep(scope: Scope, receive: Receive, send: Send) -> None:
        async def both(message: Message) -> None:
            sent.append(message)
            await send(message)

        await app(scope, receive, both)

    with pytest.raises(OverLimit):
        drive(keep, chunks(b"x" * 99, 4))
    assert sent[0]["status"] == 200
    assert len(sent) == 2


def test_a_flood_takes_no_memory(app: FastAPI) -> None:
    piece: Message = {"type": "http.request", "body": b"x" * 65_536, "more_body": True}
    head: Message = {**piece, "body": BIG[:200]}
    tracemalloc.start()
    try:
        assert_too_large(drive(app, [head] + [piece] * 2000, post(content_type=KIND)))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 10 * MAX_UPLOAD_BYTES


def test_a_good_upload_after_a_bad_one(client: TestClient) -> None:
    client.post("/predict", content=BIG, headers={"content-type": KIND})
    assert client.post("/predict", files=form(png())).status_code == 200
