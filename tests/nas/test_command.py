import argparse
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import FrameType

import pytest

from nas import command
from nas.command import (
    EXIT_REFUSED,
    Parser,
    StopRequest,
    count,
    count_or_none,
    duration_s,
    run,
    stop_on_signals,
)
from nas.errors import DataError, NasError, SettingsError, TrainingError, TrainingFailure


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("500000", 500_000),
        ("500k", 500_000),
        ("500K", 500_000),
        ("1.5M", 1_500_000),
        ("1.5m", 1_500_000),
        ("2g", 2_000_000_000),
        ("0.001k", 1),
        ("1.001k", 1001),  # in binary a little less
        ("2.0", 2),
        (" 7 ", 7),
        ("007", 7),
    ],
)
def test_count(text: str, value: int) -> None:
    result = count(text)
    assert result == value
    assert type(result) is int
    assert count_or_none(text) == value


BAD_COUNTS = [
    "",
    "0",
    "0k",
    "0.4",
    "-1",
    "+1",
    "1e6",
    "1,000",
    "1 k",
    "kk",
    "1kk",
    "1t",
    ".5",
    "1.",
]
TOO_LONG = "9" * 400


@pytest.mark.parametrize("text", [*BAD_COUNTS, "nan", "inf", "None of it", TOO_LONG])
def test_other_counts_are_refused(text: str) -> None:
    for function in (count, count_or_none):
        with pytest.raises(argparse.ArgumentTypeError) as caught:
            function(text)
        assert str(caught.value) == (
            f"must be a number above 0 such as 500000, 500k or 1.5M, but is {text!r}"
        )


@pytest.mark.parametrize("text", ["none", "None", " NONE "])
def test_no_count(text: str) -> None:
    assert count_or_none(text) is None
    with pytest.raises(argparse.ArgumentTypeError):
        count(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("90s", 90),
        ("30m", 1800),
        ("2h", 7200),
        ("1.5H", 5400),
        ("0.5", 0.5),
        (" 1S ", 1),
    ],
)
def test_duration(text: str, seconds: float) -> None:
    assert duration_s(text) == seconds


BAD_DURATIONS = ["", "0", "0h", "-5", "1d", "1h30m", "1 h", "soon", "inf", "1e3", "1ms", TOO_LONG]


@pytest.mark.parametrize("text", BAD_DURATIONS)
def test_other_durations_are_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError) as caught:
        duration_s(text)
    assert str(caught.value) == (
        f"must be a duration above 0 such as 90s, 30m or 2h, but is {text!r}"
    )


# The parser


def parser() -> Parser:
    parser = Parser(prog="nas.thing")
    parser.add_argument("--size", type=count, required=True)
    parser.add_argument("--mode", choices=["a", "b"])
    return parser


def test_parser_reads() -> None:
    assert vars(parser().parse_args(["--size", "2k"])) == {"size": 2000, "mode": None}


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--size", "x"], "argument --size: must be a number above 0"),
        (["--size", TOO_LONG], "argument --size: must be a number above 0"),
        (["--size", "1", "--sise", "2"], "unrecognized arguments: --sise 2"),
        (["--size", "1", "--mode", "c"], "argument --mode: invalid choice"),
        ([], "the following arguments are required: --size"),
    ],
)
def test_a_wrong_option_is_one_sentence(
    arguments: list[str], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SettingsError) as caught:
        parser().parse_args(arguments)
    message = str(caught.value)
    assert problem in message
    assert message.endswith("; nas.thing --help lists the options")
    assert "\n" not in message
    assert capsys.readouterr() == ("", "")


def test_errors_of_a_subcommand_too() -> None:
    top = Parser(prog="nas")
    top.add_subparsers().add_parser("sub").add_argument("--n", type=int)
    with pytest.raises(SettingsError, match="nas sub --help"):
        top.parse_args(["sub", "--n", "x"])


def test_help_is_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        run(lambda: len(vars(parser().parse_args(["--help"]))))
    assert caught.value.code == 0
    assert "--size" in capsys.readouterr().out


# Exit status


def raising(error: BaseException) -> Callable[[], int]:
    def main() -> int:
        raise error

    return main


@pytest.mark.parametrize("status", [0, 1, 7])
def test_a_command_that_ends_well(status: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(lambda: status) == status
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    "error",
    [
        NasError("a rule, a value; a remedy"),
        DataError("a rule, a value; a remedy"),
        TrainingError(TrainingFailure.NOT_FINITE, "a rule, a value; a remedy"),
    ],
)
def test_an_error_of_ours_is_one_line_and_status_2(
    error: NasError, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(raising(error)) == EXIT_REFUSED == 2
    assert capsys.readouterr() == ("", "error: a rule, a value; a remedy\n")


def test_ctrl_c_is_status_130(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(raising(KeyboardInterrupt())) == 130
    assert capsys.readouterr() == ("", "interrupted\n")


@pytest.mark.parametrize("error", [ValueError("x"), SystemExit(3)])
def test_anything_else_is_a_defect_and_passes(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught:
        run(raising(error))
    assert caught.value is error


# Signals

SIGNALS = [signal.SIGINT, signal.SIGTERM]


@pytest.fixture
def handled() -> Iterator[list[int]]:
    """Signals that reach the handlers which were there before; these are put back afterwards."""
    seen: list[int] = []

    def handler(number: int, frame: FrameType | None) -> None:
        seen.append(number)

    old = {number: signal.signal(number, handler) for number in SIGNALS}
    yield seen
    for number, before in old.items():
        signal.signal(number, before)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_asks_to_stop(
    handled: list[int], number: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    stop = StopRequest()
    with stop_on_signals(stop):
        assert not stop()
        os.kill(os.getpid(), number)
        assert stop()
        assert stop.signal == number
    assert stop()
    assert handled == []
    assert capsys.readouterr() == ("", "stopping after this epoch; once more to end at once\n")


@pytest.mark.parametrize("first", SIGNALS)
@pytest.mark.parametrize("second", SIGNALS)
def test_a_second_signal_does_what_it_did_before(
    handled: list[int], first: signal.Signals, second: signal.Signals
) -> None:
    stop = StopRequest()
    with stop_on_signals(stop):
        os.kill(os.getpid(), first)
        assert handled == []
        os.kill(os.getpid(), second)
        assert handled == [second]
    assert stop.signal == first


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("fails", [False, True])
def test_handlers_are_put_back(handled: list[int], number: signal.Signals, fails: bool) -> None:
    stop = StopRequest()
    before = [signal.getsignal(name) for name in SIGNALS]
    with suppress(ZeroDivisionError), stop_on_signals(stop):
        assert [signal.getsignal(name) for name in SIGNALS] != before
        if fails:
            raise ZeroDivisionError
    assert [signal.getsignal(name) for name in SIGNALS] == before
    os.kill(os.getpid(), number)
    assert handled == [number]
    assert not stop()


def test_blocks_within_blocks(handled: list[int]) -> None:
    outer, inner = StopRequest(), StopRequest()
    with stop_on_signals(outer):
        with stop_on_signals(inner):
            os.kill(os.getpid(), signal.SIGTERM)
        assert (inner(), outer()) == (True, False)
        os.kill(os.getpid(), signal.SIGTERM)
        assert outer()
    assert handled == []


TWICE = """
import os, signal
from nas.command import StopRequest, stop_on_signals
with stop_on_signals(StopRequest()):
    os.kill(os.getpid(), signal.SIGTERM)
    print("still here", flush=True)
    os.kill(os.getpid(), signal.SIGTERM)
    print("never printed", flush=True)
"""


def test_a_second_sigterm_ends_the_process() -> None:
    done = subprocess.run(
        [sys.executable, "-c", TWICE],
        cwd=Path(command.__file__).parents[1],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == -signal.SIGTERM
    assert done.stdout == "still here\n"
    assert done.stderr == "stopping after this epoch; once more to end at once\n"
