"""What a finished run no longer needs: found first, and removed only when asked to."""

import os
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from nas.errors import RunError
from nas.events import ENDED, RESUMED, STARTED, read_events
from nas.finals_folder import FinalsFolder
from nas.run_facts import held
from nas.runfolder import RunFolder
from nas.study import TrialRecord, best_first, read_records
from nas.tidying import CHECKPOINT

DAY_S = 24 * 60 * 60

CALLS = (STARTED, RESUMED, ENDED)
"""Events by which it is known whether a search was interrupted, or killed."""


@dataclass(frozen=True)
class Needless:
    """A file or folder that can go.

    Attributes:
        path: where it is.
        why: in a few words.
        size: bytes.
    """

    path: Path
    why: str
    size: int


def needless_of(run: RunFolder, keep: int) -> list[Needless]:
    """What can go of one run that nobody works on.

    Weights stay, since any trial can be exported; so does the checkpoint of a trial that was under
    way when its search stopped, since the next call begins with it.

    Args:
        run: its folder.
        keep: checkpoints of the best so many trials stay while they could go on.

    Raises:
        RunError: the study cannot be read, or is in a database that several searches share.
    """
    shared = ((run.read_manifest()["sessions"] or [{}])[-1]).get("storage")
    if shared:
        raise RunError(
            f"only a run whose study is in its folder can be cleaned, but that of {run.path} is in "
            f"{shared}, where another search may be at work; delete its checkpoints by hand"
        )
    records = read_records(run.study)
    best = {record.number for record in best_first(records)[:keep]}
    over = is_over(run)
    found = [
        item
        for record in records
        for item in _of_trial(run, record, over and record.number not in best)
    ]
    for result in sorted(run.finals.glob("*/result.json")):
        found += _file(result.with_name(CHECKPOINT), "its final has ended")
    return found


def is_over(run: RunFolder) -> bool:
    """Whether a search has done all that its last call asked for.

    Runs without events (older ones) are over once finals are decided or a model is exported.
    """
    told = [event for event in read_events(run.events) if event.get("event") in CALLS]
    if told:
        return told[-1]["event"] == ENDED and told[-1].get("complete") is True
    return FinalsFolder(run.finals).summary.is_file() or (run.export / "evaluation.json").is_file()


def _of_trial(run: RunFolder, record: TrialRecord, spare: bool) -> Iterator[Needless]:
    """What can go of one trial; ``spare``: it would only go on in a longer search."""
    folder = run.trial(record.number)
    if record.ended is not None:
        yield from _file(folder / CHECKPOINT, f"trial {record.number} has ended")
    elif record.paused and spare:
        yield from _file(folder / CHECKPOINT, f"trial {record.number} was not promoted")
    if spare and (record.ended is not None or record.paused):
        for again in sorted(folder.glob("again-*")):
            yield Needless(again, f"trial {record.number} was trained again", size_of(again))


def old_caches(runs: Path, cache: Path, days: float) -> list[Needless]:
    """Caches that nothing has read or written for so many days.

    Raises:
        RunError: a search goes on, and may be about to read them.
    """
    busy = [
        path.parent for path in runs.glob("*/run.json") if held(RunFolder(path.parent)) is not False
    ]
    if busy:
        raise RunError(
            f"caches are only removed while no search goes on, but one uses {busy[0]}; wait for it"
        )
    since = time.time() - days * DAY_S
    entries = [path for path in sorted(cache.glob("*")) if path.suffix != ".lock"]
    return [
        Needless(path, f"not used for {days:g} days", size_of(path))
        for path in entries
        if _last_use(path) <= since
    ]


def remove(items: Sequence[Needless]) -> int:
    """Remove files and folders; returns the bytes that this freed.

    Raises:
        RunError: the system refuses; what was removed before stays so.
    """
    freed = 0
    for item in items:
        try:
            if item.path.is_dir():
                shutil.rmtree(item.path)
            else:
                item.path.unlink(missing_ok=True)
        except OSError as error:
            raise RunError(
                f"what is cleaned must be removable, but {item.path} is not "
                f"({error.strerror or error}); mend its permissions"
            ) from None
        freed += item.size
    return freed


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    return sum(file.stat().st_size for file in _within(path))


def _last_use(path: Path) -> float:
    """When a file, or any in a folder, was last read or written; seconds of the epoch."""
    times = [max(s.st_atime, s.st_mtime) for s in (file.stat() for file in _within(path))]
    return max(times, default=path.stat().st_mtime)


def _within(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    return [Path(top) / name for top, _, names in os.walk(path) for name in names]


def _file(path: Path, why: str) -> list[Needless]:
    return [Needless(path, why, path.stat().st_size)] if path.is_file() else []
