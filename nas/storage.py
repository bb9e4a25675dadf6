"""Where studies are kept: an SQLite file of one driver, or a database that several share.

Everything is Optuna's relational storage, so whatever reads Optuna studies reads these.
"""

import importlib.util
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

import optuna
import sqlalchemy
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from nas import trial_rows
from nas.errors import RunError, SettingsError

STUDY_NAME = "nas"

LOCKED_S = 60.0
"""Seconds for which another program may hold an SQLite file, such as a backup."""

HEARTBEAT_S = 5.0
"""Seconds between two signs of life of a driver that shares its storage."""

SILENT_BEATS = 12
"""Signs of life that must be missing before a driver counts as dead: a minute. One that was only
held up loses the jobs that others took over, and nothing else."""

OPENING_TRIES = 5
"""Two drivers may make the tables of an empty database at once; the second one tries again."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a study is.

    Attributes:
        url: of the database, as SQLAlchemy writes it.
        name: of the study in it.
    """

    url: str
    name: str = STUDY_NAME

    def __post_init__(self) -> None:
        try:
            url = make_url(self.url)
        except ArgumentError:
            raise SettingsError(
                "--storage must be a database's URL, such as "
                f"postgresql://user@host/database, but is {self.url!r}"
            ) from None
        if url.drivername == "postgresql" and importlib.util.find_spec("psycopg2") is None:
            # SQLAlchemy's default driver for this scheme is the old one.
            url = url.set(drivername="postgresql+psycopg")
            object.__setattr__(self, "url", url.render_as_string(hide_password=False))

    @classmethod
    def file(cls, path: Path) -> Self:
        """An SQLite file of one study."""
        return cls(f"sqlite:///{path}")

    @property
    def shared(self) -> bool:
        """Whether several drivers may write the study at once."""
        return not self.url.startswith("sqlite")

    @property
    def missing(self) -> bool:
        """Whether it is an SQLite file that is not there yet."""
        file = make_url(self.url).database
        return not self.shared and (not file or not Path(file).is_file())

    @property
    def shown(self) -> str:
        """The URL without its password, for messages and manifests."""
        return make_url(self.url).render_as_string(hide_password=True)


class Storage(RDBStorage):
    """Optuna's, with quicker writes, and with trials that drivers can take over from each other."""

    def __init__(self, place: Place) -> None:
        self.place = place
        if place.shared:
            # Signs of life are kept without a time zone, so all drivers must have the same one.
            postgres = make_url(place.url).get_backend_name() == "postgresql"
            arguments: dict[str, Any] = {"options": "-c timezone=utc"} if postgres else {}
        else:
            arguments = {"timeout": LOCKED_S}
        # A connection that the server has closed meanwhile is noticed before it is used.
        engine = {"connect_args": arguments, "pool_pre_ping": place.shared}
        super().__init__(place.url, engine_kwargs=engine)
        if not place.shared:
            sqlalchemy.event.listen(self.engine, "connect", _write_ahead)
            self.engine.dispose()  # those that are open already are not set so

    def close(self) -> None:
        """Close all connections; the next use opens new ones."""
        self.remove_session()
        self.engine.dispose()

    def add(self, study_id: int, trial: FrozenTrial) -> tuple[int, int]:
        """Write a trial whole; returns its identifier and number."""
        with self.engine.begin() as connection:
            return trial_rows.insert(connection, study_id, trial)

    def change(self, trial_id: int, **changes: Any) -> None:
        """Change an open trial, all at once; see nas.trial_rows.change."""
        with self.engine.begin() as connection:
            trial_rows.change(connection, trial_id, **changes)

    def release(self, trial_id: int) -> None:
        """Let anybody take up an open trial."""
        self.change(trial_id, state=TrialState.WAITING)

    def take(self, trial_id: int, attributes: Mapping[str, Any] | None = None) -> bool:
        """Take up an open trial that nobody has; False if somebody else was first.

        With its first sign of life at once: a trial that is under way always has one.
        """
        with self.engine.begin() as connection:
            taken = trial_rows.take(connection, trial_id, alive=self.place.shared)
            if taken and attributes:
                trial_rows.change(connection, trial_id, attributes=attributes)
            return taken

    def release_silent(self, study_id: int, seconds: float) -> None:
        """Let anybody take up trials whose driver has given no sign of life for ``seconds``.

        In one statement, so that a trial that somebody else has just taken up is left alone. The
        database's clock alone counts: those of the drivers may jump.
        """
        with self.engine.begin() as connection:
            now = connection.execute(sqlalchemy.select(sqlalchemy.func.now())).scalar_one()
            since = now.replace(tzinfo=None) - timedelta(seconds=seconds)
            trial_rows.release_silent(connection, study_id, since)


class Heartbeats:
    """A thread that gives signs of life for the trials that a driver is at work on."""

    def __init__(
        self, storage: Storage, trials: Callable[[], Collection[int]], interval_s: float
    ) -> None:
        self._storage, self._trials, self._interval_s = storage, trials, interval_s
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True, name="heartbeats")
        self._thread.start()

    def _beat(self) -> None:
        while not self._over.wait(self._interval_s):
            for trial_id in tuple(self._trials()):
                try:
                    self._storage.record_heartbeat(trial_id)
                except optuna.exceptions.StorageInternalError:
                    break  # the driver itself will say that the database cannot be reached

    def close(self) -> None:
        """End the thread."""
        self._over.set()
        self._thread.join()


def open_study(place: Place | Path, aims: int | None = None) -> optuna.Study:
    """The study at a place, or in an SQLite file.

    Args:
        place: where.
        aims: how many; the first is maximised, all others are minimised, and the study is made if
            it is not there. None opens one that is there, whatever its aims are.

    Raises:
        RunError: the database cannot be opened, or holds no such study.
    """
    place = Place.file(place) if isinstance(place, Path) else place
    study = find_study(place) if aims is None else _opened(place, aims)
    if study is None:
        raise RunError(
            f"a run has a study, but {place.shown} has none named {place.name}; run "
            "python -m nas.search"
        )
    if aims is not None and len(study.directions) != aims:
        raise RunError(
            f"a run keeps to its number of aims, but {place.shown} has {len(study.directions)} and "
            f"is now asked for {aims}; give the old --pareto, or another name with --run"
        )
    return study


def find_study(place: Place) -> optuna.Study | None:
    """The study at a place, or None if there is none.

    Raises:
        RunError: the database cannot be opened.
    """
    return None if place.missing else _opened(place, None)


def directions(aims: int) -> list[StudyDirection]:
    """Of a study: the first aim is maximised, all others are minimised."""
    return [StudyDirection.MAXIMIZE] + [StudyDirection.MINIMIZE] * (aims - 1)


def storage_of(study: optuna.Study) -> Storage:
    """The storage of a study that ``open_study`` gave, without Optuna's cache around it."""
    backend = study._storage._backend  # type: ignore[attr-defined]
    assert isinstance(backend, Storage)
    return backend


def _opened(place: Place, aims: int | None) -> optuna.Study | None:
    """The study; made with these aims, or None for None if it is not there."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # our own lines tell what happens
    tries = OPENING_TRIES if place.shared else 1
    for attempt in range(1, tries + 1):
        try:
            storage = Storage(place)
            if aims is None:
                there = place.name in optuna.get_all_study_names(storage=storage)
                if not there:
                    storage.close()
                    return None
                return optuna.load_study(storage=storage, study_name=place.name)
            return optuna.create_study(
                storage=storage,
                study_name=place.name,
                directions=directions(aims),
                load_if_exists=True,
            )
        except ImportError as error:
            raise RunError(
                f"a database needs its driver, but that of {place.shown} is missing ({error}); "
                'for PostgreSQL: pip install ".[postgresql]"'
            ) from None
        except Exception as error:  # noqa: BLE001 - every database driver raises errors of its own
            if attempt == tries:
                raise _unopened(place, error) from None
            time.sleep(0.1 * 2**attempt)
    raise AssertionError("unreachable")


def refusal(error: BaseException) -> str:
    """What a database said, in its own words, of an error around it; one line."""
    cause = error.__cause__ or error
    return str(getattr(cause, "orig", None) or cause).strip().partition("\n")[0][:200]


def _unopened(place: Place, error: Exception) -> RunError:
    known = (error, error.__cause__)
    if any(isinstance(one, sqlalchemy.exc.OperationalError) for one in known):
        # Whole, as far as is known: it is locked, or its disk is full, or its server is away.
        remedy = "start its server" if place.shared else "free space, or end whatever holds it"
        return RunError(
            f"the study must be open to reading and writing, but {place.shown} refused "
            f"({refusal(error)}); {remedy}: the same command goes on"
        )
    return RunError(
        f"the study must be a readable database, but {place.shown} is not "
        f"({type(error).__name__}); restore the file, or name another --run"
    )


def _write_ahead(connection: Any, _: Any) -> None:
    """Wait for the disk every now and then only (https://sqlite.org/wal.html).

    Whatever kills the process, everything committed is there. A power failure may take the last
    commits, never the file: the search then goes on from a moment before. A commit took 11 ms with
    waiting on a busy machine, eight of them a trial.
    """
    connection.execute("pragma journal_mode=wal")
    connection.execute("pragma synchronous=normal")
