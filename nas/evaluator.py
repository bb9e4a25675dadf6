"""The shipped evaluator: trains networks and scores them on a validation fold."""

import logging
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nas import tensorfile
from nas.data.folds import Fold
from nas.devices import Device, HalfPrecision, choose
from nas.errors import SettingsError
from nas.genome import ImageShape
from nas.genome.summary import has_depthwise
from nas.inheritance import inherit
from nas.jobs import Job, Outcome
from nas.judging import ShiftedImages, robustness
from nas.learnt_weights import first_network
from nas.recipe import TrainingSettings
from nas.seeds import derive
from nas.training import EpochScore, failures, state_of, train

LOG = logging.getLogger(__name__)

WEIGHTS = "weights.pt"


class Objective(StrEnum):
    """What a genome is scored by; stored, so members are only ever added.

    ROBUST is the mean balanced accuracy at 0.5 on the validation images, clean and under every
    acquisition shift. Clean validation AUROC saturates near 0.997 on the public chest X-rays and
    hardly ranks networks (Spearman 0.48 with the official test's AUROC over 16 genomes, against
    0.70 for balanced accuracy under shifts).
    """

    ROBUST = "robust"
    AUROC = "auroc"


def _unheard(_: EpochScore) -> None:
    """Nobody listens."""


def _never() -> bool:
    return False


@dataclass(frozen=True)
class TrainingEvaluator:
    """Trains a job's genome on one fold.

    Beside the job's checkpoint it keeps ``weights.pt``: the averaged weights at the last rung.

    Attributes:
        fold: images.
        settings: recipe; its epochs are the largest budget.
        objective: what the score is.
        on_epoch: called with every epoch that is trained.
        stop: asked before every epoch; True ends in Interrupted.
        clock: monotonic seconds.
        reopen: makes the fold in another process, which is sent this instead of the images.
        half: where a CPU trains in bfloat16, if it can.
        shifted: validation images under acquisition shifts, by device, as far as they were needed.
    """

    fold: Fold
    settings: TrainingSettings
    objective: Objective = Objective.ROBUST
    on_epoch: Callable[[EpochScore], None] = _unheard
    stop: Callable[[], bool] = _never
    clock: Callable[[], float] = time.monotonic
    reopen: Callable[[], Fold] | None = None
    half: HalfPrecision = field(default_factory=HalfPrecision)
    shifted: dict[Device, ShiftedImages] = field(default_factory=dict, compare=False, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        """For another process, which has its own listener."""
        state = {**self.__dict__, "on_epoch": _unheard, "stop": _never, "shifted": {}}
        if self.reopen is not None:
            del state["fold"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        if "fold" not in state:
            state = {**state, "fold": state["reopen"]()}
        self.__dict__.update(state)

    def watched(
        self, report: Callable[[Any], None], stop: Callable[[], bool]
    ) -> "TrainingEvaluator":
        """See nas.jobs.Watchable; reports are EpochScores."""
        return replace(self, on_epoch=report, stop=stop)

    @property
    def image(self) -> ImageShape:
        """Shape of a network's input."""
        size = self.fold.preprocessing.size
        return ImageShape(self.fold.preprocessing.channels, size, size)

    def evaluate(self, job: Job) -> Outcome:
        """Train up to ``job.budget`` epochs and score; see nas.jobs.Evaluator."""
        if job.budget > self.settings.epochs:
            raise SettingsError(
                f"a budget must be at most the recipe's {self.settings.epochs} epochs, but is "
                f"{job.budget}; raise epochs"
            )
        classes = len(self.fold.classes)
        device = self._device(job, classes)
        with failures():  # building and judging need memory too
            network = first_network(job.genome, self.image, classes, job.seed)
            inherited = self._inherited(network, job)
            trained = train(
                network,
                self.fold,
                self.settings,
                device,
                seed=job.seed,
                until=job.budget,
                checkpoint=job.checkpoint,
                on_epoch=self.on_epoch,
                stop=self.stop,
                clock=self.clock,
            )
            started = self.clock()
            shifts = robustness(
                trained.network,
                self.fold,
                device,
                images=self._shifted(device),
                clean=trained.validation,
            )
        epochs = trained.epochs[job.start_budget :]
        # Seconds come from the epochs, so that those before a kill are counted too.
        cost = sum(epoch.seconds for epoch in epochs) + self.clock() - started
        robust = float(np.mean(list(shifts.values())))
        if job.checkpoint is not None:
            write_weights(job.checkpoint.with_name(WEIGHTS), trained.network)
        return Outcome(
            score=robust if self.objective is Objective.ROBUST else epochs[-1].auroc,
            cost_s=cost,
            metrics={
                "robust": robust,
                "auroc": epochs[-1].auroc,
                "balanced_accuracy": epochs[-1].balanced_accuracy,
                "shifts": shifts,
                "epochs": [asdict(epoch) for epoch in epochs],
                **inherited,
            },
            checkpoint=job.checkpoint,
        )

    def _device(self, job: Job, classes: int) -> Device:
        """The job's device; in float32 where bfloat16 takes longer."""
        device = choose(job.device)
        if device.device.type != "cpu" or not device.bf16:
            return device
        depthwise = has_depthwise(job.genome, self.image, classes)
        return device if (self.half.depthwise if depthwise else self.half.plain) else device.exact()

    def _shifted(self, device: Device) -> ShiftedImages:
        if device not in self.shifted:
            self.shifted[device] = ShiftedImages(self.fold, device)
        return self.shifted[device]

    def _inherited(self, network: torch.nn.Module, job: Job) -> dict[str, float]:
        """Give a network its parent's weights; says what share of its own they are."""
        if job.parent is None:
            return {}
        path = job.parent.with_name(WEIGHTS)
        try:
            parent = read_weights(path)
        except (FileNotFoundError, ValueError) as error:
            LOG.warning("%s cannot be read (%s): nothing is inherited", path, type(error).__name__)
            return {"inherited": 0.0}
        place = derive(job.seed, "inheritance")
        classes = len(self.fold.classes)
        return {"inherited": inherit(network, job.genome, parent, self.image, classes, place)}


def write_weights(path: Path, network: torch.nn.Module) -> None:
    """Keep a network's weights."""
    tensorfile.write(path, {"tensors": state_of(network)})


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Weights that ``write_weights`` kept.

    Raises:
        FileNotFoundError: there are none.
        ValueError: the file is damaged.
    """
    tensors: Any = tensorfile.read(path).get("tensors")
    if not isinstance(tensors, dict):
        raise ValueError("no tensors")
    return tensors
