"""Trackers of other makers, each an optional library: ``--track tensorboard|mlflow|wandb``."""

import importlib
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from nas.errors import SettingsError
from nas.events import ENDED, EPOCH, FINAL_FINISHED, JOB_FINISHED, EventFile
from nas.runfolder import RunFolder
from nas.tracking import Tracker, Trackers

EVENT_FILE = "events.jsonl"


class TensorBoard:
    """Scalars below ``tensorboard/`` of the run folder: by trial, and a trial's by epoch."""

    def __init__(self, run: RunFolder) -> None:
        writer = _library(LIBRARIES["tensorboard"], "tensorboard").SummaryWriter
        self._writer = writer(log_dir=str(run.path / "tensorboard"))

    def event(self, name: str, **values: Any) -> None:
        """Write what an event has in numbers."""
        for tag, value, step in scalars(name, values):
            self._writer.add_scalar(tag, value, step)
        if name == ENDED:
            self._writer.flush()

    def close(self) -> None:
        """Write what is left."""
        self._writer.close()


class MLflow:
    """One MLflow run, at MLFLOW_TRACKING_URI, or in ``mlflow.db`` of the run folder."""

    def __init__(self, run: RunFolder) -> None:
        client = _library(LIBRARIES["mlflow"], "mlflow").MlflowClient
        uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{run.path.resolve()}/mlflow.db"
        self._client = client(tracking_uri=uri)
        known = self._client.get_experiment_by_name("nas")
        where = self._client.create_experiment("nas") if known is None else known.experiment_id
        self._id = self._client.create_run(where, run_name=run.path.name).info.run_id

    def event(self, name: str, **values: Any) -> None:
        """Log what an event has in numbers."""
        for tag, value, step in scalars(name, values):
            self._client.log_metric(self._id, tag, value, step=step)

    def close(self) -> None:
        """End the run."""
        self._client.set_terminated(self._id)


class WandB:
    """A run of Weights & Biases, which goes on when the search does."""

    def __init__(self, run: RunFolder) -> None:
        library = _library("wandb", "wandb")
        self._run = library.init(
            project="nas", name=run.path.name, id=run.path.name, dir=str(run.path), resume="allow"
        )

    def event(self, name: str, **values: Any) -> None:
        """Log what an event has in numbers; its own steps only count up, so ours are values."""
        found = list(scalars(name, values))
        if found:
            self._run.log({tag: value for tag, value, _ in found} | {"trial": found[0][2]})

    def close(self) -> None:
        """End the run."""
        self._run.finish()


LIBRARIES = {"tensorboard": "torch.utils.tensorboard", "mlflow": "mlflow.tracking"}
"""What is imported, where it is not named like the tracker."""

TRACKERS: Mapping[str, Callable[[RunFolder], Tracker]] = {
    "tensorboard": TensorBoard,
    "mlflow": MLflow,
    "wandb": WandB,
}


def make_trackers(run: RunFolder, names: Sequence[str] = ()) -> Trackers:
    """The event file of a run, and further trackers by name.

    Raises:
        SettingsError: there is no such tracker, or its library is missing.
    """
    found: dict[str, Tracker] = {EVENT_FILE: EventFile(run.events)}
    for name in names:
        if name not in TRACKERS:
            raise SettingsError(
                f"--track must be one of {', '.join(TRACKERS)}, but is {name!r}; choose one of them"
            )
        found[name] = TRACKERS[name](run)
    return Trackers(found)


def check_tracked(names: Sequence[str]) -> None:
    """See that the libraries of these trackers are there, before anything else is done.

    Raises:
        SettingsError: one is missing.
    """
    for name in names:
        _library(LIBRARIES.get(name, name), name)


def scalars(name: str, values: Mapping[str, Any]) -> Iterator[tuple[str, float, int]]:
    """The numbers of an event: what they are of, the value, and the trial or epoch."""
    if name == EPOCH:
        head, step = f"trial {values['trial']}", values.get("epoch", 0)
        kept = {k: v for k, v in values.items() if k not in ("trial", "epoch")}
    elif name == JOB_FINISHED:
        head, step = f"after {values['budget']} epochs", values["trial"]
        kept = {"score": values["score"], "seconds": values["seconds"], **values["metrics"]}
    elif name == FINAL_FINISHED:
        head, step = f"finals, {values['division']}", values["trial"]
        kept = {"score": values.get("score")}
    else:
        return
    for part, value in kept.items():
        if isinstance(value, int | float) and math.isfinite(value):
            # MLflow allows letters, digits, dashes, dots, spaces and slashes in a name.
            yield f"{head}/{part}".replace(",", ""), float(value), int(step)


def _library(module: str, package: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        raise SettingsError(
            f"--track {package} needs the library {package}, which is not installed; "
            f'pip install ".[{package}]"'
        ) from None
