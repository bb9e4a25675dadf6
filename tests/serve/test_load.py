"""More than one request: places, deadlines, several images, several models, new exports."""

import asyncio
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi.testclient import TestClient

from nas.images import Pixels
from nas.predictor import Prediction, Predictor
from serve.codes import Code
from serve.errors import ApiError
from serve.gate import Gate
from serve.main import create_app
from serve.service import Service, watch
from serve.settings import Settings
from tests.serve.answers import assert_error
from tests.serve.asgi import chunks, drive, error_of, post, status_of
from tests.serve.conftest import write_bundle
from tests.serve.pictures import form, multipart, png

PATIENCE_S = 30
KEY = "a-key-of-24-characters-x"


def several(*files: bytes) -> list[tuple[str, tuple[str, bytes]]]:
    return [("files", (f"{i}.png", data)) for i, data in enumerate(files)]


def service_of(client: TestClient) -> Service:
    service: Service = client.app.state.service  # type: ignore[attr-defined]
    return service


@contextmanager
def served(model: Path, **options: Any) -> Iterator[TestClient]:
    with TestClient(create_app(Settings(model=model, **options))) as client:
        yield client


class Held:
    """Predictions wait until they are let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun, self.go = threading.Event(), threading.Event()
        whole = Predictor.predict_pixels

        def predict(model: Predictor, images: Pixels) -> list[Prediction]:
            self.begun.set()
            assert self.go.wait(PATIENCE_S)
            return whole(model, images)

        monkeypatch.setattr(Predictor, "predict_pixels", predict)


def test_a_gate_admits_exactly_its_bound_whatever_happens_within() -> None:
    gate = Gate(3)
    with gate.admitted(2):
        with gate.admitted():
            assert len(gate) == 3
            for images in (1, 2):
                with pytest.raises(ApiError) as refused, gate.admitted(images):
                    pass
                assert refused.value.code == Code.OVERLOADED
                assert refused.value.headers == {"Retry-After": "1"}
            with pytest.raises(ApiError):
                gate.look()
        with pytest.raises(ZeroDivisionError), gate.admitted():
            _ = 1 / 0
        gate.look()
        assert len(gate) == 2
    assert len(gate) == 0
    with pytest.raises(ApiError), gate.admitted(4):
        pass


def test_the_queue_refuses_exactly_at_its_bound(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, bound = Held(monkeypatch), 4
    with served(model, queue=bound) as client, ThreadPoolExecutor(bound) as pool:

        def ask() -> httpx2.Response:
            return client.post("/predict", files=form(png()))

        waiting = [pool.submit(ask)]
        assert held.begun.wait(PATIENCE_S)
        gate = service_of(client).gate
        with gate.admitted(bound - 1):
            assert len(gate) == bound
            for answer in (ask(), client.post("/predict/batch", files=several(png()))):
                error = assert_error(answer, 503, "overloaded")
                assert f"at most {bound} images" in error["message"]
                assert int(answer.headers["retry-after"]) >= 1
        # One place is taken, so three images find theirs and four do not.
        waiting.append(pool.submit(client.post, "/predict/batch", files=several(*[png()] * 4)))
        assert_error(waiting[-1].result(PATIENCE_S), 503, "overloaded")
        waiting[-1] = pool.submit(client.post, "/predict/batch", files=several(*[png()] * 3))
        held.go.set()
        assert [future.result(PATIENCE_S).status_code for future in waiting] == [200, 200]
        assert len(gate) == 0
        assert "nas_refused_total 6.0" in client.get("/metrics").text
        assert "nas_queue_depth 0.0" in client.get("/metrics").text


def test_a_deadline_is_kept_and_gives_the_place_back(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held(monkeypatch)
    with served(model, deadline_s=0.2, queue=2) as client:
        for path, files in (("/predict", form(png())), ("/predict/batch", several(png()))):
            answer = client.post(path, files=files)
            assert "0.2 s" in assert_error(answer, 504, "deadline")["message"]
        assert len(service_of(client).gate) == 0
        held.go.set()
    # A server that ends has no thread left that waits.
    assert not any(thread.name == "networks" for thread in threading.enumerate())


def test_an_upload_that_does_not_arrive_ends(model: Path) -> None:
    body, kind = multipart(png())
    with served(model, deadline_s=0.1) as client:
        app: Any = client.app

        async def run() -> list[Any]:
            first, sent = iter(chunks(body, len(body) // 2)), []

            async def receive() -> Any:
                if (message := next(first, None)) and message["more_body"]:
                    return message
                return await asyncio.get_running_loop().create_future()

            async def send(message: Any) -> None:
                sent.append(message)

            await asyncio.wait_for(app(post(content_type=kind), receive, send), PATIENCE_S)
            return sent

        sent = asyncio.run(run())
        assert status_of(sent) == 408
        assert error_of(sent)["code"] == "upload_timeout"
        assert len(service_of(client).gate) == 0


def test_a_refused_body_is_read_so_that_the_answer_arrives(model: Path) -> None:
    body, kind = multipart(png())
    with served(model, queue=1) as client:
        left = iter(chunks(body, 50))
        with service_of(client).gate.admitted():
            sent = drive(client.app, left, post(content_type=kind))
        assert status_of(sent) == 503
        assert next(left, None) is None


def test_several_images_have_each_its_own_answer(client: TestClient, predictor: Predictor) -> None:
    images = [png(1), b"no image", png(2), b""]
    answer = client.post("/predict/batch", files=several(*images))
    assert answer.status_code == 200
    results = answer.json()["results"]
    assert [result["index"] for result in results] == [0, 1, 2, 3]
    codes = [result["error"] and result["error"]["code"] for result in results]
    assert codes == [None, "unsupported_image", None, "empty_file"]
    for index in (0, 2):
        wanted = predictor.predict([images[index]])[0]
        found = results[index]["answer"]
        assert found["prediction"] == wanted.label
        assert found["probabilities"] == pytest.approx(wanted.probabilities, abs=1e-6)
        assert found["request_id"] == answer.headers["x-request-id"]
    assert results[1]["answer"] is None


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ([], "none"),
        ([("file", ("a.png", png()))], "a file in another field"),
        ([("files", ("a.png", png())), ("file", ("b.png", png()))], "2 fields"),
    ],
)
def test_a_batch_that_is_none(client: TestClient, files: Any, found: str) -> None:
    error = assert_error(client.post("/predict/batch", files=files), 422, "missing_file")
    assert "1 to 32 files, in the field 'files'" in error["message"]
    assert found in error["message"]
    assert "/predict/batch" in error["remedy"]


def test_more_files_than_allowed(model: Path) -> None:
    with served(model, batch_files=2) as client:
        assert client.post("/predict/batch", files=several(png(), png())).status_code == 200
        answer = client.post("/predict/batch", files=several(png(), png(), png()))
    assert_error(answer, 400, "malformed_form")


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    folder = tmp_path / "run" / "export"
    write_bundle(folder / "the_nas_model.pth", seed=1)
    write_bundle(folder / "baseline.pth", seed=2)
    (folder / "broken.pth").write_bytes(b"no bundle")
    (folder / "the_nas_model.safetensors").write_bytes(b"another kind of file")
    return tmp_path


def test_models_of_one_export_are_chosen_by_name(exported: Path) -> None:
    image = form(png())
    with TestClient(create_app(Settings(runs=exported))) as client:
        assert client.get("/").json()["models"] == ["the_nas_model", "baseline"]
        for name, query in (
            ("the_nas_model", {}),
            ("the_nas_model", {"model": "the_nas_model"}),
            ("baseline", {"model": "baseline"}),
        ):
            wanted = Predictor.load(exported / "run" / "export" / f"{name}.pth")
            answer = client.post("/predict", files=image, params=query).json()
            assert answer["model"]["name"] == name
            assert answer["probabilities"] == wanted.predict([png()])[0].probabilities
            assert client.get("/model", params=query).json()["sha256"] == wanted.sha256
            batch = client.post("/predict/batch", files=several(png()), params=query).json()
            assert batch["model"]["sha256"] == wanted.sha256
        for answer in (
            client.post("/predict", files=image, params={"model": "broken"}),
            client.get("/model", params={"model": "../run"}),
        ):
            error = assert_error(answer, 404, "model_unknown")
            assert "the_nas_model, baseline" in error["message"]


def test_files_beside_a_model_that_is_not_in_an_export_are_left_alone(tmp_path: Path) -> None:
    first = write_bundle(tmp_path / "one.pth")
    write_bundle(tmp_path / "two.pth")
    with served(first) as client:
        assert client.get("/").json()["models"] == ["one"]


def replace(exported: Path, *, seed: int | None, age: int = 0) -> None:
    path = exported / "run" / "export" / "the_nas_model.pth"
    path.unlink()
    if seed is None:
        path.write_bytes(b"broken")
    else:
        write_bundle(path, seed=seed)
    os.utime(path, (2_000_000_000 + age, 2_000_000_000 + age))


def test_a_new_export_is_taken_over_and_a_broken_one_is_not(
    exported: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with TestClient(create_app(Settings(runs=exported, watch_s=0))) as client:
        service = service_of(client)
        before = client.get("/health").json()["model"]["sha256"]
        assert service.refresh() is False
        replace(exported, seed=7)
        assert service.refresh() is True
        after = client.get("/health").json()["model"]["sha256"]
        assert after != before
        replace(exported, seed=None)
        assert service.refresh() is False
        assert "the models loaded before stay" in caplog.text
        caplog.clear()
        assert service.refresh() is False  # said once
        assert caplog.text == ""
        assert client.get("/health").json()["model"]["sha256"] == after
        assert f'sha256="{after}"' in client.get("/metrics").text
        assert before not in client.get("/metrics").text


def test_the_first_export_of_all_is_taken_over_too(tmp_path: Path) -> None:
    with TestClient(create_app(Settings(runs=tmp_path, watch_s=0.01))) as client:
        assert client.get("/health/ready").status_code == 503
        assert client.get("/health/live").json() == {"status": "live"}
        # A whole file at once, as the export writes it.
        path = write_bundle(tmp_path / "made.pth")
        (tmp_path / "run" / "export").mkdir(parents=True)
        path.rename(tmp_path / "run" / "export" / "the_nas_model.pth")
        for _ in range(3000):
            if client.get("/health/ready").status_code == 200:
                break
        assert client.get("/health/ready").json()["model"]["name"] == "the_nas_model"


def test_watching_goes_on_after_an_error(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    service, calls = Service(Settings(watch_s=0.001)), []

    def refresh() -> bool:
        calls.append(1)
        if len(calls) == 1:
            raise PermissionError("not now")
        raise asyncio.CancelledError

    monkeypatch.setattr(service, "refresh", refresh)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(asyncio.wait_for(watch(service), PATIENCE_S))
    assert len(calls) == 2
    assert "it is tried again" in caplog.text


def test_a_request_keeps_the_model_that_it_began_with(
    exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        TestClient(create_app(Settings(runs=exported, watch_s=0))) as client,
        ThreadPoolExecutor(1) as pool,
    ):
        before = client.get("/health").json()["model"]["sha256"]
        held = Held(monkeypatch)
        answer = pool.submit(client.post, "/predict", files=form(png()))
        assert held.begun.wait(PATIENCE_S)
        replace(exported, seed=7)
        assert service_of(client).refresh() is True
        held.go.set()
        assert answer.result(PATIENCE_S).json()["model"]["sha256"] == before
        later = client.post("/predict", files=form(png())).json()["model"]["sha256"]
        assert later == client.get("/health").json()["model"]["sha256"] != before


def test_reload_needs_the_key(exported: Path) -> None:
    with TestClient(create_app(Settings(runs=exported))) as client:
        assert_error(client.post("/reload"), 403, "reload_needs_key")
    with TestClient(create_app(Settings(runs=exported, api_key=KEY, watch_s=0))) as client:
        assert_error(client.post("/reload"), 401, "unauthorized")
        key = {"x-api-key": KEY}
        names = [model["name"] for model in client.post("/reload", headers=key).json()["models"]]
        assert names == ["the_nas_model", "baseline"]
        replace(exported, seed=None)
        assert_error(client.post("/reload", headers=key), 409, "reload_failed")
        assert client.get("/health").status_code == 200
