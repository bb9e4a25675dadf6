"""What a run folder tells of its search, read without changing it."""

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import filelock

from nas.errors import RunError
from nas.export_read import exported_figures
from nas.finals_folder import FinalsFolder
from nas.runfolder import RunFolder
from nas.storage import Place
from nas.study import TrialRecord, best_first, read_records

KINDS = ("checkpoints", "weights", "finals", "export", "study", "other")


@dataclass(frozen=True)
class RunFacts:
    """One run at a glance.

    Attributes:
        name: of its folder.
        manifest: what run.json holds.
        records: its trials by number.
        sizes: bytes by kind, see KINDS.
        finals: what finals.json holds; None where finals were not decided.
        figures: of the exported model, by name; None where there is no export.
        going_on: whether a search holds it; None where that cannot be known.
        changed: when a file last changed, UTC, ISO 8601.
        problem: why some of this could not be read; None if all could.
    """

    name: str
    manifest: Mapping[str, Any] = field(default_factory=dict)
    records: tuple[TrialRecord, ...] = ()
    sizes: Mapping[str, int] = field(default_factory=dict)
    finals: Mapping[str, Any] | None = None
    figures: Mapping[str, Mapping[str, Any]] | None = None
    going_on: bool | None = None
    changed: str = ""
    problem: str | None = None

    @property
    def identity(self) -> Mapping[str, Any]:
        """What the scores depend on."""
        found: Mapping[str, Any] = self.manifest.get("identity", {})
        return found

    @property
    def session(self) -> Mapping[str, Any]:
        """The last call of the search."""
        sessions = self.manifest.get("sessions") or [{}]
        last: Mapping[str, Any] = sessions[-1]
        return last

    @property
    def best(self) -> TrialRecord | None:
        """The best trial: of those trained longest, the one with the highest score."""
        ranked = best_first(self.records)
        return ranked[0] if ranked else None

    @property
    def states(self) -> dict[str, int]:
        """Trials by state: what ended them, or paused or open."""
        return dict(sorted(Counter(map(state_of, self.records)).items()))

    @property
    def seconds(self) -> float:
        """Of training that the search's trials took."""
        return sum(record.seconds for record in self.records)

    def to_json(self) -> dict[str, Any]:
        """Plain values, for --json."""
        best = self.best
        return {
            "name": self.name,
            "data": self.session.get("data"),
            "space": self.identity.get("space"),
            "trials": self.states,
            "best": None if best is None else {"trial": best.number, "score": best.score},
            "seconds": self.seconds,
            "bytes": dict(self.sizes),
            "finals_winner": None if self.finals is None else self.finals["winner"],
            "exported": self.figures is not None,
            "going_on": self.going_on,
            "changed": self.changed,
            "problem": self.problem,
        }


def state_of(record: TrialRecord) -> str:
    """In a word: what ended a trial, or paused, or open."""
    if record.ended is not None:
        return str(record.ended)
    return "paused" if record.paused else "open"


def facts_of(run: RunFolder, storage: str | None = None) -> RunFacts:
    """Read a run; what cannot be read is told in ``problem``.

    Args:
        run: its folder.
        storage: URL of the database that holds its study, where that is not in the folder.
    """
    sizes, changed = _files(run.path)
    problems: list[str] = []

    def tried(read: Any, otherwise: Any) -> Any:
        try:
            return read()
        except RunError as error:
            problems.append(str(error))
            return otherwise

    manifest = tried(run.read_manifest, {})
    elsewhere = ((manifest.get("sessions") or [{}])[-1]).get("storage")
    records: tuple[TrialRecord, ...] = ()
    if storage is None and elsewhere and not run.study.is_file():
        problems.append(f"its study is in {elsewhere}: show RUN --storage URL reads it")
    else:
        place = Place.file(run.study) if storage is None else Place(storage, run.path.name)
        records = tried(lambda: read_records(place), ())
    return RunFacts(
        name=run.path.name,
        manifest=manifest,
        records=records,
        sizes=sizes,
        finals=tried(FinalsFolder(run.finals).read, None),
        figures=tried(lambda: exported_figures(run), None),
        going_on=None if elsewhere else held(run),
        changed=changed,
        problem=" ".join(problems) or None,
    )


def runs_in(folder: Path) -> list[RunFolder]:
    """All runs below a folder, the one that was worked on last first."""
    found = sorted(folder.glob("*/run.json"), key=lambda path: -path.stat().st_mtime_ns)
    return [RunFolder(path.parent) for path in found]


def held(run: RunFolder) -> bool | None:
    """Whether a process holds the run's lock; None where that cannot be tried.

    The lock is taken for a moment to find out, as the system has no way only to look.
    """
    if not (run.path / "lock").is_file():
        return False
    try:
        with filelock.FileLock(run.path / "lock", timeout=0):
            return False
    except filelock.Timeout:
        return True
    except OSError:
        return None


def kind_of(path: Path) -> str:
    """Of a file, by its path below the run folder; one of KINDS."""
    top = path.parts[0]
    if path.name == "checkpoint.pt":
        return "checkpoints"
    if top in ("finals", "export"):
        return top
    if top == "trials" and path.suffix == ".pt":
        return "weights"
    return "study" if top.startswith("study.db") else "other"


def _files(folder: Path) -> tuple[dict[str, int], str]:
    """Bytes by kind, and when the last change was; a file that goes meanwhile is left out."""
    sizes, last = dict.fromkeys(KINDS, 0), 0.0
    for top, _, names in os.walk(folder):
        for name in names:
            path = Path(top) / name
            try:
                found = path.stat()
            except FileNotFoundError:
                continue
            sizes[kind_of(path.relative_to(folder))] += found.st_size
            if not name.endswith(("lock", "-shm", "-wal")):
                last = max(last, found.st_mtime)
    return sizes, datetime.fromtimestamp(last, UTC).isoformat(timespec="seconds")
