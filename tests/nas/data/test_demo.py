import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nas.data import demo
from nas.data.demo import CLASSES, cohort, draw, write_demo
from nas.data.phantom import SIZE
from nas.errors import DataError

FEW = {"train": 6, "test": 4}


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> int:
    """A cohort of ten patients; returns its number of pictures."""
    monkeypatch.setattr(demo, "PATIENTS", FEW)
    return len(cohort())


def files(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


@pytest.mark.parametrize("pneumonia", [False, True])
def test_a_picture_is_a_pure_function_of_its_arguments(pneumonia: bool) -> None:
    first = draw(7, 2, pneumonia)
    np.random.seed(0)  # global random state must not matter
    draw(8, 1, True)
    assert first.shape == (SIZE, SIZE)
    assert first.dtype == np.uint8
    assert np.array_equal(first, draw(7, 2, pneumonia))


def test_patients_views_and_classes_look_different() -> None:
    pictures = [draw(3, 1, False), draw(4, 1, False), draw(3, 2, False), draw(3, 1, True)]
    for i, one in enumerate(pictures):
        for other in pictures[:i]:
            assert np.mean(one != other) > 0.1


def test_every_picture_uses_the_gray_scale() -> None:
    for patient in range(40):
        picture = draw(patient, 1, patient % 2 == 0)
        assert 90 < picture.mean() < 160
        assert np.ptp(np.quantile(picture, [0.02, 0.98])) > 60


def test_the_film_knows_nothing_of_the_class() -> None:
    """The same film, noise and mean brightness with and without opacities."""
    for patient in range(20):
        ill, well = draw(patient, 1, True), draw(patient, 1, False)
        assert ill.mean() == pytest.approx(well.mean(), abs=1.5)
        # Fine differences in the air beside the chest are noise and edges only.
        corner = np.s_[:24, :24]
        roughness = [np.abs(np.diff(p[corner].astype(float), axis=1)).mean() for p in (ill, well)]
        assert roughness[0] == pytest.approx(roughness[1], rel=0.25, abs=0.3)


@pytest.mark.parametrize(("patient", "view"), [(-1, 1), (1, -1)])
def test_negative_numbers_are_refused(patient: int, view: int) -> None:
    with pytest.raises(ValueError, match="non-negative"):
        draw(patient, view, False)


def test_cohort_counts() -> None:
    pictures = cohort()
    assert len({p.path for p in pictures}) == len(pictures)
    for split, images in {"train": 1200, "test": 300}.items():
        of_split = [p for p in pictures if p.split == split]
        assert len(of_split) == images
        assert 0.55 < np.mean([p.pneumonia for p in of_split]) < 0.65
    views = {k: [p.view for p in g] for k, g in groupby(pictures, key=lambda p: p.patient)}
    assert {len(v) for v in views.values()} == {1, 2, 3, 4}
    assert all(v == list(range(1, len(v) + 1)) for v in views.values())


def test_a_patient_is_in_one_split_and_has_one_class() -> None:
    pictures = cohort()
    patients = {p.patient for p in pictures}
    assert len({(p.patient, p.split, p.pneumonia) for p in pictures}) == len(patients)


def test_path_carries_split_class_patient_and_view() -> None:
    picture = demo.Picture("train", 42, 1, False)
    assert picture.path == Path("train/NORMAL/demo0042_1.png")


def test_writes_the_cohort(tmp_path: Path, few: int) -> None:
    seen: list[tuple[int, int]] = []
    folder = write_demo(tmp_path / "new" / "demo", lambda done, total: seen.append((done, total)))
    assert folder == tmp_path / "new" / "demo"
    assert files(folder) == sorted(p.path.as_posix() for p in cohort())
    assert seen == [(i, few) for i in range(1, few + 1)]
    assert {p.name for p in folder.iterdir()} == {"train", "test"}
    for split in FEW:
        assert {p.name for p in (folder / split).iterdir()} == set(CLASSES)
    picture = cohort()[0]
    with Image.open(folder / picture.path) as image:
        assert image.mode == "L"
        expected = draw(picture.patient, picture.view, picture.pneumonia)
        assert np.array_equal(np.asarray(image), expected)


def test_second_call_does_nothing(tmp_path: Path, few: int) -> None:
    folder = write_demo(tmp_path / "demo")
    before = {name: (folder / name).stat().st_mtime_ns for name in files(folder)}

    def unexpected(done: int, total: int) -> None:
        raise AssertionError

    assert write_demo(folder, unexpected) == folder
    assert {name: (folder / name).stat().st_mtime_ns for name in files(folder)} == before


def stop_at(last: int, error: BaseException) -> Callable[[int, int], None]:
    def report(done: int, total: int) -> None:
        if done == last:
            raise error

    return report


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("stop")])
def test_an_interrupted_call_leaves_nothing(tmp_path: Path, few: int, error: BaseException) -> None:
    with pytest.raises(type(error)):
        write_demo(tmp_path / "demo", stop_at(few, error))
    assert list(tmp_path.iterdir()) == []


def test_a_killed_process_leaves_no_folder_of_the_final_name(tmp_path: Path, few: int) -> None:
    program = (
        "import os, pathlib, sys; from nas.data import demo\n"
        f"demo.PATIENTS = {FEW}\n"
        "report = lambda done, total: os._exit(9) if done == 5 else None\n"
        "demo.write_demo(pathlib.Path(sys.argv[1]), report)\n"
    )
    folder = tmp_path / "demo"
    root = Path(demo.__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", program, str(folder)], cwd=root, timeout=60)
    assert done.returncode == 9
    assert not folder.exists()
    (leftover,) = tmp_path.iterdir()
    assert len(files(leftover)) == 5

    write_demo(folder)
    assert len(files(folder)) == few
    assert len(files(leftover)) == 5


def test_an_empty_folder_is_filled(tmp_path: Path, few: int) -> None:
    assert len(files(write_demo(tmp_path))) == few


def test_a_folder_with_something_else_is_refused_and_kept(tmp_path: Path, few: int) -> None:
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "mine.txt").write_text("mine")
    with pytest.raises(DataError, match="remove it or name another"):
        write_demo(tmp_path / "demo")
    assert files(tmp_path) == ["demo/mine.txt"]


def test_a_folder_that_cannot_be_made_is_a_data_error(tmp_path: Path, few: int) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        write_demo(tmp_path / "file" / "demo")


def test_two_writers_at_once_do_no_harm(tmp_path: Path, few: int) -> None:
    folder = tmp_path / "demo"
    with ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(write_demo, folder) for _ in range(2)]
        assert [job.result() for job in jobs] == [folder, folder]
    assert len(files(folder)) == few
    assert os.listdir(tmp_path) == ["demo"]  # noqa: PTH208 - hidden names count


def test_the_loser_of_a_race_keeps_the_winners_folder(tmp_path: Path, few: int) -> None:
    folder = tmp_path / "demo"

    def other_wins_at_the_end(done: int, total: int) -> None:
        if done == total:
            write_demo(folder)

    assert write_demo(folder, other_wins_at_the_end) == folder
    assert len(files(folder)) == few
    assert [p.name for p in tmp_path.iterdir()] == ["demo"]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_small_cnn_sees_what_a_linear_model_cannot(tmp_path: Path) -> None:
    """Measured: linear 0.69, CNN 0.95. The margins are many times the spread between seeds."""
    folder = write_demo(tmp_path / "demo")
    train, test = _load(folder, "train"), _load(folder, "test")
    linear, cnn = _linear_auroc(train, test), _cnn_auroc(train, test)
    assert 0.58 < linear < 0.78
    assert 0.87 < cnn < 0.985
    assert cnn - linear > 0.12


Split = tuple[np.ndarray, np.ndarray]  # (n, 64, 64) float32 from 0 to 1, (n,) bool


def _load(folder: Path, split: str) -> Split:
    images, labels = [], []
    for path in sorted((folder / split).rglob("*.png")):
        with Image.open(path) as image:
            images.append(np.asarray(image.resize((64, 64)), dtype=np.float32) / 255)
        labels.append(path.parent.name == "PNEUMONIA")
    return np.stack(images), np.array(labels)


def _linear_auroc(train: Split, test: Split) -> float:
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    # C is what patient-grouped cross-validation on train chose.
    model = make_pipeline(StandardScaler(), LogisticRegression(C=1e-4, max_iter=500))
    model.fit(train[0].reshape(len(train[0]), -1), train[1])
    scores = model.decision_function(test[0].reshape(len(test[0]), -1))
    return float(roc_auc_score(test[1], scores))


def _cnn_auroc(train: Split, test: Split, epochs: int = 10) -> float:
    import torch
    from sklearn.metrics import roc_auc_score
    from torch import nn

    torch.manual_seed(0)
    mean, std = train[0].mean(), train[0].std()
    x, y = torch.from_numpy((train[0] - mean) / std)[:, None], torch.from_numpy(train[1]).float()
    layers: list[nn.Module] = []
    for before, after in ((1, 16), (16, 32), (32, 64)):
        layers += [nn.Conv2d(before, after, 3, padding=1, bias=False), nn.MaxPool2d(2)]
        layers += [nn.BatchNorm2d(after), nn.ReLU()]
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 1))
    steps = epochs * (len(x) // 32)
    optimizer = torch.optim.AdamW(network.parameters(), lr=6e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 6e-3, total_steps=steps)
    for _ in range(epochs):
        for batch in torch.randperm(len(x))[: steps // epochs * 32].view(-1, 32):
            down, right = torch.randint(-4, 5, (2,)).tolist()
            logits = network(x[batch].roll((down, right), (2, 3)))[:, 0]
            optimizer.zero_grad()
            loss = nn.functional.binary_cross_entropy_with_logits(logits, y[batch])
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
    network.eval()
    with torch.no_grad():
        scores = network(torch.from_numpy((test[0] - mean) / std)[:, None])[:, 0]
    return float(roc_auc_score(test[1], scores.numpy()))
