"""What trains fastest on this machine's CPU, measured once and kept.

Two questions have no answer that holds for all processors: whether bfloat16 is faster than
float32, for plain and for depthwise convolutions, and whether one training on all cores or a
training on each gets more done. A few seconds of real training steps answer them. A machine is
known by its processor, its cores and the version of torch. ``python -m nas.self_test`` measures
anew and tells.
"""

import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import torch

from nas.command import Parser, run
from nas.data.folds import Fold, Labelled
from nas.devices import Device, HalfPrecision, choose, keep_freed_memory
from nas.errors import NasError, RunError
from nas.files import write_json
from nas.genome import ConvBlock, Genome, ImageShape, InvertedBlock, Order, Pool
from nas.jobs import Job, Outcome
from nas.network import build
from nas.preprocessing import Preprocessing
from nas.process_executor import Processes
from nas.recipe import TrainingSettings
from nas.stepping import Training
from nas.workers import usable_cores

IMAGE = ImageShape(1, 64, 64)
BATCH = 64
STEPS = 6
"""Of a measurement; the median counts."""

SECONDS = 1.5
"""How long workers train at once to see how much they get done together."""

GAIN = 1.25
"""Several workers must get so much more done than one: the order in which they end is chance, and
a search with one worker gives the same study every time."""

PLAIN = Genome(
    tuple(
        ConvBlock(filters, 3, pool=Pool.MAX, order=Order.POOL_BEFORE_NORM)
        for filters in (32, 64, 64)
    )
)
DEPTHWISE = Genome((InvertedBlock(24, 3, 4, stride=2), InvertedBlock(32, 5, 4, stride=2)))


@dataclass(frozen=True, slots=True)
class SelfTest:
    """What trains fastest here.

    Attributes:
        half: where bfloat16 is faster.
        workers: trainings at once, which share the cores equally; 1 or one for each core.
        measured: images per second, by what was measured.
    """

    half: HalfPrecision
    workers: int
    measured: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Any) -> Self:
        """What ``to_json`` gave; raises TypeError, LookupError or ValueError if it is not."""
        half = {name: bool(data["half"][name]) for name in ("plain", "depthwise")}
        workers = int(data["workers"])
        if workers < 1:
            raise ValueError(f"workers must be at least 1, but is {workers}")
        return cls(HalfPrecision(**half), workers, dict(data["measured"]))


def kept_file() -> Path:
    """Where this user's machines are kept: below XDG_CACHE_HOME, or ~/.cache."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "nas" / "self_test.json"


def main() -> int:
    """Measure anew, and tell; returns the exit status."""
    return run(_main)


def _main() -> int:
    description = "Measure anew what trains fastest on this machine's CPU, and keep it."
    Parser(prog="python -m nas.self_test", description=description).parse_args()
    keep_freed_memory()
    path = kept_file()
    known, found = _known(path, print), measure()
    write_json(path, {**known, machine(): found.to_json()})
    print(machine())
    for name, value in found.measured.items():
        print(f"{value:10.0f} images/s  {name}")
    half = [name for name, faster in asdict(found.half).items() if faster]
    print(f"bfloat16 for {' and '.join(half) or 'no'} convolutions, {found.workers} at a time")
    print(f"wrote {path}")
    return 0


def machine() -> str:
    """This machine, as far as speed goes."""
    name = platform.processor() or platform.machine()
    described = Path("/proc/cpuinfo")
    if described.is_file():
        for line in described.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                break
    return f"{name}, {usable_cores()} cores, torch {torch.__version__}"


def self_test(path: Path, tell: Callable[[str], None] = lambda _: None) -> SelfTest:
    """What is kept of this machine, or else measured and kept.

    Args:
        path: a JSON file, by machine; one that is damaged, or cannot be written, is told and not
            used.
        tell: of what takes time, and what went wrong.
    """
    known = _known(path, tell)
    name = machine()
    try:
        return SelfTest.from_json(known[name])
    except (TypeError, LookupError, ValueError):
        pass  # not measured yet, or by another version
    tell("measuring once what trains fastest on this machine (some seconds)")
    try:
        found = measure()
    except NasError as error:
        tell(
            f"note: the measurement failed ({error}); one training at a time, and usual arithmetic"
        )
        return SelfTest(HalfPrecision(), 1, {})
    try:
        write_json(path, {**known, name: found.to_json()})
    except (OSError, RunError) as error:
        tell(f"note: the measurement could not be kept in {path} ({error}); it is made every time")
    return found


def _known(path: Path, tell: Callable[[str], None]) -> dict[str, Any]:
    try:
        known = json.loads(path.read_text())
        if not isinstance(known, dict):
            raise ValueError("no object")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        tell(f"note: {path} cannot be used ({error}) and is written anew")
        return {}
    return known


def measure() -> SelfTest:
    """Train for a few seconds in each way."""
    device, cores = choose("cpu"), usable_cores()
    found: dict[str, float] = {}
    for name, genome in (("plain", PLAIN), ("depthwise", DEPTHWISE)):
        found[f"{name} in float32"] = speed(genome, device.exact())
        if device.bf16:
            found[f"{name} in bfloat16"] = speed(genome, device)
    faster = {
        name: found.get(f"{name} in bfloat16", 0.0) > found[f"{name} in float32"]
        for name in ("plain", "depthwise")
    }
    workers = 1
    if cores > 1:
        for count in (1, cores):
            found[f"{count} workers" if count > 1 else "1 worker"] = together(count)
        if found[f"{cores} workers"] > GAIN * found["1 worker"]:
            workers = cores
    rounded = {name: round(value, 1) for name, value in found.items()}
    return SelfTest(HalfPrecision(**faster), workers, rounded)


def speed(genome: Genome, device: Device) -> float:
    """Images per second in training, in this process."""
    training = _training(genome, device)
    training.epoch(1, 0, steps=2)
    times = []
    for number in range(2, 2 + STEPS):
        started = time.perf_counter()
        training.epoch(number, 0, steps=1)
        times.append(time.perf_counter() - started)
    return BATCH / statistics.median(times)


@dataclass(frozen=True)
class Timed:
    """An evaluator whose score is images per second in ``job.budget`` tenths of SECONDS."""

    def evaluate(self, job: Job) -> Outcome:
        """Train the job's genome; see nas.jobs.Evaluator."""
        training = _training(job.genome, choose(job.device))
        training.epoch(1, 0, steps=2)
        started, number = time.perf_counter(), 1
        while (seconds := time.perf_counter() - started) < job.budget * SECONDS / 10:
            number += 1
            training.epoch(number, 0, steps=1)
        return Outcome(BATCH * (number - 1) / seconds, seconds)


def together(count: int) -> float:
    """Images per second of so many workers at once, each with its share of the cores."""
    threads = max(1, usable_cores() // count)
    processes = Processes(
        Timed(), lambda *_: None, lambda: False, devices=("cpu",) * count, threads=threads
    )
    try:
        for budget in (1, 10):  # first they start, which takes each its own time
            for ticket in range(count):
                processes.submit(ticket, Job(PLAIN, 0, budget, 0))
            done = [processes.wait() for _ in range(count)]
    finally:
        processes.close()
    return sum(_score(one.result) for one in done)


def _score(result: Outcome | Exception) -> float:
    if isinstance(result, Outcome):
        return result.score
    raise result


def _training(genome: Genome, device: Device) -> Training:
    drawn = torch.Generator().manual_seed(0)
    shape = (2 * BATCH, IMAGE.channels, IMAGE.height, IMAGE.width)
    pixels = torch.randint(0, 256, shape, dtype=torch.uint8, generator=drawn)
    images = Labelled.of(pixels, torch.arange(len(pixels)) % 2)
    how = Preprocessing(IMAGE.width, IMAGE.channels, (0.5,), (0.25,))
    fold = Fold(images, images, ("a", "b"), how)
    network = build(genome, IMAGE, len(fold.classes))
    return Training(network, fold, TrainingSettings(batch_size=BATCH, epochs=1000), device)


if __name__ == "__main__":
    sys.exit(main())
