"""The embedded demo data: chest phantoms, NORMAL against PNEUMONIA, for a machine without data.

The pictures are drawn, not recorded: nothing learned from them says anything about patients.
They are there so that every command runs, and so that a search has something to find: what
tells the classes apart is the texture and the borders of opacities in the lungs, not brightness.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from nas.data.phantom import SIZE, Chest, Field, Pose, bump, draw_chest, smooth_noise, step
from nas.errors import DataError
from nas.files import atomic_folder

CLASSES = ("NORMAL", "PNEUMONIA")
DEMO_VERSION = "1"  # belongs to the pictures: change it whenever one of them changes

PATIENTS = {"train": 480, "test": 120}  # with 1 to 4 views each: 1,200 and 300 pictures
PNEUMONIA_SHARE = 0.6  # of the patients

# How hard the task is. Tuned until a small CNN sees clearly more than a linear model and genomes
# can be told apart. Test AUROC at 64x64 (1,200 train, 300 test pictures of 120 patients):
#   logistic regression on standardised pixels 0.70, after 30 principal components 0.71 (C and
#   components chosen by patient-grouped cross-validation on train, which gives 0.72 and 0.73);
#   mean, deviation, seven quantiles, roughness and file size: logistic 0.68, boosted trees 0.63;
#   on all 1,500, the mean alone 0.51, the deviation alone 0.44, the file size alone 0.54;
#   3x3 CNNs with global average pooling, 8 epochs, shifts of up to 4 pixels, by widths:
#   8-16 0.75 (n = 2), 8-16-32 0.92 (n = 2), 16-32-64 0.939 (0.935 to 0.941, n = 3),
#   16-32-64-64 0.972 (n = 2); 16-32-64 after 20 epochs 0.965 (n = 1). n counts seeds from 0 on.
FAINTEST, STRONGEST = 0.22, 0.65  # attenuation of an opacity, drawn log-uniformly by patient
GRAIN = (0.85, 1.0)  # mean and spread of an opacity's texture; below 0 there is air
HAZE = 0.06  # cloudiness that both classes have, so that a brighter lung means little
SOLID = 0.42  # an opacity cannot be denser than soft tissue

_SEED = 2026


@dataclass(frozen=True)
class Picture:
    """One picture of the demo set."""

    split: str
    patient: int
    view: int  # from 1
    pneumonia: bool

    @property
    def path(self) -> Path:
        """Where it lies inside the demo folder."""
        name = f"demo{self.patient:04d}_{self.view}.png"
        return Path(self.split) / CLASSES[self.pneumonia] / name


def cohort() -> tuple[Picture, ...]:
    """Every picture of the demo set; a patient is in one split and has one class."""
    pictures = []
    first = 0
    for split, count in PATIENTS.items():
        rng = _rng(4, first)
        views = rng.permutation(count) % 4 + 1
        ill = rng.permutation(count) < round(PNEUMONIA_SHARE * count)
        for i in range(count):
            pictures += [
                Picture(split, first + i, view, bool(ill[i])) for view in range(1, views[i] + 1)
            ]
        first += count
    return tuple(pictures)


def draw(patient: int, view: int, pneumonia: bool) -> npt.NDArray[np.uint8]:
    """One phantom, (SIZE, SIZE) uint8, 0 black; a pure function of its arguments.

    The two values of `pneumonia` give the same patient, pose, film and noise: they differ in the
    opacities, and in the exposure control's answer to them. Equal to the bit on one machine;
    another processor's arithmetic may move a pixel by one grey level.

    Raises:
        ValueError: `patient` or `view` is negative.
    """
    build, visit = _rng(0, patient), _rng(1, patient, view)
    size, slim = build.uniform(1.02, 1.3), build.uniform(0.92, 1.08)
    pose = Pose(
        turn=min(max(visit.normal(0, 0.06), -0.17), 0.17),
        shift=(visit.normal(0, 0.05), visit.normal(0.12, 0.05)),
        scale=(size * slim * visit.uniform(0.97, 1.03), size / slim * visit.uniform(0.97, 1.03)),
        breath=visit.uniform(-1, 1),
    )
    chest = draw_chest(build, pose)
    attenuation = chest.attenuation + _leads(visit, chest)
    attenuation += HAZE * smooth_noise(visit, 5) * (0.4 + 0.6 * chest.lungs)
    if pneumonia:
        # Generators of their own: whether they are used must not move any other draw.
        attenuation += _opacities(_rng(2, patient), _rng(3, patient, view), chest)
    return _expose(visit, attenuation)


def write_demo(folder: Path, report: Callable[[int, int], None] | None = None) -> Path:
    """Writes the demo set as folder/<split>/<CLASS>/demo<patient>_<view>.png, 8-bit grayscale.

    The folder is there complete or not at all: the pictures go to a hidden sibling, which is
    then renamed. A complete folder is left as it is. Processes that write at once each write
    their own sibling; the first to finish wins. What a killed one leaves is never read.

    Args:
        folder: made if needed, with its parents.
        report: called with (pictures done, pictures in all) after each picture.

    Returns:
        `folder`.

    Raises:
        DataError: `folder` holds something else, or cannot be written.
    """
    pictures = cohort()
    if _is_complete(folder, pictures):
        return folder
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise DataError(
            f"The demo data needs a folder of its own, but {folder} already holds something else: "
            "remove it or name another one."
        )
    try:
        with atomic_folder(folder, lambda: _is_complete(folder, pictures)) as part:
            for split in PATIENTS:
                for name in CLASSES:
                    (part / split / name).mkdir(parents=True)
            for done, picture in enumerate(pictures, start=1):
                pixels = draw(picture.patient, picture.view, picture.pneumonia)
                Image.fromarray(pixels).save(part / picture.path)
                if report is not None:
                    report(done, len(pictures))
    except OSError as error:
        raise DataError(
            f"The demo data cannot be written to {folder} ({error.strerror}): "
            "free some space there or name another folder."
        ) from error
    return folder


def _is_complete(folder: Path, pictures: tuple[Picture, ...]) -> bool:
    return all((folder / picture.path).is_file() for picture in pictures)


def _rng(*key: int) -> np.random.Generator:
    return np.random.default_rng([_SEED, *key])


def _opacities(person: np.random.Generator, visit: np.random.Generator, chest: Chest) -> Field:
    """The attenuation that pneumonia adds inside the lungs: where and what by patient, its
    ragged borders and its texture by view.
    """
    strength = FAINTEST * (STRONGEST / FAINTEST) ** person.random() * visit.uniform(0.6, 1.4)
    rag = 0.35 * smooth_noise(visit, 12) + 0.2 * smooth_noise(visit, 26)
    kind = person.choice(["lobar", "patchy", "perihilar"], p=[0.3, 0.45, 0.25])
    if kind == "lobar":
        where = _blotch(person, chest, rag, (0.2, 0.38))
    elif kind == "patchy":
        where = np.zeros_like(rag)
        for _ in range(person.integers(3, 9)):
            where = np.maximum(where, _blotch(person, chest, rag, (0.09, 0.18)))
    else:
        reach, one_sided = person.uniform(0.14, 0.28), person.uniform(-1, 1)
        where = bump(np.abs(chest.u) - chest.hilum[0], reach)
        where *= bump(chest.v - chest.hilum[1], 1.3 * reach)
        where *= (1 + np.sign(chest.u) * one_sided) * np.clip(0.5 + 1.6 * rag, 0, 2)
    grain = GRAIN[0] + GRAIN[1] * smooth_noise(visit, 22)
    fill: Field = np.maximum(strength * where * grain, 0)
    let_through: Field = np.exp(-fill / SOLID)
    return SOLID * (1 - let_through) * chest.lungs


def _blotch(
    rng: np.random.Generator, chest: Chest, rag: Field, radii: tuple[float, float]
) -> Field:
    """One ragged ellipse somewhere in the lungs, 0 to 1."""
    u = chest.u - (1 if rng.random() < 0.5 else -1) * rng.uniform(0.2, 0.55)
    v = chest.v - rng.uniform(-0.5, 0.32)
    reach = np.sqrt((u / rng.uniform(*radii)) ** 2 + (v / rng.uniform(*radii)) ** 2)
    return rng.uniform(0.6, 1) * step(1 - reach + rag, rng.uniform(0.08, 0.25))


def _leads(rng: np.random.Generator, chest: Chest) -> Field:
    """ECG electrodes with their wires, on about a third of the views."""
    total = np.zeros_like(chest.u)
    if rng.random() < 0.35:
        for _ in range(rng.integers(1, 4)):
            u, v = chest.u - rng.uniform(-0.6, 0.6), chest.v - rng.uniform(-0.5, 0.4)
            disc = step(rng.uniform(0.03, 0.05) - np.sqrt(u**2 + v**2), 0.006)
            wire = bump(u - rng.normal(0, 0.4) * v - rng.normal(0, 0.3) * v**2, 0.008) * (v > 0)
            total += rng.uniform(0.08, 0.3) * disc + 0.2 * wire
    return total


def _expose(rng: np.random.Generator, attenuation: Field) -> npt.NDArray[np.uint8]:
    """The film: blur, scatter, quantum noise, contrast, gamma, and a mean brightness that is
    drawn, as from an automatic exposure control, so that it says nothing about the lungs.
    """
    squared = np.fft.fftfreq(SIZE)[:, None] ** 2 + np.fft.rfftfreq(SIZE)[None, :] ** 2

    def gauss(sigma: float) -> npt.NDArray[np.float64]:  # a blur of `sigma` pixels, in frequencies
        return np.exp(-2 * np.pi**2 * sigma**2 * squared)

    scatter = rng.uniform(0, 0.3)
    seen = (1 - scatter) * gauss(rng.uniform(0.3, 1.1)) + scatter * gauss(12)
    image = np.fft.irfft2(np.fft.rfft2(attenuation) * seen, (SIZE, SIZE))
    grains = np.fft.rfft2(rng.standard_normal((SIZE, SIZE))) * gauss(rng.uniform(0.3, 0.6))
    # Fewer quanta arrive behind dense parts, so the noise of their logarithm is larger there.
    image += rng.uniform(0.008, 0.03) * np.exp(0.5 * image) * np.fft.irfft2(grains, (SIZE, SIZE))
    contrast, gamma, target = rng.uniform(3, 5.5), rng.uniform(0.75, 1.35), rng.uniform(0.38, 0.6)
    image *= -contrast
    sample = image[::2, ::2]  # a quarter of the pixels has the same mean
    low, high = -8.0, 8.0  # exposures that are black and white for every picture
    for _ in range(10):  # halvings: the mean is then right within a grey level
        exposure = (low + high) / 2
        too_dark = _develop(sample, exposure, gamma).mean() < target
        low, high = (exposure, high) if too_dark else (low, exposure)
    return np.rint(255 * _develop(image, exposure, gamma)).astype(np.uint8)


def _develop(darkness: Field, exposure: float, gamma: float) -> Field:
    """Brightness, 0 to 1, with the soft shoulders of a film instead of clipping."""
    shown: Field = (1 / (1 + np.exp(darkness - exposure))) ** gamma
    return shown
