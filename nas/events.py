"""events.jsonl: every event of a run, one JSON object a line, in the order in which they happened.

Each line has ``at`` (UTC, ISO 8601, to the millisecond), ``event``, and what belongs to it. The
study stays what decides; this file is for people and for programs that watch. A line is written in
one piece, so that searches that share a run do not mix theirs; a process that dies may leave the
last line torn, which readers skip and the next session ends.
"""

import json
import math
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

STARTED = "search_started"
RESUMED = "search_resumed"
PROPOSED = "trial_proposed"
PROMOTED = "trial_promoted"
JOB_STARTED = "job_started"
EPOCH = "epoch"
JOB_FINISHED = "job_finished"
PAUSED = "trial_paused"
COMPLETED = "trial_completed"
FAILED = "trial_failed"
REFUSED = "trial_refused"
FINALS_STARTED = "finals_started"
FINAL_FINISHED = "final_finished"
FINALS_ENDED = "finals_ended"
ENDED = "search_ended"


class EventFile:
    """A tracker (nas.tracking.Tracker) that appends to a file.

    Args:
        path: the file; made at the first event.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._file = path, -1

    def event(self, name: str, **values: Any) -> None:
        """Append a line.

        Raises:
            OSError: the file cannot be written.
        """
        if self._file < 0:
            self._open()
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = json.dumps(finite({"at": at, "event": name, **values}), allow_nan=False) + "\n"
        data = line.encode()
        if os.write(self._file, data) != len(data):
            raise OSError(f"the disk took a part of a line only of {self._path}")

    def close(self) -> None:
        """Close the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _open(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
        size = os.fstat(self._file).st_size
        if size and os.pread(self._file, 1, size - 1) != b"\n":
            os.write(self._file, b"\n")  # a torn line ends here; the next one is whole


def read_events(path: Path) -> Iterator[dict[str, Any]]:
    """Every whole line of an event file, from the first; none where there is no file."""
    if not path.is_file():
        return
    with path.open(errors="replace") as lines:
        for line in lines:
            try:
                event = json.loads(line)
            except ValueError:
                continue  # torn when a process died
            if isinstance(event, dict) and line.endswith("\n"):
                yield event


def finite(value: Any) -> Any:
    """The same plain value with None for numbers that JSON has no way to write."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(name): finite(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [finite(part) for part in value]
    if value is None or isinstance(value, str | int):
        return value
    return str(value)
