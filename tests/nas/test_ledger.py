"""The study on disk and in memory: always the same, and quick to write."""

import sqlite3
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.samplers import RandomSampler
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from nas.genome import ImageShape
from nas.ledger import Ledger
from nas.storage import open_study
from nas.study import Ended, Rung
from search_spaces import SPACES
from tests.nas.tables import PairSpace

SPACE = PairSpace()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "study.db"


def attributes(key: str) -> dict[str, Any]:
    return {"key": key, "facts": {"parameters": 5}, "seed": 7, "genome": {"a": 1}}


def proposed(ledger: Ledger, seed: int = 0, **fixed: int) -> int:
    proposal = ledger.propose(RandomSampler(seed=seed), SPACE.suggest, fixed or None)
    ledger.add(proposal, attributes(proposal.genome.key))
    return proposal.number


def told(trial: FrozenTrial) -> tuple[Any, ...]:
    """Everything but identifiers and moments."""
    attrs = (trial.user_attrs, trial.system_attrs, trial.intermediate_values)
    return trial.number, trial.state, trial.values, trial.params, trial.distributions, *attrs


def copied(file: Path) -> Path:
    """A copy of a database that is open."""
    copy = file.with_name(f"copy-{len(list(file.parent.iterdir()))}.db")
    source, target = sqlite3.connect(file), sqlite3.connect(copy)
    source.backup(target)
    source.close()
    target.close()
    return copy


def check_same(ledger: Ledger, file: Path) -> None:
    on_disk = open_study(file).get_trials()
    in_memory = ledger.study.get_trials()
    for disk, memory, record in zip(on_disk, in_memory, ledger.records, strict=True):
        if record.ended is None:
            assert (disk.state is TrialState.WAITING) == (record.number in ledger.free())
            assert disk.values is None
            # To samplers a trial that pauses was stopped, and one that was left is running.
            assert memory.state is (TrialState.PRUNED if record.paused else TrialState.RUNNING)
            assert memory.value == (record.score if record.paused else None)
            memory.state, memory.values = disk.state, disk.values
        assert told(disk) == told(memory)
    again = Ledger(copied(file))  # of a process that finds what another one left
    assert [told(trial) for trial in again.study.get_trials()] == [
        *map(told, ledger.study.get_trials())
    ]
    assert list(again.records) == list(ledger.records)
    assert again.standings() == ledger.standings()
    assert again.tally == ledger.tally
    assert all(again.records[number].ended is None for number in again.free())


def test_disk_and_memory_agree_after_every_step(file: Path) -> None:
    ledger = Ledger(file)
    number = proposed(ledger, a=3, b=4)
    check_same(ledger, file)
    ledger.begin(number, {"budget": 2, "deaths": 0, "mark": "none"})
    check_same(ledger, file)
    ledger.add_rung(number, Rung(2, 0.5, 1.0, {"auroc": 0.7}))
    check_same(ledger, file)
    assert ledger.records[number].paused
    assert (ledger.free(), ledger.left()) == ([number], None)
    ledger.begin(number, {"budget": 6, "deaths": 0, "mark": "x"})
    check_same(ledger, file)
    assert ledger.free() == []
    assert ledger.attribute(number, "attempt")["mark"] == "x"
    ledger.end(number, Ended.STOPPED_EARLY, "place 3 of 3")
    check_same(ledger, file)
    second = proposed(ledger, a=5, b=5)
    ledger.add_rung(second, Rung(2, 0.6, 1.0, {}))
    ledger.add_rung(second, Rung(6, 0.8, 2.0, {}), last=True)
    ledger.end(second, Ended.COMPLETED, "trained")
    check_same(ledger, file)
    assert open_study(file).best_value == 0.8
    again = ledger.propose(RandomSampler(seed=1), SPACE.suggest, {"a": 5, "b": 5})
    like = ledger.records[second]
    ledger.add_ended(again, attributes("5,5"), Ended.DUPLICATE, "seen", like=like)
    assert ledger.records[-1].duplicate_of == second
    assert ledger.records[-1].score == like.score
    check_same(ledger, file)
    over = ledger.propose(RandomSampler(seed=2), SPACE.suggest)
    excess = {"parameters": 0.5}
    ledger.add_ended(over, attributes("x"), Ended.OVER_LIMIT, "too large", excess=excess)
    check_same(ledger, file)
    assert open_study(file).trials[-1].constraints == excess
    assert ledger.tally.counted == 2
    assert ledger.tally.fresh == 0
    ledger.add_repeat(second, Rung(6, 0.6, 2.0, {}))
    assert Ledger(file).standings() == ledger.standings()
    assert ledger.records[second].score == pytest.approx(0.7)
    assert ledger.turn(second, 6) == 2
    ledger.add_failed_repeat(second, 6, "out of memory")
    assert (ledger.repeated, ledger.turn(second, 6)) == (2, 3)
    assert Ledger(file).records[second].score == pytest.approx(0.7)


def test_a_proposal_is_not_there_before_it_is_added(file: Path) -> None:
    ledger = Ledger(file)
    ledger.propose(RandomSampler(seed=0), SPACE.suggest)
    assert open_study(file).get_trials() == []
    assert Ledger(file).left() is None


def test_an_open_trial_is_found_again_with_its_genome(file: Path) -> None:
    ledger = Ledger(file)
    number = proposed(ledger, a=3, b=4)
    again = Ledger(file)
    assert again.left() == number
    assert again.genome(number, SPACE.suggest).key == "3,4"
    again.add_rung(number, Rung(2, 0.5, 1.0, {}))
    again.end(number, Ended.STOPPED_EARLY, "poor")
    check_same(again, file)
    assert again.left() is None


def test_the_first_trial_of_a_genome_is_found_unless_it_was_above_a_limit(file: Path) -> None:
    ledger = Ledger(file)
    over = ledger.propose(RandomSampler(seed=0), SPACE.suggest, {"a": 1, "b": 1})
    ledger.add_ended(over, attributes("1,1"), Ended.OVER_LIMIT, "too large")
    assert ledger.first_of("1,1") is None
    proposed(ledger, a=1, b=1)
    for known in (ledger, Ledger(file)):
        first = known.first_of("1,1")
        assert first is not None
        assert first.number == 1
        assert known.first_of("9,9") is None


def test_parameters_written_at_once_are_those_that_optuna_would_write(
    file: Path, tmp_path: Path
) -> None:
    space = SPACES["chain"](ImageShape(1, 64, 64))
    ledger = Ledger(file)
    proposal = ledger.propose(RandomSampler(seed=3), space.suggest)
    ledger.add(proposal, {"key": proposal.genome.key})
    plain = optuna.create_study(storage=RDBStorage(f"sqlite:///{tmp_path / 'plain.db'}"))
    plain.add_trial(ledger.study.trials[0])
    assert told(open_study(file).trials[0]) == told(plain.trials[0])
    assert len(plain.trials[0].params) > 20


def test_a_space_whose_choices_changed_is_noticed(file: Path) -> None:
    proposed(Ledger(file))

    def other(trial: Any) -> Any:
        trial.suggest_categorical("a", ["x", "y"])
        return SPACE.suggest(trial)

    with pytest.raises(ValueError, match="distribution"):
        Ledger(file).propose(RandomSampler(seed=0), other)
