"""Bundles of every format version, as they were written by the code that had it.

The files are never written anew: a version of this program that cannot read one of them has broken
the models that people have.
"""

import json
from pathlib import Path

import numpy as np
import pytest

from nas.bundle import Calibration, load
from nas.predictor import Predictor
from tests.nas.bundles import refused
from tests.nas.test_bundle_forged import forged

GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize("name", ["version1.pth", "version2.pth", "version2.safetensors"])
def test_a_bundle_of_every_version_gives_the_probabilities_that_it_gave(name: str) -> None:
    expected = json.loads((GOLDEN / name).with_suffix(".json").read_text())
    pixels = np.array(expected["pixels"], dtype=np.uint8)
    found = Predictor.load(GOLDEN / name).probabilities(pixels)
    np.testing.assert_allclose(found, expected["probabilities"], rtol=0, atol=1e-5)
    assert np.ptp(found[:, 1]) > 0.05  # else a model that always says the same would pass


def test_what_format_1_says_is_kept() -> None:
    bundle = load(GOLDEN / "version1.pth")
    assert bundle.classes == ("NORMAL", "PNEUMONIA")
    assert (bundle.threshold, bundle.threshold_policy) == (0.375, "Youden's index, 12 images")
    assert bundle.calibration == Calibration()
    assert bundle.preprocessing.mean == (0.47,)
    assert bundle.card["data"] == {"name": "golden", "synthetic": True}
    # By this a run's manifest counts how often the test split was read for these weights.
    assert bundle.weights_sha256.startswith("12e29c1475d53545")


def test_what_format_2_says_is_kept() -> None:
    bundle = load(GOLDEN / "version2.pth")
    assert [member.preprocessing.mean for member in bundle.members] == [(0.47,), (0.49,)]
    how = "one temperature, fitted out of fold"
    assert bundle.calibration == Calibration(1.5, how, 120, 0.41, 0.375)


def test_format_1_is_trusted_no_more_than_format_2() -> None:
    data = (GOLDEN / "version1.pth").read_bytes()
    changed = forged(data, tensors=lambda t: t["conv1.weight"].add_(1))
    assert "tensor 'conv1.weight' does not match its checksum" in refused(changed)
    assert "those of the genome" in refused(forged(data, tensors=lambda t: t.pop("linear.bias")))
    assert "('genome')" in refused(forged(data, lambda entries: entries.pop("genome")))
    relabelled = forged(data, lambda entries: entries.update(version=2))
    assert "lacks or garbles an entry" in refused(relabelled)
