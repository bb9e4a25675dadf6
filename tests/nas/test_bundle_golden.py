"""Bundles of every format version, as they were written by the version that had it.

The files are never written anew: a version of this program that cannot read one of them has broken
the models that people have.
"""

import json
from pathlib import Path

import numpy as np
import pytest

from nas.predictor import Predictor

GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize("version", [1])
def test_a_bundle_of_every_version_gives_the_probabilities_that_it_gave(version: int) -> None:
    expected = json.loads((GOLDEN / f"version{version}.json").read_text())
    pixels = np.array(expected["pixels"], dtype=np.uint8)
    predictor = Predictor.load(GOLDEN / f"version{version}.pth")
    found = predictor.probabilities(pixels)
    np.testing.assert_allclose(found, expected["probabilities"], rtol=0, atol=1e-5)
    assert np.ptp(found[:, 1]) > 0.05  # else a model that always says the same would pass
