"""The application as a whole: addresses, documents, imports, unexpected errors."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from nas.bundle import RESEARCH_USE
from nas.images import Pixels
from nas.predictor import Predictor
from serve.codes import STATUS, Code
from serve.errors import ErrorBoundary
from serve.main import create_app
from serve.settings import Settings
from tests.serve.answers import assert_error
from tests.serve.asgi import drive
from tests.serve.pictures import form, png


def test_about_says_what_this_is(client: TestClient) -> None:
    about = client.get("/").json()
    places = [(endpoint["method"], endpoint["path"]) for endpoint in about.pop("endpoints")]
    there = client.app.openapi()["paths"]  # type: ignore[attr-defined]
    assert set(places) == {(method.upper(), path) for path in there for method in there[path]}
    assert about.pop("service")
    assert about == {
        "model": "tiny",
        "models": ["tiny"],
        "synthetic": False,
        "warning": None,
        "disclaimer": RESEARCH_USE,
    }


def test_health_names_the_model(client: TestClient, predictor: Predictor) -> None:
    health = client.get("/health")
    assert health.status_code == 200
    assert health.json() == {
        "status": "ready",
        "model": {
            "name": "tiny",
            "version": None,
            "sha256": predictor.sha256,
            "genome_key": predictor.bundle.genome_key,
            "threshold": 0.5,
            "synthetic": False,
        },
    }


@pytest.mark.parametrize("path", ["/nope", "/predict/", "/health/../etc", "/%00"])
def test_an_unknown_address(client: TestClient, path: str) -> None:
    assert_error(client.post(path), 404, "not_found")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [("GET", "/predict", "POST"), ("DELETE", "/", "GET"), ("PUT", "/health", "GET")],
)
def test_a_method_that_is_not_allowed(
    client: TestClient, method: str, path: str, allowed: str
) -> None:
    answer = client.request(method, path)
    error = assert_error(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == allowed
    assert method in error["message"]
    assert allowed in error["remedy"]


def test_openapi_documents_every_answer() -> None:
    app = create_app()
    schema = app.openapi()
    json.dumps(schema)
    predict = schema["paths"]["/predict"]["post"]
    statuses = {200, 400, 401, 404, 408, 413, 415, 422, 500, 503, 504}
    assert set(predict["responses"]) == set(map(str, statuses))
    for status, answer in predict["responses"].items():
        reference = answer["content"]["application/json"]["schema"]["$ref"]
        wanted = "PredictionAnswer" if status == "200" else "ErrorAnswer"
        assert reference == f"#/components/schemas/{wanted}"
    assert "`empty_file`" in predict["responses"]["422"]["description"]
    file = predict["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"]["file"]
    assert file["format"] == "binary"
    for name in ("PredictionAnswer", "Health", "About", "ErrorAnswer", "ModelInfo"):
        assert schema["components"]["schemas"][name]["examples"]
        assert schema["components"]["schemas"][name]["additionalProperties"] is False


def test_every_code_has_a_status() -> None:
    assert set(STATUS) == set(Code)


def with_extra_routes(model: Path) -> FastAPI:
    app = create_app(Settings(model=model))

    @app.get("/number")
    def number(value: int) -> int:
        return value

    @app.get("/teapot")
    def teapot() -> None:
        raise HTTPException(418, "short and stout", {"X-Spout": "yes"})

    return app


def test_validation_errors_have_the_shape_and_repeat_nothing(model: Path) -> None:
    with TestClient(with_extra_routes(model)) as client:
        answer = client.get("/number", params={"value": "DOE_JOHN"})
    error = assert_error(answer, 422, "invalid_request")
    assert "query.value" in error["message"]
    assert "DOE_JOHN" not in answer.text


def test_other_refusals_keep_status_and_headers(model: Path) -> None:
    with TestClient(with_extra_routes(model)) as client:
        answer = client.get("/teapot")
    assert_error(answer, 418, "refused")
    assert answer.headers["x-spout"] == "yes"


SECRET = "DOE_" + "JOHN"
"""Put together, so that the lines of source in a traceback do not hold it."""


def test_unexpected_errors_are_logged_with_places_but_without_text(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def predict(self: Predictor, images: Pixels) -> None:
        try:
            raise KeyError(SECRET)
        except KeyError as error:
            raise RuntimeError(SECRET) from error

    monkeypatch.setattr(Predictor, "predict_pixels", predict)
    answer = client.post("/predict", files=form(png()))
    assert_error(answer, 500, "internal_error")
    assert "RuntimeError" not in answer.text
    assert SECRET not in answer.text + caplog.text
    for part in ("Traceback", "batcher.py", "builtins.RuntimeError", "builtins.KeyError"):
        assert part in caplog.text


def test_an_answer_that_breaks_off_is_not_followed_by_another(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise ValueError(SECRET)

    with pytest.raises(RuntimeError, match="broke off") as caught:
        drive(ErrorBoundary(broken), [])
    assert caught.value.__suppress_context__
    assert SECRET not in caplog.text


def test_a_wrong_setting_ends_the_start_with_its_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAS_MAX_UPLOAD_BYTES", "much")
    sent = drive(create_app(), [{"type": "lifespan.startup"}], {"type": "lifespan"})
    assert [message["type"] for message in sent] == ["lifespan.startup.failed"]
    assert sent[0]["message"].startswith("NAS_MAX_UPLOAD_BYTES must be")
    assert "\n" not in sent[0]["message"]


def test_any_other_error_ends_the_start_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serve.service.load", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError), TestClient(create_app(Settings())):
        pass


def test_importing_loads_no_search_library_and_reads_no_settings() -> None:
    program = (
        "import sys, serve.main\n"
        "heavy = {'optuna', 'pandas', 'sklearn', 'torchvision', 'nas.search'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    environment = {**os.environ, "NAS_MAX_UPLOAD_BYTES": "nonsense", "NAS_MODEL": "/nowhere"}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        env=environment,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
