"""What the command lines share: options, exit status, stopping."""

import argparse
import re
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from nas.errors import NasError, SettingsError

EXIT_REFUSED = 2
"""Of every NasError: what was asked for cannot be done; nothing was lost."""

UNITS = {"": 1, "k": 1_000, "m": 1_000_000, "g": 1_000_000_000}
SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600}


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one sentence."""

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing the usage; see NasError for how it ends."""
        raise SettingsError(f"{message}; {self.prog} --help lists the options")


def run(main: Callable[[], int]) -> int:
    """Run a command; an error that this project raises on purpose becomes one line and status 2."""
    try:
        return main()
    except NasError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_REFUSED
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 128 + signal.SIGINT


def count(text: str) -> int:
    """Read a whole number such as 500000, 500k or 1.5M; raises ArgumentTypeError."""
    found = re.fullmatch(r"(\d{1,15}(?:\.\d+)?)([kmg]?)", text.strip().lower())
    if not found or not (value := round(float(found[1]) * UNITS[found[2]])):
        raise argparse.ArgumentTypeError(
            f"must be a number above 0 such as 500000, 500k or 1.5M, but is {text!r}"
        )
    return value


def count_or_none(text: str) -> int | None:
    """Like ``count``, or None for "none"."""
    return None if text.strip().lower() == "none" else count(text)


def duration_s(text: str) -> float:
    """Read a duration such as 90, 90s, 30m or 2h as seconds; raises ArgumentTypeError."""
    found = re.fullmatch(r"(\d{1,15}(?:\.\d+)?)([smh]?)", text.strip().lower())
    if not found or not (value := float(found[1]) * SECONDS[found[2]]):
        raise argparse.ArgumentTypeError(
            f"must be a duration above 0 such as 90s, 30m or 2h, but is {text!r}"
        )
    return value


class StopRequest:
    """Whether the user, or the machine, asked to stop, and by which signal."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def __call__(self) -> bool:
        """True once a stop was asked for."""
        return self.signal is not None


@contextmanager
def stop_on_signals(stop: StopRequest) -> Iterator[None]:
    """Within the block Ctrl-C and SIGTERM ask ``stop``; a second one ends the process at once."""

    def ask(number: int, _: FrameType | None) -> None:
        stop.signal = number
        for name, handler in old.items():
            signal.signal(name, handler)
        print("stopping after this epoch; once more to end at once", file=sys.stderr)

    old = {name: signal.getsignal(name) for name in (signal.SIGINT, signal.SIGTERM)}
    for name in old:
        signal.signal(name, ask)
    try:
        yield
    finally:
        for name, handler in old.items():
            signal.signal(name, handler)
