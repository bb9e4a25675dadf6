"""Opening data for a command: with bars while it works, and told what is worth knowing."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from nas.data.prepare import Prepared, Report, prepare

CACHE = ".cache"
"""Below the folder of runs: decoded images and the demo set, shared by all runs."""

SYNTHETIC = (
    "SYNTHETIC DATA: these images are drawn by this program, and what is found says nothing about "
    "real X-rays; put images into data/chestxrays, or give --data."
)


@contextmanager
def bars(console: Console) -> Iterator[Report]:
    """Give a report that shows each kind of work as a bar, gone at the end; nothing in a log."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    quiet = not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=quiet) as progress:
        tasks = {}

        def report(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what, total=total)
            progress.update(tasks[what], completed=done, total=total)

        yield report


def opened(spec: str | None, cache: Path, console: Console) -> Prepared:
    """``prepare``, with bars; tells the notes. Leaks are told by whoever asks, or refused.

    Raises:
        DataError: the data cannot be used.
    """
    with bars(console) as report:
        prepared = prepare(spec, cache, report)
    source = prepared.source
    if source.synthetic:
        console.print(SYNTHETIC, style="bold red")
    for note in source.notes:
        console.print(f"note: {note}", markup=False)
    return prepared


def shown(spec: str) -> str:
    """A path as a user would write it: relative where it lies below the working directory."""
    path, here = Path(spec), Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else spec
