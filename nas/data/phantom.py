"""A healthy chest on film, drawn by formulas: the background of every demo picture.

Everything is a function of anatomical coordinates (u, v): u runs from -1 (image left, the
patient's right) to 1, v from -1 (top) to 1 (bottom), and the picture is a grid of them moved,
turned and scaled by a `Pose`. Values are attenuations: 0 is air, about 1 is the abdomen; lungs
take away from the thorax, bones and vessels add to it. Where a range is drawn, it is a confounder
that a classifier has to see through. The lengths and weights were set by eye against paediatric
films; none of them is measured.

Each part draws its build from the generator it is given, always in the same order, so that the
same generator state gives the same body in every pose.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

SIZE = 128  # pixels, height and width

Field = npt.NDArray[np.floating]
"""A map over the picture: (SIZE, SIZE), float32 throughout (half the time of float64)."""


@dataclass(frozen=True)
class Pose:
    """How the patient lay on the film in one view."""

    turn: float  # radians, counter-clockwise
    shift: tuple[float, float]  # of the chest to the right and down, in half pictures
    scale: tuple[float, float]  # width and height of the chest; at 1 the trunk just fits
    breath: float  # how low the diaphragm stands, -1 (expiration) to 1 (inspiration)

    def grid(self) -> tuple[Field, Field]:
        """The anatomical coordinates (u, v) of every pixel."""
        axis = (np.arange(SIZE, dtype=np.float32) + 0.5) * (2 / SIZE) - 1
        x, y = axis[None, :] - self.shift[0], axis[:, None] - self.shift[1]
        cos, sin = math.cos(self.turn), math.sin(self.turn)
        return (cos * x + sin * y) / self.scale[0], (cos * y - sin * x) / self.scale[1]


@dataclass(frozen=True)
class Chest:
    """One healthy chest in one pose: what an opacity needs to know to be placed in it."""

    u: Field
    v: Field
    lungs: Field  # 0 outside the lung fields, up to 1 inside, soft edges
    attenuation: Field
    hilum: tuple[float, float]  # |u| and v of the lung roots


def step(x: Field, softness: float) -> Field:
    """0 where x is far below 0, 1 where far above; `softness` is in units of x."""
    rise: Field = np.tanh(x * (0.5 / softness))
    return 0.5 * (1 + rise)


def bump(x: Field, width: float) -> Field:
    """A Gaussian of x with standard deviation `width` and height 1."""
    scaled = x * (1 / width)
    return np.exp(-0.5 * scaled * scaled)


def smooth_noise(rng: np.random.Generator, cells: int) -> Field:
    """Noise with mean 0, deviation about 0.8 and `cells` independent values along each side."""
    coarse = Image.fromarray(rng.standard_normal((cells, cells), dtype=np.float32))
    return np.array(coarse.resize((SIZE, SIZE), Image.Resampling.BICUBIC), dtype=np.float32)


def draw_chest(patient: np.random.Generator, pose: Pose) -> Chest:
    """The chest of the patient whose build comes from `patient`, in the given pose."""
    u, v = pose.grid()
    width = patient.uniform(0.66, 0.8)  # half the rib cage
    lungs, rim = _lungs(patient, u, v, width, pose.breath)
    hilum = (patient.uniform(0.15, 0.2), patient.uniform(-0.16, -0.02))
    air = patient.uniform(0.36, 0.6)
    total = _soft_tissue(patient, u, v, width) - air * lungs
    total += _middle(patient, u, v)
    total += _vessels(patient, u, v, hilum) * (0.25 + 0.75 * lungs)
    total += _bones(patient, np.abs(u), v, rim)
    total += _shadows(patient, u, v)
    return Chest(u, v, lungs, total, hilum)


def _lungs(
    rng: np.random.Generator, u: Field, v: Field, width: float, breath: float
) -> tuple[Field, Field]:
    """The lung fields, and the half-width |u| of the rib cage at every height."""
    a = np.abs(u)  # distance from the midline: most of the body is symmetric in it
    apex = rng.uniform(-0.74, -0.62)
    base = rng.uniform(0.3, 0.44) + 0.07 * breath
    depth = np.clip((v - apex) / (base + 0.2 - apex), 0, 1)
    rim = width * (1 - (1 - depth) ** rng.uniform(2.4, 3.6)) ** 0.56
    # The liver lifts the dome on the image's left.
    lift = rng.uniform(-0.01, 0.11)
    across = (a - 0.5 * width) / (0.5 * width)
    floor = base - lift * step(-u, 0.01) + rng.uniform(0.1, 0.2) * across**2
    inner = rng.uniform(0.09, 0.14) + 0.05 * depth
    lungs = step(rim - a, 0.014) * step(a - inner, 0.014) * step(floor - v, 0.013)
    # The lung is thinner towards its rim, so it is less dark there.
    return lungs * (1 - 0.35 * np.clip(a / (rim + 1e-3), 0, 1) ** 4), rim


def _soft_tissue(rng: np.random.Generator, u: Field, v: Field, width: float) -> Field:
    """Trunk, neck, arms and abdomen, with the stomach bubble under the image-right dome."""
    a = np.abs(u)
    trunk = width + rng.uniform(0.07, 0.15)
    shoulder = rng.uniform(-1.0, -0.86) + rng.uniform(0.15, 0.4) * a**2
    body = step(trunk - a, 0.02) * step(v - shoulder, 0.025)
    neck = step(rng.uniform(0.2, 0.3) - a, 0.025) * step(-v, 0.1)
    arm_at = trunk + rng.uniform(0.1, 0.26) - rng.uniform(-0.15, 0.2) * v
    arms = rng.uniform(0.3, 0.6) * step(0.12 - np.abs(a - arm_at), 0.02)
    total: Field = np.maximum(np.maximum(body, 0.85 * neck), arms)
    total *= 0.78 - rng.uniform(0.05, 0.2) * a**2
    total += rng.uniform(0.12, 0.25) * body * step(v - 0.45, 0.06)
    bubble = bump(u - rng.uniform(0.22, 0.4), rng.uniform(0.06, 0.13))
    bubble *= bump(v - rng.uniform(0.55, 0.68), rng.uniform(0.05, 0.09))
    return total - rng.uniform(0, 0.4) * bubble


def _middle(rng: np.random.Generator, u: Field, v: Field) -> Field:
    """Spine, windpipe, upper mediastinum with thymus, and the heart to the image's right."""
    a = np.abs(u)
    beads: Field = 1 + 0.12 * np.cos(v * (2 * math.pi / rng.uniform(0.115, 0.14)))
    total = rng.uniform(0.1, 0.18) * step(0.075 - a, 0.012) * beads
    total -= 0.08 * bump(u - rng.uniform(-0.02, 0.02), 0.025) * step(-0.25 - v, 0.03)
    # An ellipse with its long axis turned towards the heart's apex, below on the image's right.
    du, dv = u - rng.uniform(0.05, 0.12), v - rng.uniform(0.08, 0.18)
    tilt, size = rng.uniform(0.3, 0.7), rng.uniform(0.9, 1.15)
    along = (math.cos(tilt) * du + math.sin(tilt) * dv) / (0.33 * size)
    off = (math.cos(tilt) * dv - math.sin(tilt) * du) / (0.25 * size)
    reach: Field = np.sqrt(along**2 + off**2)
    heart = step(1 - reach, 0.05)
    total += rng.uniform(0.32, 0.44) * heart * (1 - 0.2 * np.minimum(reach, 1) ** 2)
    thymus = rng.uniform(0.11, 0.24) + rng.uniform(0, 0.1) * u  # half-width; large in the young
    upper = step(thymus - a, 0.018) * step(rng.uniform(-0.35, -0.1) - v, 0.06)
    return total + rng.uniform(0.1, 0.3) * upper * (1 - heart)


def _bones(rng: np.random.Generator, a: Field, v: Field, rim: Field) -> Field:
    """Ribs behind and in front as two families of parallel arcs, and the clavicles."""
    spacing, weight = rng.uniform(0.13, 0.165), rng.uniform(0.07, 0.14)
    cage = step(rim + 0.04 - a, 0.012) * step(0.62 - v, 0.05)
    sink = rng.uniform(0.35, 0.6) * (1 + 0.5 * v)
    behind = _bone((v - sink * a**2 + 0.1 * a) / spacing + rng.uniform(0, 1), 0.2)
    climb = rng.uniform(0.45, 0.75)
    front = _bone((v + climb * a) / (1.15 * spacing) + rng.uniform(0, 1), 0.22)
    # In front, cartilage casts no shadow near the midline.
    front *= step(a - rng.uniform(0.3, 0.42), 0.04)
    line = rng.uniform(-0.66, -0.54) - rng.uniform(0.1, 0.35) * a + 0.03 * np.sin(8 * a)
    phase = np.clip((v - line) / 0.15 + 0.5, 0, 0.999)  # clipped: one clavicle, not a family
    clavicle = _bone(phase, 0.2) * step(a - 0.07, 0.015) * step(0.68 - a, 0.02)
    ribs = weight * cage * (step(a - 0.06, 0.02) * behind + 0.6 * front)
    return ribs + rng.uniform(0.1, 0.2) * clavicle


def _bone(phase: Field, half_width: float) -> Field:
    """One bone in the middle of every turn of `phase`: a band with denser edges."""
    across = np.abs(phase - np.floor(phase) - 0.5)
    return step(half_width - across, 0.035) * (0.65 + 0.45 * bump(across - half_width, 0.08))


def _vessels(rng: np.random.Generator, u: Field, v: Field, hilum: tuple[float, float]) -> Field:
    """Vessels fanning out of both lung roots; prominent ones look like perihilar disease."""
    total = np.zeros_like(u)
    weight = rng.uniform(0.05, 0.15)
    for side in (-1, 1):
        du, dv = u - side * hilum[0], v - (hilum[1] - 0.03 * (side > 0))
        total += rng.uniform(0.4, 1.5) * weight * bump(du, 0.055) * bump(dv, 0.1)
        tree = np.zeros_like(u)
        for branch in range(8):  # from steeply up, over outwards, to steeply down
            angle = -1.2 + 0.36 * branch + rng.uniform(-0.13, 0.13)
            cos, sin = side * math.cos(angle), math.sin(angle)
            along = cos * du + sin * dv
            off = cos * dv - sin * du - rng.uniform(-0.5, 0.5) * along**2
            left = np.clip(1 - along / rng.uniform(0.3, 0.6), 0, 1)  # 1 at the root, 0 at the tip
            calibre = rng.uniform(0.016, 0.028) * (left + 0.25)
            tree = np.maximum(tree, bump(off / calibre, 1) * left * (along > 0))
        total += weight * tree
    return total


def _shadows(rng: np.random.Generator, u: Field, v: Field) -> Field:
    """Soft tissue over the lungs that is no disease: scapulae, breasts, a tilted patient."""
    a = np.abs(u)
    edge = rng.uniform(0.46, 0.78) + rng.uniform(0.3, 0.9) * (v + 0.35) ** 2
    scapula = step(a - edge, 0.012) * step(rng.uniform(-0.15, 0.1) - v, 0.03) * step(v + 0.8, 0.05)
    total = rng.uniform(0, 0.13) * scapula
    total += rng.normal(0, 0.06) * u + rng.normal(0, 0.06) * v
    if rng.random() < 0.4:
        du, dv = a - rng.uniform(0.34, 0.5), v - rng.uniform(0, 0.22)
        reach = np.sqrt(du**2 + 0.8 * dv**2) / rng.uniform(0.2, 0.32)
        # Its lower fold is the dense, sharp part.
        total += rng.uniform(0.03, 0.16) * step(1 - reach, 0.05) * (0.35 + 0.65 * step(dv, 0.1))
    return total
