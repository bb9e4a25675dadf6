import hashlib
import io
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from nas.bundle import RESEARCH_USE, Bundle, Calibration, save
from nas.errors import BundleError, ImageError
from nas.genome import ConvBlock, Genome, ImageShape, Pool
from nas.images import Pixels
from nas.network import build
from nas.predictor import AT_ONCE, Predictor
from nas.preprocessing import Preprocessing
from tests.nas.bundles import TINY, ensemble, with_tensors

SIZE = 16
GENOME = Genome((ConvBlock(6, 3, pool=Pool.MAX), ConvBlock(8, 2)), dropout=0.5)
CARD = {"data": {"synthetic": True}, "note": "for tests"}


def make(classes: int = 2, channels: int = 1, threshold: float = 0.5) -> Bundle:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        network = build(GENOME, ImageShape(channels, SIZE, SIZE), classes)
        network(torch.randn(8, channels, SIZE, SIZE))  # running statistics of its own
        with torch.no_grad():  # so that not all images get the same answer
            network.get_submodule("linear").weight.mul_(20)  # type: ignore[operator]
    names = tuple("ABCDE"[:classes])
    preprocessing = Preprocessing(SIZE, channels, (0.4,) * channels, (0.3,) * channels)
    tensors = network.state_dict()
    return Bundle.single(GENOME, names, preprocessing, tensors, threshold, card=CARD)


def predictor(classes: int = 2, channels: int = 1, threshold: float = 0.5) -> Predictor:
    return Predictor(make(classes, channels, threshold), name="test", sha256="0" * 64)


def pictures(count: int, channels: int = 1, seed: int = 0) -> Pixels:
    """Noise of very different brightness and contrast."""
    rng = np.random.default_rng(seed)
    low, high = np.sort(rng.integers(0, 256, (2, count, channels, 1, 1)), axis=0)
    noise = rng.random((count, channels, SIZE, SIZE))
    pixels: Pixels = (low + noise * (high - low)).astype(np.uint8)
    return pixels


def png(pixels: Pixels) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels[0]).save(buffer, "PNG")
    return buffer.getvalue()


TWO, FIVE = predictor(), predictor(classes=5)
BY_THRESHOLD = {threshold: predictor(threshold=threshold) for threshold in (0.2, 0.5, 0.8)}


@pytest.mark.parametrize(("classes", "channels"), [(2, 1), (2, 3), (3, 1), (5, 3)])
def test_probabilities_add_up_to_one(classes: int, channels: int) -> None:
    result = predictor(classes, channels).probabilities(pictures(20, channels))
    assert result.shape == (20, classes)
    assert result.dtype == np.float64
    assert (result >= 0).all()
    np.testing.assert_allclose(result.sum(1), 1, rtol=0, atol=1e-12)


def test_probabilities_are_those_of_the_bundles_network() -> None:
    bundle, pixels = make(), pictures(5)
    with torch.inference_mode():
        batch = (torch.from_numpy(pixels) / 255 - 0.4) / 0.3
        expected = bundle.members[0].network(2)(batch).softmax(1)
    np.testing.assert_allclose(TWO.probabilities(pixels), expected.numpy(), atol=1e-5)


@given(st.integers(0, 1000))
def test_the_threshold_decides_between_two_classes(seed: int) -> None:
    pixels = pictures(1, seed=seed)
    ((first, second),) = TWO.probabilities(pixels).tolist()
    for threshold, model in BY_THRESHOLD.items():
        (said,) = model.predict_pixels(pixels)
        assert said.label == ("B" if second >= threshold else "A")
        assert said.confidence == (second if second >= threshold else first)
        assert said.probabilities == {"A": first, "B": second}


def test_both_answers_occur() -> None:
    """Else the tests here would pass for a model that always says the same."""
    assert {said.label for said in TWO.predict_pixels(pictures(50))} == {"A", "B"}
    assert len({said.label for said in FIVE.predict_pixels(pictures(50))}) >= 3


def test_the_threshold_itself_is_positive() -> None:
    pixels = pictures(1)
    at = float(TWO.probabilities(pixels)[0, 1])
    above = float(np.nextafter(at, 1))
    assert predictor(threshold=at).predict_pixels(pixels)[0].label == "B"
    assert predictor(threshold=above).predict_pixels(pixels)[0].label == "A"


def test_of_many_classes_the_most_probable_is_predicted() -> None:
    pixels = pictures(30)
    for row, said in zip(FIVE.probabilities(pixels), FIVE.predict_pixels(pixels), strict=True):
        assert said.label == "ABCDE"[row.argmax()]
        assert said.confidence == row.max()
        assert list(said.probabilities) == list("ABCDE")
        assert list(said.probabilities.values()) == row.tolist()
    strict = predictor(classes=5, threshold=0.99).predict_pixels(pixels)
    assert strict == FIVE.predict_pixels(pixels)


@given(st.integers(2, 9), st.integers(0, 100))
def test_predictions_do_not_depend_on_the_company(count: int, seed: int) -> None:
    pixels = pictures(count, seed=seed)
    together = FIVE.probabilities(pixels)
    alone = np.concatenate([FIVE.probabilities(pixels[i : i + 1]) for i in range(count)])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    np.testing.assert_allclose(FIVE.probabilities(pixels[::-1].copy())[::-1], together, atol=1e-5)


def test_threads_may_share_a_predictor() -> None:
    batches = [pictures(4, seed=seed) for seed in range(40)]
    expected = [FIVE.probabilities(batch) for batch in batches]
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(FIVE.probabilities, batches))
    for result, wanted in zip(results, expected, strict=True):
        np.testing.assert_allclose(result, wanted, atol=1e-6)


def test_predicting_changes_nothing() -> None:
    mine = predictor()
    before = {name: tensor.clone() for name, tensor in mine.bundle.tensors().items()}
    pixels = pictures(6)
    kept = pixels.copy()
    first = mine.probabilities(pixels)
    assert np.array_equal(mine.probabilities(pixels), first)
    assert np.array_equal(pixels, kept)
    after = mine.bundle.tensors()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_files_are_decoded_and_keep_their_order() -> None:
    pixels = pictures(6)
    said = TWO.predict([png(picture) for picture in pixels])
    wanted = TWO.predict_pixels(pixels)
    for one, other in zip(said, wanted, strict=True):
        assert one.label == other.label
        assert one.confidence == pytest.approx(other.confidence)


def test_what_was_decoded_can_be_predicted_as_it_is() -> None:
    """A decoded picture may be read-only, about which torch would warn."""
    pixels = TWO.decode(png(pictures(1)[0]))
    assert pixels.shape == (1, SIZE, SIZE)
    assert TWO.predict_pixels(pixels[None]) == TWO.predict([png(pictures(1)[0])])


def test_a_file_that_is_no_image_is_an_image_error() -> None:
    with pytest.raises(ImageError):
        TWO.predict([png(pictures(1)[0]), b"text"])


def test_describe_is_plain_json() -> None:
    described = TWO.describe()
    assert json.loads(json.dumps(described, allow_nan=False)) == described
    assert described == {
        "name": "test",
        "sha256": "0" * 64,
        "classes": ["A", "B"],
        "genome_key": GENOME.key,
        "members": [
            {
                "genome": GENOME.to_json(),
                "genome_key": GENOME.key,
                "preprocessing": TWO.bundle.preprocessing.to_json(),
            }
        ],
        "combination": "mean of softmax(logits / temperature)",
        "parameters": GENOME.parameters(ImageShape(1, SIZE, SIZE), 2),
        "multiply_adds": GENOME.multiply_adds(ImageShape(1, SIZE, SIZE), 2),
        "calibration": {
            "temperature": 1.0,
            "method": "none",
            "n": 0,
            "nll_before": None,
            "nll_after": None,
        },
        "threshold": 0.5,
        "threshold_policy": "0.5, not tuned",
        "synthetic": True,
        "card": CARD,
        "intended_use": RESEARCH_USE,
    }
    assert described["intended_use"] == (
        "Research use only. Not a medical device. Not for diagnosis."
    )


@pytest.mark.parametrize(
    ("card", "synthetic"),
    [({}, False), ({"data": {}}, False), ({"data": {"synthetic": False}}, False), (CARD, True)],
)
def test_synthetic_is_what_the_card_says(card: dict[str, object], synthetic: bool) -> None:
    bundle = replace(make(), card=card)
    assert Predictor(bundle, name="x", sha256="").synthetic is synthetic


def test_load_names_and_hashes_the_file_that_it_read(tmp_path: Path) -> None:
    path = tmp_path / "my_model.pth"
    save(make(), path)
    loaded = Predictor.load(path)
    assert loaded.name == "my_model"
    assert loaded.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert loaded.classes == ("A", "B")
    pixels = pictures(3)
    assert np.array_equal(loaded.probabilities(pixels), TWO.probabilities(pixels))


def test_load_refuses_what_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no such file"):
        Predictor.load(tmp_path / "none.pth")
    (tmp_path / "text.pth").write_text("text")
    with pytest.raises(BundleError, match="not a bundle"):
        Predictor.load(tmp_path / "text.pth")


# Several networks, and a temperature --------------------------------------------------------------


def test_probabilities_are_the_mean_of_each_networks_at_the_temperature() -> None:
    bundle, pixels = ensemble(), pictures(7)
    mine = Predictor(bundle, name="three", sha256="")
    expected = np.zeros((7, 2))
    for number, member in enumerate(bundle.members):
        how = member.preprocessing
        with torch.inference_mode():
            batch = (torch.from_numpy(pixels) / 255 - how.mean[0]) / how.std[0]
            logits = member.network(2)(batch).double()
        np.testing.assert_allclose(mine.logits(pixels)[number], logits.numpy(), atol=1e-5)
        expected += (logits / bundle.calibration.temperature).softmax(1).numpy() / 3
    np.testing.assert_allclose(mine.probabilities(pixels), expected, atol=1e-6)
    np.testing.assert_allclose(expected.sum(1), 1)
    # The networks differ, so the mean is not simply one of them.
    assert np.ptp(mine.logits(pixels), axis=0).min() > 1e-3


@given(st.floats(0.05, 20))
@settings(max_examples=20)
def test_a_temperature_changes_how_sure_one_network_is_and_not_the_order(value: float) -> None:
    bundle, pixels = make(), pictures(20)
    cooled = replace(bundle, calibration=Calibration(value, "for tests"))
    one, other = TWO, Predictor(cooled, name="x", sha256="")
    assert np.array_equal(one.logits(pixels), other.logits(pixels))
    before, after = (model.probabilities(pixels)[:, 1] for model in (one, other))
    assert (np.abs(after - 0.5) <= np.abs(before - 0.5) + 1e-9).all() == (value >= 1)
    assert ((after >= 0.5) == (before >= 0.5)).all()


def test_more_images_than_fit_into_one_pass_keep_their_order() -> None:
    pixels = pictures(2 * AT_ONCE + 3)
    together = TWO.probabilities(pixels)
    assert together.shape == (2 * AT_ONCE + 3, 2)
    np.testing.assert_allclose(together[-3:], TWO.probabilities(pixels[-3:]), atol=1e-6)
    assert TWO.probabilities(pixels[:0]).shape == (0, 2)


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((2, 1, SIZE, SIZE), dtype=np.float32),
        np.zeros((2, 3, SIZE, SIZE), dtype=np.uint8),
        np.zeros((2, 1, SIZE, SIZE + 1), dtype=np.uint8),
        np.zeros((1, SIZE, SIZE), dtype=np.uint8),
    ],
)
def test_pixels_of_another_kind_are_refused(images: np.ndarray[Any, Any]) -> None:
    with pytest.raises(ImageError, match=r"must be uint8 of shape \(N, 1, 16, 16\), but are"):
        TWO.probabilities(images)


def test_describe_tells_every_network_and_the_calibration() -> None:
    described = Predictor(ensemble(), name="three", sha256="").describe()
    assert json.loads(json.dumps(described, allow_nan=False)) == described
    assert described["calibration"]["temperature"] == 1.25
    assert [m["preprocessing"]["mean"] for m in described["members"]] == [[0.5], [0.46], [0.52]]


def test_a_model_whose_answer_is_not_finite_is_not_loaded(tmp_path: Path) -> None:
    """Finite weights may still overflow."""
    tensors = {name: tensor.clone() for name, tensor in make().members[0].tensors.items()}
    tensors["linear.weight"].fill_(3e38)
    save(with_tensors(make(), tensors), tmp_path / "loud.pth")
    with pytest.raises(BundleError, match="probabilities must be finite"):
        Predictor.load(tmp_path / "loud.pth")


def test_more_images_than_one_pass_takes_are_answered_in_their_order() -> None:
    images = np.random.default_rng(0).integers(0, 256, (70, 1, 16, 16), dtype=np.uint8)
    model = Predictor(TINY, name="", sha256="")
    alone = np.concatenate([model.probabilities(one[None]) for one in images])
    assert model.probabilities(images) == pytest.approx(alone, abs=1e-6)
