"""What can go wrong, in one tree.

    NasError
    ├── SettingsError       an option or a setting outside its rule
    ├── DataError           a data folder, a split or a cache that cannot be used
    │   └── ImageError      one image that cannot be decoded
    │       └── UnsupportedImageError   its content is of no format that is read
    ├── GenomeError         a genome that cannot be built
    ├── RunError            a run folder that cannot be used as asked
    ├── WeightsError        pretrained weights that cannot be had
    ├── BundleError         an exported model that cannot be trusted
    ├── WorkerLost          a process that evaluated a job died; the job can be done again
    ├── TrainingError       a training that cannot go on (carries an enum, see there)
    └── Interrupted         a training or search asked to stop; its last epoch is saved

Every message is one sentence or two: the rule, the value, the remedy. Command lines print it
without a traceback and end with exit status 2.
"""

from enum import StrEnum
from typing import Any, Self


class NasError(Exception):
    """Base of every error that this project raises on purpose."""


class SettingsError(NasError):
    """An option or a setting outside its rule."""


class DataError(NasError):
    """A data folder, a split or a cache that cannot be used."""


class ImageError(DataError):
    """One image that cannot be decoded, or is refused before decoding."""


class UnsupportedImageError(ImageError):
    """The content is of no format that is read."""


class GenomeError(NasError):
    """A genome that cannot be built; the message names the layer."""


class RunError(NasError):
    """A run folder that cannot be used as asked."""


class WeightsError(NasError):
    """Pretrained weights that cannot be had, or do not fit."""


class BundleError(NasError):
    """An exported model that cannot be trusted."""


class TrainingFailure(StrEnum):
    """Why a training ended without a score. Stored in studies: members are only ever added."""

    OUT_OF_MEMORY = "out_of_memory"
    NOT_FINITE = "loss_not_finite"
    CRASHED = "process_died_repeatedly"


class TrainingError(NasError):
    """A training that cannot go on."""

    def __init__(self, failure: TrainingFailure, message: str) -> None:
        super().__init__(message)
        self.failure = failure

    def __reduce__(self) -> tuple[type[Self], tuple[TrainingFailure, str], dict[str, Any]]:
        """To another process; Exception's own gives the message alone."""
        return type(self), (self.failure, str(self)), self.__dict__


class WorkerLost(NasError):
    """The process that evaluated a job died, or its machine did; what it saved is there."""


class Interrupted(NasError):
    """Asked to stop; everything up to the last full epoch is saved."""
