"""What an export writes beside the model."""

import hashlib
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from nas import export_files, onnx_model
from nas.bundle import load, save
from nas.bundle.verifying import verify
from nas.checksums import check_sums
from nas.data.cache import Form, Images
from nas.errors import BundleError
from nas.export_files import CHECKED_IMAGES, forget_files, some, write_files
from nas.images import Pixels
from tests.nas.bundles import TINY, ensemble, same

EVALUATION: dict[str, Any] = {"models": {"the_nas_model": {"n": 8, "auroc": 0.9}}}
PIXELS: Pixels = np.random.default_rng(0).integers(0, 256, (5, 1, 16, 16), dtype=np.uint8)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "export" / "the_nas_model.pth"
    save(ensemble(), path)
    (path.parent / "evaluation.json").write_text("{}\n")
    return path


def write(model: Path) -> str:
    shown = io.StringIO()
    write_files(model, EVALUATION, PIXELS, Console(file=shown, width=1000))
    return shown.getvalue()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_everything_is_there_and_listed(model: Path) -> None:
    shown = write(model)
    assert names(model.parent) == [
        "README.md",
        "SHA256SUMS",
        "evaluation.json",
        "the_nas_model.onnx",
        "the_nas_model.pth",
        "the_nas_model.safetensors",
    ]
    assert "on 5 images" in shown
    listed = (model.parent / "SHA256SUMS").read_text()
    for path in model.parent.iterdir():
        if path.name != "SHA256SUMS":
            assert f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" in listed
    assert same(load(model.with_suffix(".safetensors")), load(model))
    assert verify(model).missing == []
    card = (model.parent / "README.md").read_text()
    assert all(f"- `{name}`" in card for name in names(model.parent))


def test_without_the_packages_of_onnx_the_rest_is_written(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_files, "missing_packages", lambda: ["onnx", "onnxscript"])
    shown = write(model)
    assert "no ONNX file: it needs onnx, onnxscript, which are not installed; pip install" in shown
    assert '".[onnx]"' in shown
    assert "the_nas_model.onnx" not in names(model.parent)
    assert "the_nas_model.safetensors" in names(model.parent)
    assert "onnxruntime" not in (model.parent / "README.md").read_text()
    assert check_sums(model.parent, model.name) == []


def test_an_onnx_file_that_says_something_else_fails_loudly(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exported = onnx_model._exported
    monkeypatch.setattr(onnx_model, "_exported", lambda _: exported(TINY))
    with pytest.raises(BundleError, match="probabilities may differ from the model's"):
        write(model)
    assert "the_nas_model.onnx" not in names(model.parent)
    assert "SHA256SUMS" not in names(model.parent)


def test_what_an_earlier_export_wrote_is_forgotten(model: Path) -> None:
    write(model)
    forget_files(model)
    assert names(model.parent) == ["evaluation.json", "the_nas_model.pth"]
    forget_files(model)  # there may be none


def test_a_full_disk_gets_one_sentence(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(export_files, "save_safetensors", full)
    with pytest.raises(BundleError, match=r"but that failed \(No space left on device\); free"):
        write(model)


def images(count: int) -> Images:
    mapped = np.arange(2 * count, dtype=np.uint8)[:, None, None, None].repeat(8, 2).repeat(8, 3)
    empty = np.array([""] * count)
    rows = np.arange(count, dtype=np.int64) * 2
    labels = np.zeros(count, dtype=np.int64)
    return Images(
        Form(8, 1), mapped, rows, labels, empty, empty, empty, empty, empty, (), checksum=""
    )


def test_images_are_spread_evenly() -> None:
    few, many = images(3), images(100)
    assert some(few)[:, 0, 0, 0].tolist() == [0, 2, 4]
    taken = some(many)[:, 0, 0, 0].tolist()
    assert len(set(taken)) == CHECKED_IMAGES
    assert (taken[0], taken[-1]) == (0, 198)
    assert set(taken) <= set(many.rows.tolist())
    assert some(replace(few, rows=few.rows[:1])).shape == (1, 1, 8, 8)
