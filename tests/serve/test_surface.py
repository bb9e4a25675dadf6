"""Request ids, the API key, CORS and the metrics, through the application."""

import re
from collections.abc import Iterator
from pathlib import Path

import anyio
import httpx2
import pytest
from fastapi.testclient import TestClient
from starlette.types import Message, Receive, Scope, Send

from serve.errors import ErrorBoundary
from serve.main import create_app
from serve.settings import Settings
from tests.serve import asgi
from tests.serve.answers import assert_error
from tests.serve.pictures import form, multipart, png
from tests.serve.test_server import PATIENCE_S, port_of, read_until, server

KEY = "k3y-of-sixteen-c"


def test_a_fitting_id_is_kept_and_any_other_replaced(client: TestClient) -> None:
    answer = client.post("/predict", files=form(png()), headers={"X-Request-ID": "a-1"})
    assert answer.json()["request_id"] == answer.headers["x-request-id"] == "a-1"
    for bad in ("", "a b", "x" * 65, "<b>"):
        given = client.get("/nope", headers={"X-Request-ID": bad})
        error = assert_error(given, 404, "not_found")
        assert re.fullmatch("[0-9a-f]{32}", error["request_id"])


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"X-API-Key": KEY[:-1]}, 401),
        ({"Authorization": f"Basic {KEY}"}, 401),
        ({"X-API-Key": KEY}, 200),
        ({"Authorization": f"Bearer {KEY}"}, 200),
    ],
)
def test_the_key_is_asked_for(model: Path, headers: dict[str, str], status: int) -> None:
    with TestClient(create_app(Settings(model=model, api_key=KEY))) as client:
        for path in ("/model", "/metrics"):
            answer = client.get(path, headers=headers)
            assert answer.status_code == status
            if status == 401:
                assert_error(answer, 401, "unauthorized")
                assert answer.headers["www-authenticate"].startswith("Bearer")
        assert client.get("/health").status_code == client.get("/").status_code == 200


def test_a_refused_key_leaves_the_body_unread(model: Path) -> None:
    body, kind = multipart(png())
    read = 0

    def messages() -> Iterator[Message]:
        nonlocal read
        for message in asgi.chunks(body, 100):
            read += 1
            yield message

    with TestClient(app := create_app(Settings(model=model, api_key=KEY))):
        for path in ("/predict", "/predict/batch", "/reload", "/made-up"):
            sent = asgi.drive(app, messages(), asgi.post(path, content_type=kind))
            assert asgi.status_of(sent) == 401
            assert asgi.error_of(sent)["code"] == "unauthorized"
        assert read == 0
        shown = asgi.post(content_type=kind, x_api_key=KEY)
        assert asgi.status_of(asgi.drive(app, messages(), shown)) == 200
        assert read > 1


def test_an_allowed_page_may_ask_first_and_then_send(model: Path) -> None:
    origin = "https://viewer.example"
    settings = Settings(model=model, cors_origins=(origin,), api_key=KEY)
    with TestClient(create_app(settings)) as client:
        asked = {
            "Origin": origin,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "x-api-key,x-request-id",
        }
        preflight = client.options("/predict", headers=asked)  # browsers send no key with it
        assert preflight.status_code == 200
        assert preflight.headers["access-control-allow-origin"] == origin
        assert "POST" in preflight.headers["access-control-allow-methods"]
        assert "x-api-key" in preflight.headers["access-control-allow-headers"].lower()
        sent = {"Origin": origin, "X-API-Key": KEY}
        answer = client.post("/predict", files=form(png()), headers=sent)
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == origin
        assert "X-Request-ID" in answer.headers["access-control-expose-headers"]
        unknown = {**asked, "Access-Control-Request-Headers": "x-made-up"}
        assert_error(client.options("/predict", headers=unknown), 400, "refused")


def test_only_set_origins_may_call(model: Path) -> None:
    origin = "https://viewer.example"
    with TestClient(create_app(Settings(model=model, cors_origins=(origin,)))) as client:
        allowed = client.get("/health", headers={"Origin": origin})
        assert allowed.headers["access-control-allow-origin"] == origin
        other = {"Origin": "https://other.example"}
        assert "access-control-allow-origin" not in client.get("/health", headers=other).headers
        asked = {**other, "Access-Control-Request-Method": "POST"}
        assert_error(client.options("/predict", headers=asked), 400, "refused")


def test_metrics_count_by_template_and_model(model: Path) -> None:
    with TestClient(create_app(Settings(model=model))) as client:
        client.post("/predict", files=form(png()))
        client.get("/made-up-address")
        answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    for line in (
        'nas_requests_total{method="POST",route="/predict",status="200"} 1.0',
        'nas_requests_total{method="GET",route="other",status="404"} 1.0',
        'nas_images_total{model="tiny"} 1.0',
    ):
        assert line in answer.text
    assert "made-up" not in answer.text


def test_an_answer_that_cannot_be_sent_is_no_unexpected_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def answers(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def broken(_scope: Scope, _receive: Receive, send: Send) -> None:
        raise ValueError("a defect")

    def refuse(app: object) -> list[Message]:
        sent: list[Message] = []

        async def send(message: Message) -> None:
            sent.append(message)
            raise RuntimeError("this connection is over")

        async def run() -> None:
            await ErrorBoundary(app)(asgi.post(), no_more, send)  # type: ignore[arg-type]

        async def no_more() -> Message:
            return {"type": "http.disconnect"}

        anyio.run(run)
        return sent

    assert len(refuse(answers)) == 1
    assert "unexpected" not in caplog.text
    with pytest.raises(RuntimeError, match="this connection is over"):
        refuse(broken)
    assert "unexpected" in caplog.text


@pytest.mark.slow
def test_two_workers_answer(model: Path) -> None:
    with server("--workers", "2", NAS_MODEL=str(model)) as (process, lines):
        try:
            port = port_of(process, lines)
            for _ in range(2):
                read_until(process, lines, "Application startup complete")
            assert len({line for line in lines if "Started server process" in line}) == 2
            for seed in range(20):  # each on a connection of its own, so either may take it
                url = f"http://127.0.0.1:{port}/predict"
                answer = httpx2.post(url, files=form(png(seed)), timeout=PATIENCE_S)
                assert answer.status_code == 200
        finally:
            process.terminate()
            process.wait(PATIENCE_S)
        assert "Traceback" not in "".join(lines)


@pytest.mark.slow
def test_a_changed_file_starts_the_server_again(model: Path, tmp_path: Path) -> None:
    file = tmp_path / "watched.py"
    file.write_text("a = 1\n")
    options = ("--reload", "--reload-dir", str(tmp_path))
    with server(*options, NAS_MODEL=str(model)) as (process, lines):
        try:
            url = f"http://127.0.0.1:{port_of(process, lines)}/health"
            read_until(process, lines, "Application startup complete")
            assert httpx2.get(url, timeout=PATIENCE_S).status_code == 200
            file.write_text("a = 2\n")
            assert read_until(process, lines, "Reloading")
            assert read_until(process, lines, "Application startup complete")
            assert httpx2.get(url, timeout=PATIENCE_S).status_code == 200
        finally:
            process.terminate()
            process.wait(PATIENCE_S)
        assert "Traceback" not in "".join(lines)
