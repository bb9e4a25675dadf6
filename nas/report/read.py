"""Reading a run for its report: nothing is written, and the run's lock is left alone."""

import shutil
import sqlite3
import tempfile
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from sqlalchemy.exc import SQLAlchemyError

from nas.errors import RunError
from nas.events import read_events
from nas.finals_folder import FinalsFolder
from nas.report.read_export import final_results, read_evaluation, read_predictions
from nas.report.values import Point, RunData
from nas.runfolder import RunFolder
from nas.storage import Place, open_study, storage_of
from nas.study import TrialRecord, record_of, repeats_of

T = TypeVar("T")

Trials = tuple[tuple[TrialRecord, ...], tuple[Point, ...], dict[str, str]]


def read_run(
    run: RunFolder,
    *,
    data: str | None = None,
    cache: Path | None = None,
    storage: str | None = None,
) -> RunData:
    """Everything that a report tells of; what cannot be read becomes a sentence in ``problems``.

    Args:
        run: its folder.
        data: where the images are; None for where the last search had them.
        cache: of decoded images.
        storage: URL of the database that holds the study, where that is not in the folder.

    Raises:
        RunError: the folder holds no run, or its run.json is damaged.
    """
    manifest = run.read_manifest()
    problems: list[str] = []

    def tried(read: Callable[[], T], otherwise: T) -> T:
        try:
            return read()
        except RunError as error:
            problems.append(str(error))
            return otherwise

    sessions = manifest.get("sessions") or [{}]
    nothing: Trials = ((), (), {})
    records, points, choices = tried(lambda: _trials(run, sessions[-1], storage), nothing)
    evaluation = tried(lambda: read_evaluation(run), None)
    return RunData(
        run=run,
        manifest=manifest,
        records=records,
        points=points,
        choices=choices,
        finals=tried(FinalsFolder(run.finals).read, None),
        final_results=tried(lambda: final_results(run), ()),
        evaluation=evaluation,
        predictions=tried(lambda: read_predictions(run, evaluation) if evaluation else {}, {}),
        data=data or sessions[-1].get("data"),
        cache=cache,
        last_event=_last_event(run),
        problems=tuple(problems),
    )


def _last_event(run: RunFolder) -> dict[str, Any] | None:
    last = deque(read_events(run.events), maxlen=1)
    return last[0] if last else None


def _trials(run: RunFolder, session: dict[str, object], storage: str | None) -> Trials:
    if storage is not None:
        return _told(open_study(Place(storage, run.path.name)), storage)
    if session.get("storage") and not run.study.is_file():
        raise RunError(
            f"a report needs the run's study, but that is in {session['storage']}; "
            "name it with --storage URL"
        )
    if not run.study.is_file():
        raise RunError(
            f"a run has a study, but {run.study} is not there; restore it, or go on with the search"
        )
    with _copied(run.study) as copy:
        return _told(open_study(copy), str(run.study))


@contextmanager
def _copied(study: Path) -> Iterator[Path]:
    """A copy of an SQLite file as it is at this moment, whoever may be writing it.

    Opening a study with Optuna writes to it. SQLite's own copying sees what is committed and not
    yet in the file itself; where a log is there, as of a search that goes on or was killed, it has
    to be read too, and where none is, the file is all there is and is read as it stands.
    """
    log = study.with_name(study.name + "-wal")
    mode = "mode=ro" if log.is_file() else "mode=ro&immutable=1"
    with tempfile.TemporaryDirectory(prefix="report-") as folder:
        copy = Path(folder) / study.name
        try:
            address = f"{study.absolute().as_uri()}?{mode}"
            with (
                closing(sqlite3.connect(address, uri=True, timeout=10)) as source,
                closing(sqlite3.connect(copy)) as target,
            ):
                source.backup(target)
        except sqlite3.OperationalError:
            # A folder that may only be read has no place for SQLite's notes beside the log.
            shutil.copyfile(study, copy)
            if log.is_file():
                shutil.copyfile(log, copy.with_name(log.name))
        except sqlite3.DatabaseError as error:
            raise RunError(
                f"a run's study must be a readable database, but {study} is not ({error}); "
                "restore the file"
            ) from None
        yield copy


def _told(study: optuna.Study, where: str) -> Trials:
    try:
        repeats = repeats_of(study.user_attrs)
        trials = study.get_trials(deepcopy=False)
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        raise RunError(
            f"a run's study must be a readable database, but {where} is not "
            f"({type(error).__name__}); restore it"
        ) from None
    finally:
        storage_of(study).close()
    choices: dict[str, str] = {}
    for trial in trials:
        for name, distribution in trial.distributions.items():
            choices.setdefault(name, _words(distribution))
    return (
        tuple(record_of(trial, repeats.get(trial.number, ())) for trial in trials),
        tuple(Point(trial.number, dict(trial.params)) for trial in trials),
        choices,
    )


def _words(distribution: optuna.distributions.BaseDistribution) -> str:
    match distribution:
        case CategoricalDistribution():
            return ", ".join(map(str, distribution.choices))
        case IntDistribution() | FloatDistribution():
            return f"{distribution.low:g} to {distribution.high:g}"
    return str(distribution)
