"""Which model is served, and what is said when there is none."""

import json
import logging
import os
from pathlib import Path

import pytest
import torch
from fastapi.testclient import TestClient

from nas.bundle import RESEARCH_USE, load
from nas.predictor import Predictor
from serve.main import create_app
from serve.models import newest_export
from serve.settings import Settings
from tests.serve.conftest import write_bundle
from tests.serve.pictures import form, png


def export(runs: Path, run: str, age: int, seed: int = 0) -> Path:
    path = write_bundle(runs / run / "export" / "the_nas_model.pth", seed=seed)
    os.utime(path, (1_000_000 - age, 1_000_000 - age))
    return path


def served(client: TestClient) -> str:
    answer = client.get("/health")
    assert answer.status_code == 200
    return str(answer.json()["model"]["sha256"])


def test_the_newest_export_is_served(tmp_path: Path) -> None:
    export(tmp_path, "z-last-by-name", age=100, seed=1)
    newest = export(tmp_path, "a-first-by-name", age=5, seed=2)
    export(tmp_path, "m", age=50, seed=3)
    with TestClient(create_app(Settings(runs=tmp_path))) as client:
        assert served(client) == Predictor.load(newest).sha256


def test_dangling_links_and_other_files_are_passed_over(tmp_path: Path) -> None:
    only = export(tmp_path, "good", age=9)
    (tmp_path / "link" / "export").mkdir(parents=True)
    (tmp_path / "link" / "export" / "the_nas_model.pth").symlink_to(tmp_path / "gone")
    (tmp_path / "README.md").touch()
    assert newest_export(tmp_path) == only


def test_no_runs_folder_has_no_export(tmp_path: Path) -> None:
    assert newest_export(tmp_path / "nowhere") is None


def test_environment_is_read_when_the_server_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = create_app()
    export(tmp_path, "newer", age=0, seed=1)
    named = export(tmp_path, "older", age=99, seed=2)
    monkeypatch.setenv("NAS_RUNS", str(tmp_path))
    monkeypatch.setenv("NAS_MODEL", str(named))
    with TestClient(app) as client:
        assert served(client) == Predictor.load(named).sha256


def test_runs_of_the_working_directory_are_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    newest = export(tmp_path / "runs", "one", age=0)
    monkeypatch.chdir(tmp_path)
    for name in ("NAS_RUNS", "NAS_MODEL", "NAS_MAX_UPLOAD_BYTES"):
        monkeypatch.delenv(name, raising=False)
    with TestClient(create_app()) as client:
        assert served(client) == Predictor.load(newest).sha256


def assert_unready(client: TestClient, code: str) -> str:
    answers = [client.get("/health"), client.post("/predict", files=form(png()))]
    assert [answer.status_code for answer in answers] == [503, 503]
    error = answers[0].json()["error"]
    other = answers[1].json()["error"]
    assert other.pop("request_id") != error.pop("request_id")
    assert other == error
    assert error["code"] == code
    assert "python -m nas.search --trials 50" in error["remedy"]
    assert "python -m nas.export best" in error["remedy"]
    about = client.get("/")
    assert about.status_code == 200
    assert [about.json()[name] for name in ("model", "synthetic", "warning")] == [None] * 3
    return str(error["message"])


def test_without_a_model_the_server_starts_and_says_what_to_run(no_model: TestClient) -> None:
    assert_unready(no_model, "model_missing")


def test_before_the_start_it_is_loading(model: Path) -> None:
    client = TestClient(create_app(Settings(model=model)))  # not entered: no lifespan
    assert_unready(client, "model_loading")


def test_a_named_model_that_is_not_there(tmp_path: Path) -> None:
    with TestClient(create_app(Settings(model=tmp_path / "gone.pth"))) as client:
        assert "gone.pth: no such file" in assert_unready(client, "model_missing")


@pytest.mark.parametrize("damage", ["text", "empty", "half", "flipped", "folder", "card"])
def test_a_broken_model_keeps_the_server_up(
    damage: str, model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "broken.pth"
    whole = model.read_bytes()
    weights = load(model).tensors()["member0.conv2.weight"].numpy().tobytes()
    assert weights in whole
    contents = {
        "text": b"hello",
        "empty": b"",
        "half": whole[: len(whole) // 2],
        "flipped": whole.replace(weights, weights[::-1]),
    }
    if damage == "folder":
        path.mkdir()
    elif damage == "card":
        content = torch.load(model, weights_only=True)
        manifest = json.loads(content["manifest"]) | {"card": {"data": "not an object"}}
        torch.save(content | {"manifest": json.dumps(manifest)}, path)
    else:
        path.write_bytes(contents[damage])
    with TestClient(create_app(Settings(model=path))) as client:
        message = assert_unready(client, "model_broken")
    assert str(tmp_path) not in message  # the network learns the file's name, the log its place
    assert str(path) in caplog.text


def test_start_logs_model_and_intended_use(model: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with TestClient(create_app(Settings(model=model))) as client:
        assert served(client) in caplog.text
    assert str(model) in caplog.text
    assert "synthetic training data: no" in caplog.text
    assert RESEARCH_USE in caplog.text


def test_a_synthetic_model_warns_everywhere(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_bundle(tmp_path / "demo.pth", synthetic=True)
    with TestClient(create_app(Settings(model=path))) as client:
        about = client.get("/").json()
        health = client.get("/health").json()
        answer = client.post("/predict", files=form(png())).json()
    assert (
        about["synthetic"] is health["model"]["synthetic"] is answer["model"]["synthetic"] is True
    )
    assert about["warning"] == answer["warning"]
    assert "SYNTHETIC DEMO DATA" in answer["warning"]
    assert answer["warning"] in caplog.text
