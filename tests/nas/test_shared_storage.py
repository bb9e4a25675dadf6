"""Several drivers on one database: a real PostgreSQL server, real processes, real kills."""

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from nas.errors import RunError
from nas.ledger import Ledger
from nas.storage import Place
from nas.study import Ended, TrialRecord, earlier_records, read_records
from tests.nas import postgres

pytestmark = pytest.mark.skipif(
    postgres.found() is None, reason="PostgreSQL is not installed; apt-get install postgresql"
)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with postgres.running() as found:
        yield found


def start(run: Path, url: str, log: Path, trials: int, dies_at: int = 0) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.nas.driver_process"]
    return subprocess.Popen(
        [*command, str(run), url, str(log), str(trials), str(dies_at)],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def together(drivers: list[subprocess.Popen[str]]) -> list[tuple[int, str]]:
    """Let all begin at once when they are ready; what each returned and said last."""
    for driver in drivers:
        assert driver.stdout is not None
        assert driver.stdout.readline() == "ready\n"
    for driver in drivers:
        assert driver.stdin is not None
        driver.stdin.write("go\n")
        driver.stdin.flush()
    said = [driver.communicate(timeout=90)[0].strip() for driver in drivers]
    return [(driver.returncode, text) for driver, text in zip(drivers, said, strict=True)]


def jobs(log: Path, what: str) -> list[str]:
    lines = log.read_text().splitlines() if log.exists() else []
    return [line.partition(" ")[2] for line in lines if line.startswith(what)]


def check_whole(records: tuple[TrialRecord, ...], trials: int) -> None:
    """Every trial counted once, every genome trained once, nothing left open but what pauses."""
    counted = [record for record in records if record.counts]
    assert len(counted) == trials
    keys = Counter(record.key for record in counted)
    assert max(keys.values()) == 1
    assert all(record.ended is not None or record.paused for record in records)
    assert [record.number for record in records] == list(range(len(records)))
    finished = [record for record in records if record.ended is Ended.COMPLETED]
    assert len(finished) >= trials // 3
    best = max(counted, key=lambda record: record.rungs[0].score)
    assert best.budget == 3


def test_two_drivers_share_a_search(tmp_path: Path, url: str) -> None:
    run, logs = tmp_path / "shared", [tmp_path / "log0", tmp_path / "log1"]
    ended = together([start(run, url, log, 40) for log in logs])
    assert [code for code, _ in ended] == [0, 0]
    assert all(text == "all trials done 40" for _, text in ended)
    check_whole(read_records(Place(url, "shared")), 40)
    begun = [jobs(log, "begin") for log in logs]
    assert min(len(some) for some in begun) >= 5  # both did a share of the work
    assert max(Counter(begun[0] + begun[1]).values()) == 1  # and nothing was done twice


def test_what_a_killed_driver_left_is_taken_over_by_the_other(tmp_path: Path, url: str) -> None:
    run, logs = tmp_path / "killed", [tmp_path / "log0", tmp_path / "log1"]
    ended = together([start(run, url, logs[0], 30, dies_at=3), start(run, url, logs[1], 30)])
    assert ended[0][0] == -9
    assert ended[1] == (0, "all trials done 30")
    check_whole(read_records(Place(url, "killed")), 30)
    (lost,) = set(jobs(logs[0], "begin")) - set(jobs(logs[0], "end"))
    assert jobs(logs[1], "end").count(lost) == 1
    finished = Counter(jobs(logs[0], "end") + jobs(logs[1], "end"))
    assert max(finished.values()) == 1


@pytest.mark.slow
def test_a_search_whose_drivers_all_died_goes_on(tmp_path: Path, url: str) -> None:
    run, log = tmp_path / "dead", tmp_path / "log"
    for dies_at in (1, 2, 3):
        ((code, _),) = together([start(run, url, log, 12, dies_at=dies_at)])
        assert code == -9
    assert together([start(run, url, log, 12)]) == [(0, "all trials done 12")]
    check_whole(read_records(Place(url, "dead")), 12)
    assert max(Counter(jobs(log, "end")).values()) == 1


def test_a_study_that_is_not_there_is_told_and_not_made(url: str) -> None:
    place = Place(url, "nowhere")
    assert earlier_records(place) == ()
    with pytest.raises(RunError, match=r"has none named nowhere; run python -m nas\.search"):
        read_records(place)
    Ledger(place, ("size",)).storage.close()  # with two aims: none was made before with one
    assert read_records(place) == ()


def test_runs_on_one_database_do_not_mix(tmp_path: Path, url: str) -> None:
    for name, trials in (("first", 4), ("second", 6)):
        together([start(tmp_path / name, url, tmp_path / f"{name}.log", trials)])
    for name, trials in (("first", 4), ("second", 6)):
        check_whole(read_records(Place(url, name)), trials)
