"""DICOM over HTTP, where the extra is installed."""

import logging

import numpy as np
import pytest
from fastapi.testclient import TestClient

from nas.predictor import Predictor
from tests.serve.answers import assert_error
from tests.serve.pictures import array, form, png

pytest.importorskip("pydicom", reason="pydicom is not installed")

from tests.nas.dicoms import PATIENT, dicom


def test_a_dicom_gets_the_answer_of_its_picture(
    client: TestClient, predictor: Predictor, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    film = dicom(array())
    answer = client.post("/predict", files=form(film, "x.dcm"), params={"explain": True})
    assert answer.status_code == 200
    assert answer.json()["probabilities"] == predictor.predict([film])[0].probabilities
    assert answer.json()["probabilities"] == predictor.predict([png()])[0].probabilities
    assert answer.json()["explanation"]["overlay_png"]
    assert PATIENT not in caplog.text + answer.text


def test_twelve_bits_are_shown_by_their_window(client: TestClient) -> None:
    deep = array().astype(np.uint16) * 16
    film = dicom(deep, bits=12, WindowCenter=2048, WindowWidth=4096)
    assert client.post("/predict", files=form(film)).status_code == 200


def test_a_broken_dicom_is_refused_and_not_quoted(
    client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    film = dicom(array())
    answer = client.post("/predict", files=form(film[: len(film) // 2]))
    assert_error(answer, 422, "unusable_image")
    assert PATIENT not in caplog.text + answer.text
