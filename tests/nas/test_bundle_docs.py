"""docs/bundle.md: its code runs, and it speaks of every field."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nas.bundle import Bundle, Networks, limits, save, save_safetensors
from nas.bundle.values import TEMPERATURES
from nas.onnx_model import write_onnx
from nas.predictor import Predictor
from tests.nas.bundles import TINY, content_of, ensemble, stored

PAGE = (Path(__file__).parents[2] / "docs" / "bundle.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("bundle", [TINY, ensemble()], ids=["one", "three"])
def test_the_code_runs(bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save(bundle, Path("the_nas_model.pth"))
    save_safetensors(bundle, Path("the_nas_model.safetensors"))
    noise = np.random.default_rng(1).integers(0, 256, (2, 1, 16, 16), dtype=np.uint8)
    write_onnx(bundle, Path("the_nas_model.onnx"), noise)
    film = np.random.default_rng(2).integers(0, 256, (37, 29), dtype=np.uint8)
    Image.fromarray(film).save("image.png")
    ours, plain, tensors, onnx = _run(BLOCKS)

    predictor = Predictor(bundle, name="", sha256="")
    pixels = predictor.decode(Path("image.png").read_bytes())[None]
    expected = predictor.probabilities(pixels)
    np.testing.assert_allclose(ours["probabilities"], expected, rtol=0, atol=1e-5)
    np.testing.assert_allclose(ours["logits"], predictor.logits(pixels), rtol=0, atol=1e-5)
    # From pixels that the page's own two lines decode.
    assert np.array_equal(np.asarray(onnx["picture"])[None, None], pixels)
    np.testing.assert_allclose(onnx["probabilities"], expected, rtol=0, atol=1e-4)

    # What it calls a state_dict is that of the last network.
    Networks.of(bundle).networks[-1].load_state_dict(plain["state"])
    assert plain["manifest"] == tensors["manifest"]
    assert plain["tensors"].keys() == tensors["tensors"].keys()


def _run(blocks: list[str]) -> list[dict[str, Any]]:
    names: list[dict[str, Any]] = []
    for block in blocks:
        names.append({})
        exec(block, names[-1])
    return names


def test_every_field_is_in_the_table(tmp_path: Path) -> None:
    manifest = json.loads(content_of(stored(ensemble(), tmp_path))["manifest"])
    names = {*manifest, *manifest["calibration"], *manifest["threshold"], *manifest["members"][0]}
    names |= {
        *manifest["members"][0]["preprocessing"],
        *manifest["tensors"]["member0.conv1.weight"],
    }
    table = PAGE[PAGE.index("## Every field") :]
    for name in names:
        assert re.search(rf"[`.]{name}[`.[]", table), name


def test_the_limits_are_those_of_the_code() -> None:
    assert (limits.MAX_FILE_BYTES, limits.MAX_MEMBERS) == (2 << 30, 32)
    assert (limits.MAX_PARAMETERS, limits.MAX_LAYERS) == (250_000_000, 16_384)
    assert (limits.MAX_MULTIPLY_ADDS, limits.MAX_LAYER_BYTES) == (10**12, 512 << 20)
    said = "2 GiB, 32 networks, 250 million parameters, 16,384 layers, 10¹² multiply-adds for"
    assert said in PAGE
    assert "more than 512 MiB for one image" in PAGE
    assert TEMPERATURES == (0.01, 100)
    assert "0.01 to 100" in PAGE
