"""What a person sees of a search."""

import io
from typing import Any

import pytest
from rich.console import Console

from nas.genome import Activation, ConvBlock, Genome, Pool
from nas.progress import SearchProgress, best_table, duration_text, network_text
from nas.progress_view import View, rung_lines, score_interval
from nas.study import Ended, Rung, TrialRecord
from nas.training import EpochScore

GENOME = Genome(
    (
        ConvBlock(16, 3, pool=Pool.MAX),
        ConvBlock(32, 5, Activation.SILU),
        ConvBlock(8, 2, Activation.ELU, Pool.AVERAGE),
    ),
    dropout=0.2,
).to_json()


def trial(number: int, *scores: float, ended: Ended | None = Ended.COMPLETED) -> TrialRecord:
    rungs = tuple(
        Rung(budget, score, 1.5, {"auroc": score / 2})
        for budget, score in zip((2, 6), scores, strict=False)
    )
    return TrialRecord(
        number=number,
        genome=GENOME,
        key="k",
        facts={"parameters": 12_345, "multiply_adds": 6_700_000},
        rungs=rungs,
        ended=ended,
        reason="because",
        duplicate_of=None,
        seed=1,
    )


def shown(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def plain() -> Console:
    return Console(file=io.StringIO(), width=80, soft_wrap=True)


def follow(console: Console, before: list[TrialRecord], ended: list[TrialRecord]) -> str:
    """Show a search of ten trials of which each takes a minute."""
    now = 0.0

    def clock() -> float:
        return now

    with SearchProgress(console, 10, before, clock) as progress:
        for record in ended:
            progress.started(record, 2)
            progress.reported(record, EpochScore(1, 0.5, 0.876, 0.8, 1.0))
            now += 60
            progress.ended(record)
    return shown(console)


def test_plain_lines_where_there_is_no_terminal() -> None:
    text = follow(plain(), [], [trial(0, 0.8, 0.9), trial(1, 0.7, ended=Ended.STOPPED_EARLY)])
    lines = text.splitlines()
    assert len(lines) == 2
    assert "\x1b" not in text
    assert lines[0].startswith("trial   0  0.9000    3.0 s  6 epochs  16×3 relu /max, 32×5 silu")
    assert lines[0].endswith("[1/10, best 0.9000 (trial 0), about 9 min left]")
    assert lines[1].endswith("[2/10, best 0.9000 (trial 0), about 8 min left]")


def test_trials_that_were_not_trained_are_not_counted_or_listed() -> None:
    assert follow(plain(), [], [trial(0, 0.9, ended=Ended.DUPLICATE)]) == ""


def test_a_failed_trial_says_why() -> None:
    text = follow(plain(), [], [trial(3, ended=Ended.FAILED)])
    assert "trial   3    none" in text
    assert "because" in text
    assert "no score yet" in text


def test_time_left_is_judged_by_this_session_alone() -> None:
    before = [trial(number, 0.5) for number in range(8)]
    text = follow(plain(), before, [trial(8, 0.8, 0.9)])
    assert "[9/10, best 0.9000 (trial 8), about 60 s left]" in text


def test_a_bar_in_a_terminal() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    text = follow(console, [], [trial(0, 0.8, 0.9)])
    assert "1/10" in text
    assert "━" in text
    assert "trial 0, to epoch 2" in text
    assert "best 0.9000" in text


def test_the_table_fits_80_columns_and_ranks_by_budget_first() -> None:
    console = plain()
    records = (
        trial(0, 0.99, ended=Ended.STOPPED_EARLY),
        *(trial(number, 0.5, 0.6 + number / 100) for number in range(1, 12)),
        trial(12, 0.99, 0.99, ended=Ended.DUPLICATE),
        trial(13, ended=Ended.OVER_LIMIT),
    )
    console.print(best_table(records))
    text = shown(console)
    assert max(map(len, text.splitlines())) <= 80
    assert "The best of 12 trained genomes" in text
    numbers = [int(line.split("│")[1]) for line in text.splitlines() if line.startswith("│")]
    assert numbers == list(range(11, 1, -1))
    for word in ("12,345", "6.7 M", "0.7100", "0.3550"):
        assert word in text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (89, "89 s"), (91, "2 min"), (3600, "60 min"), (5400, "1 h 30 min")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


@pytest.mark.parametrize(
    ("genome", "text"),
    [(None, "?"), (GENOME, "16×3 relu /max, 32×5 silu, 8×2 elu /avg")],
)
def test_a_genome_in_one_line(genome: Any, text: str) -> None:
    assert network_text(genome) == text


# Live lines ---------------------------------------------------------------------------------------


def test_live_lines_tell_rungs_interval_speed_and_time() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    view = View(budgets=(2, 6), images=600, validated=(100, 300), finals_epochs=60, workers=2)
    with SearchProgress(console, 10, [trial(0, 0.8, ended=None)], lambda: 0.0, view) as progress:
        progress.started(trial(1, ended=None), 2)
        progress.reported(trial(1), EpochScore(1, 0.5, 0.876, 0.8, 3.0))
    text = shown(console)
    for line in (
        "to epoch 2: 1 scored, 1 running, 1 paused",
        "to epoch 6: 0 scored, 0 running, 0 paused",
        "best 0.8000 (trial 0, 95 % 0.751 to 0.841)",
        "200 images/s, finals then about 2 min",
    ):
        assert line in text


def test_the_interval_is_as_wide_as_the_rarer_class_makes_it() -> None:
    assert score_interval(0.8, ()) is None
    few, many = score_interval(0.8, (20, 2000)), score_interval(0.8, (1010, 1010))
    assert few is not None
    assert many is not None
    assert few[1] - few[0] > 3 * (many[1] - many[0])


def test_paused_trials_that_go_on_are_not_counted_twice() -> None:
    paused = trial(0, 0.8, ended=None)
    assert rung_lines([paused], {}, (2,)) == ["to epoch 2: 1 scored, 0 running, 1 paused"]
    assert rung_lines([paused], {0: 6}, (2, 6)) == [
        "to epoch 2: 1 scored, 0 running, 0 paused",
        "to epoch 6: 0 scored, 1 running, 0 paused",
    ]
