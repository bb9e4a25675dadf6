"""A trial's rows in Optuna's tables, written at once.

Optuna's own storage looks before it writes, each value by itself and through an object mapper: a
proposal of 33 parameters and its training took 16 ms of processor time on the way to SQLite, three
quarters of what the engine cost. Here whatever belongs together is one transaction of a few
statements. What is read with Optuna afterwards is the same, which tests compare.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy
from optuna.distributions import distribution_to_json
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Connection

TRIALS = models.TrialModel.__table__
PARAMETERS = models.TrialParamModel.__table__
USER = models.TrialUserAttributeModel.__table__
SYSTEM = models.TrialSystemAttributeModel.__table__
VALUES = models.TrialValueModel.__table__
STEPS = models.TrialIntermediateValueModel.__table__
STUDIES = models.StudyModel.__table__
BEATS = models.TrialHeartbeatModel.__table__

OPEN = (TrialState.RUNNING, TrialState.WAITING)


def insert(connection: Connection, study_id: int, trial: FrozenTrial) -> tuple[int, int]:
    """Write a trial with everything that is known of it; returns its identifier and number."""
    # Numbers follow from identifiers, so no two drivers may be given one at the same time.
    lock = sqlalchemy.select(STUDIES.c.study_id).where(STUDIES.c.study_id == study_id)
    connection.execute(lock.with_for_update())
    trial_id: int = connection.execute(
        sqlalchemy.insert(TRIALS).values(
            study_id=study_id,
            state=trial.state,
            datetime_start=_utc(trial.datetime_start),
            datetime_complete=_utc(trial.datetime_complete),
        )
    ).inserted_primary_key[0]  # type: ignore[index]
    earlier = sqlalchemy.select(sqlalchemy.func.count(TRIALS.c.trial_id)).where(
        TRIALS.c.study_id == study_id, TRIALS.c.trial_id < trial_id
    )
    number = int(connection.execute(earlier).scalar_one())
    connection.execute(
        sqlalchemy.update(TRIALS).where(TRIALS.c.trial_id == trial_id).values(number=number)
    )
    parameters = [
        {
            "trial_id": trial_id,
            "param_name": name,
            "param_value": trial.distributions[name].to_internal_repr(value),
            "distribution_json": distribution_to_json(trial.distributions[name]),
        }
        for name, value in trial.params.items()
    ]
    if parameters:
        connection.execute(sqlalchemy.insert(PARAMETERS), parameters)
    _attributes(connection, USER, trial_id, trial.user_attrs)
    _attributes(connection, SYSTEM, trial_id, trial.system_attrs)
    _scores(connection, trial_id, trial.intermediate_values)
    _values(connection, trial_id, trial.values)
    return trial_id, number


def change(
    connection: Connection,
    trial_id: int,
    *,
    attributes: Mapping[str, Any] | None = None,
    scores: Mapping[int, float] | None = None,
    values: Sequence[float] | None = None,
    state: TrialState | None = None,
) -> None:
    """Change an open trial; one that has ended is left alone.

    Args:
        attributes: of the user's, JSON values.
        scores: budget -> score.
        values: the trial's, of all aims.
        state: the new one.
    """
    still_open = sqlalchemy.select(TRIALS.c.trial_id).where(
        TRIALS.c.trial_id == trial_id, TRIALS.c.state.in_(OPEN)
    )
    if connection.execute(still_open.with_for_update()).first() is None:
        return
    _attributes(connection, USER, trial_id, attributes or {}, again=True)
    _scores(connection, trial_id, scores or {})
    _values(connection, trial_id, values)
    if state is not None:
        changed: dict[str, Any] = {"state": state}
        if state.is_finished():
            changed["datetime_complete"] = _utc(datetime.now())
        where = TRIALS.c.trial_id == trial_id
        connection.execute(sqlalchemy.update(TRIALS).where(where).values(changed))


def take(connection: Connection, trial_id: int, *, alive: bool) -> bool:
    """Set a trial from WAITING to RUNNING; False if it was not waiting.

    Args:
        alive: whether it gets its first sign of life.
    """
    done = connection.execute(
        sqlalchemy.update(TRIALS)
        .where(TRIALS.c.trial_id == trial_id, TRIALS.c.state == TrialState.WAITING)
        .values(state=TrialState.RUNNING)
    )
    if done.rowcount and alive:
        connection.execute(sqlalchemy.delete(BEATS).where(BEATS.c.trial_id == trial_id))
        connection.execute(sqlalchemy.insert(BEATS).values(trial_id=trial_id))
    return bool(done.rowcount)


def release_silent(connection: Connection, study_id: int, since: datetime) -> None:
    """Set trials from RUNNING to WAITING whose last sign of life was before a moment."""
    silent = sqlalchemy.select(BEATS.c.trial_id).where(BEATS.c.heartbeat < since)
    connection.execute(
        sqlalchemy.update(TRIALS)
        .where(TRIALS.c.study_id == study_id, TRIALS.c.state == TrialState.RUNNING)
        .where(TRIALS.c.trial_id.in_(silent))
        .values(state=TrialState.WAITING)
    )


def _attributes(
    connection: Connection,
    table: sqlalchemy.Table,
    trial_id: int,
    attributes: Mapping[str, Any],
    *,
    again: bool = False,
) -> None:
    if not attributes:
        return
    if again:
        where = (table.c.trial_id == trial_id, table.c.key.in_(list(attributes)))
        connection.execute(sqlalchemy.delete(table).where(*where))
    rows = [
        {"trial_id": trial_id, "key": name, "value_json": json.dumps(value)}
        for name, value in attributes.items()
    ]
    connection.execute(sqlalchemy.insert(table), rows)


def _scores(connection: Connection, trial_id: int, scores: Mapping[int, float]) -> None:
    if not scores:
        return
    rows = []
    for step, score in scores.items():
        stored, kind = models.TrialIntermediateValueModel.intermediate_value_to_stored_repr(score)
        values = {"intermediate_value": stored, "intermediate_value_type": kind}
        rows.append({"trial_id": trial_id, "step": step, **values})
    where = (STEPS.c.trial_id == trial_id, STEPS.c.step.in_(list(scores)))
    connection.execute(sqlalchemy.delete(STEPS).where(*where))
    connection.execute(sqlalchemy.insert(STEPS), rows)


def _values(connection: Connection, trial_id: int, values: Sequence[float] | None) -> None:
    if values is None:
        return
    rows = []
    for objective, value in enumerate(values):
        stored, kind = models.TrialValueModel.value_to_stored_repr(value)
        rows.append(
            {"trial_id": trial_id, "objective": objective, "value": stored, "value_type": kind}
        )
    connection.execute(sqlalchemy.delete(VALUES).where(VALUES.c.trial_id == trial_id))
    connection.execute(sqlalchemy.insert(VALUES), rows)


def _utc(moment: datetime | None) -> datetime | None:
    """As Optuna keeps it: in UTC, without saying so."""
    return None if moment is None else moment.astimezone(UTC).replace(tzinfo=None)
