"""What a good image gets, and what a bad one."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from nas.bundle import RESEARCH_USE
from nas.images import Pixels
from nas.predictor import Prediction, Predictor
from tests.serve.answers import assert_error
from tests.serve.pictures import animated, array, encoded, form, multipart, photo, png

GRAY = array()
GOOD = {
    "png": png(),
    "png 16 bit": encoded(Image.fromarray(GRAY.astype(np.uint16) * 257), "PNG"),
    "png with alpha": encoded(Image.fromarray(np.stack([GRAY] * 3 + [GRAY.T], 2)), "PNG"),
    "rgb jpeg": encoded(Image.fromarray(np.stack([GRAY] * 3, 2)), "JPEG"),
    "bmp": encoded(Image.fromarray(GRAY), "BMP"),
    "tiff": encoded(Image.fromarray(GRAY), "TIFF"),
}
JPEG = encoded(Image.fromarray(array(side=120)), "JPEG")


def test_the_whole_answer(client: TestClient, predictor: Predictor) -> None:
    answer = client.post("/predict", files=form(png()))
    wanted = predictor.predict([png()])[0]
    assert answer.status_code == 200
    assert answer.json() == {
        "prediction": wanted.label,
        "confidence": wanted.confidence,
        "probabilities": wanted.probabilities,
        "model": {
            "name": "tiny",
            "version": None,
            "sha256": predictor.sha256,
            "genome_key": predictor.bundle.genome_key,
            "threshold": 0.5,
            "synthetic": False,
        },
        "threshold": 0.5,
        "uncertain": abs(wanted.probabilities["PNEUMONIA"] - 0.5) <= 0.1,
        "warnings": [],
        "warning": None,
        "explanation": None,
        "request_id": answer.headers["x-request-id"],
        "disclaimer": RESEARCH_USE,
    }


@pytest.mark.parametrize("kind", GOOD)
@pytest.mark.parametrize("name", ["x.png", "../../x.png", "x.txt", "ünï\u202e.png", "a" * 200])
def test_the_answer_is_the_predictor_s_whatever_the_name(
    client: TestClient, predictor: Predictor, kind: str, name: str
) -> None:
    answer = client.post("/predict", files=form(GOOD[kind], name)).json()
    wanted = predictor.predict([GOOD[kind]])[0]
    assert answer["probabilities"] == wanted.probabilities
    assert answer["prediction"] == wanted.label


def test_doubts_are_in_the_answer(client: TestClient) -> None:
    answer = client.post("/predict", files=form(photo())).json()
    assert [text.partition(",")[0] for text in answer["warnings"]] == ["the picture is in colour"]
    files = [("files", ("a.png", photo())), ("files", ("b.png", png()))]
    found = client.post("/predict/batch", files=files).json()["results"]
    assert [len(one["answer"]["warnings"]) for one in found] == [1, 0]


def test_sixteen_bits_give_the_answer_of_eight(client: TestClient) -> None:
    answers = [client.post("/predict", files=form(GOOD[k])).json() for k in ("png", "png 16 bit")]
    assert answers[0]["probabilities"] == answers[1]["probabilities"]


def test_many_at_once_get_the_same_as_alone(client: TestClient, predictor: Predictor) -> None:
    images = [png(seed) for seed in range(24)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda d: client.post("/predict", files=form(d)), images))
    for image, answer in zip(images, answers, strict=True):
        # Those that share a pass are added up in another order.
        alone = predictor.predict([image])[0].probabilities
        assert answer.json()["probabilities"] == pytest.approx(alone, abs=1e-6)


def test_predicting_leaves_the_event_loop_free(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def predict(self: Predictor, images: Pixels) -> list[Prediction]:
        # Were this on the event loop, the inner request could never be answered.
        assert client.get("/health").status_code == 200
        return [Prediction("NORMAL", 1.0, {"NORMAL": 1.0, "PNEUMONIA": 0.0})]

    monkeypatch.setattr(Predictor, "predict_pixels", predict)
    assert client.post("/predict", files=form(png())).json()["confidence"] == 1.0


@pytest.mark.parametrize(
    "data",
    [b"hello", b"<svg/>", animated("GIF"), encoded(Image.fromarray(GRAY), "WEBP"), b"\0" * 99],
)
def test_other_content_is_unsupported(client: TestClient, data: bytes) -> None:
    error = assert_error(client.post("/predict", files=form(data)), 415, "unsupported_image")
    assert error["message"].startswith("an image must be one of JPEG, PNG")
    assert error["remedy"] == "convert it to one of these"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (JPEG[: len(JPEG) // 2], "whole and readable"),
        (png()[:-200], "whole and readable"),
        (animated("PNG"), "one frame"),
        (encoded(Image.new("1", (9000, 8000)), "PNG"), "at most 40,000,000 pixels"),
        (encoded(Image.new("1", (40_000, 6_000)), "PNG"), "at most 40,000,000 pixels"),
        (encoded(Image.fromarray(GRAY.astype(np.float32)), "TIFF"), "8 or 16 bits"),
    ],
    ids=["truncated jpeg", "truncated png", "animated png", "large", "bomb", "float tiff"],
)
def test_an_image_that_cannot_be_used(client: TestClient, data: bytes, reason: str) -> None:
    error = assert_error(client.post("/predict", files=form(data)), 422, "unusable_image")
    assert reason in error["message"]


def test_an_empty_file(client: TestClient) -> None:
    assert_error(client.post("/predict", files=form(b"")), 422, "empty_file")


@pytest.mark.parametrize(
    ("request_", "found"),
    [
        ({}, "none"),
        ({"json": {"file": "x"}}, "none"),
        ({"content": png(), "headers": {"content-type": "image/png"}}, "none"),
        ({"data": {"file": "image.png"}}, "none"),
        ({"files": {"file": (None, "image.png")}}, "text in the field 'file'"),
        ({"files": {"image": ("image.png", png())}}, "a file in another field"),
        ({"files": form(png()), "data": {"more": "1"}}, "2 fields"),
    ],
)
def test_a_form_without_exactly_one_file(
    client: TestClient, request_: dict[str, Any], found: str
) -> None:
    error = assert_error(client.post("/predict", **request_), 422, "missing_file")
    assert error["message"].endswith(f"has {found}")
    assert "-F file=@" in error["remedy"]


BODY, TYPE = multipart(png())
MANY = b"".join(
    f'--frontier\r\nContent-Disposition: form-data; name="f{i}"{{}}\r\n\r\nx\r\n'.encode()
    for i in range(1500)
)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (BODY, "multipart/form-data"),
        (BODY, "multipart/form-data; boundary=other"),
        (BODY, f"multipart/form-data; boundary={'b' * 500}"),
        (BODY, TYPE + "; charset=undefined"),
        (BODY[:-30], TYPE),
        (b"", TYPE),
        (b"garbage", TYPE),
        (MANY.replace(b"{}", b"") + b"--frontier--", TYPE),
        (MANY.replace(b"{}", b'; filename="x"') + b"--frontier--", TYPE),
        (BODY.replace(b'name="file"; filename="image.png"', b"x"), TYPE),
        (BODY.replace(b'; filename="image.png"', b"").replace(png(), b"x" * 100_000), TYPE),
        (BODY.replace(b"Content-D", b"X: " + b"y" * 90_000 + b"\r\nContent-D"), TYPE),
    ],
    ids=[
        *(
            "no boundary",
            "other boundary",
            "long boundary",
            "odd charset",
            "cut off",
            "empty",
            "garbage",
        ),
        *("many fields", "many files", "nameless part", "large text", "large header"),
    ],
)
def test_a_malformed_form(client: TestClient, body: bytes, kind: str) -> None:
    answer = client.post("/predict", content=body, headers={"content-type": kind})
    assert_error(answer, 400, "malformed_form")


def test_logs_hold_nothing_of_what_was_sent(
    client: TestClient, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(0)
    client.post("/predict", files=form(png(), "DOE_JOHN_1970.png"))
    client.post("/predict", files=form(b"DOE_JOHN_1970", "DOE_JOHN_1970.png"))
    client.post("/predict", files={"DOE_JOHN_1970": ("x", png())})
    client.post("/predict", content=b"DOE_JOHN_1970", headers={"content-type": TYPE})
    output = capfd.readouterr()
    assert "DOE_JOHN" not in caplog.text + output.out + output.err
    assert not [r for r in caplog.records if r.name.startswith(("PIL", "python_multipart"))]
