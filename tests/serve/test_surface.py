"""Request ids, the API key, CORS and the metrics, through the application."""

import re
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from serve.main import create_app
from serve.settings import Settings
from tests.serve.answers import assert_error
from tests.serve.pictures import form, png

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
