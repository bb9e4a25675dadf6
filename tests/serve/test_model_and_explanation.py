"""What the model says of itself, and where it looked."""

import io
from base64 import b64decode

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from nas.explain import grad_cam
from nas.predictor import Predictor
from tests.serve.answers import assert_error
from tests.serve.pictures import form, png


def test_the_model_says_all_but_its_weights(client: TestClient, predictor: Predictor) -> None:
    answer = client.get("/model")
    assert answer.status_code == 200
    assert answer.json() == predictor.describe()


def test_without_a_model_it_says_why(no_model: TestClient) -> None:
    assert_error(no_model.get("/model"), 503, "model_missing")


def test_an_explanation_is_where_the_model_looked(client: TestClient, predictor: Predictor) -> None:
    answer = client.post("/predict?explain=true", files=form(png())).json()
    told = answer["explanation"]
    assert told["label"] == answer["prediction"]
    expected = grad_cam(predictor, predictor.decode(png()))
    assert told["layers"] == list(expected.layers)
    overlay = Image.open(io.BytesIO(b64decode(told["overlay_png"])))
    assert (overlay.format, overlay.mode, overlay.size) == ("PNG", "RGB", (16, 16))
    seen = np.asarray(Image.open(io.BytesIO(b64decode(told["image_png"]))))
    assert seen[..., 0] == pytest.approx(predictor.decode(png())[0], abs=1)
    heat = np.asarray(Image.open(io.BytesIO(b64decode(told["heat_png"]))))
    assert heat[..., 3] == pytest.approx(255 * expected.heat, abs=1)
    del answer["explanation"]
    plain = client.post("/predict", files=form(png())).json()
    assert plain.pop("explanation") is None
    assert plain.pop("request_id") != answer.pop("request_id")
    assert answer == plain


@pytest.mark.parametrize("value", ["perhaps", "2", ""])
def test_an_odd_wish_is_refused_in_the_one_shape(client: TestClient, value: str) -> None:
    answer = client.post(f"/predict?explain={value}", files=form(png()))
    assert_error(answer, 422, "invalid_request")
