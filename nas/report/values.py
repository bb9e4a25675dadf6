"""What the report's modules hand to each other: what was read of a run, and what is to be shown."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nas.predictions import Predictions
from nas.report.drawing import Drawing
from nas.runfolder import RunFolder
from nas.study import TrialRecord, best_first

Cell = str | int | float | None
"""None where there is no value."""

Value = str | int | float | bool | None
"""What a parameter may be."""


@dataclass(frozen=True, slots=True)
class Point:
    """A trial's place in the search space.

    Attributes:
        number: of the trial.
        values: parameter -> what was chosen.
    """

    number: int
    values: Mapping[str, Value]


@dataclass(frozen=True)
class RunData:
    """All that is read of a run, once; sections only look at this.

    Attributes:
        run: its folder, for files that one section alone reads.
        manifest: what run.json holds.
        records: its trials by number.
        points: the same trials' places in the space, by number.
        choices: parameter -> its choices or bounds, in words.
        finals: finals.json; None where finals were not decided.
        final_results: how single trainings of the finals ended, also of finals that go on.
        evaluation: export/evaluation.json; None where nothing was exported.
        predictions: of the exported models on the test split, by name.
        data: where the images are, as --data or the last session of run.json names it.
        cache: of decoded images.
        last_event: the last line of events.jsonl; None where there is none.
        problems: sentences about what could not be read.
    """

    run: RunFolder
    manifest: Mapping[str, Any]
    records: tuple[TrialRecord, ...] = ()
    points: tuple[Point, ...] = ()
    choices: Mapping[str, str] = field(default_factory=dict)
    finals: Mapping[str, Any] | None = None
    final_results: tuple[Mapping[str, Any], ...] = ()
    evaluation: Mapping[str, Any] | None = None
    predictions: Mapping[str, Predictions] = field(default_factory=dict)
    data: str | None = None
    cache: Path | None = None
    last_event: Mapping[str, Any] | None = None
    problems: tuple[str, ...] = ()

    @property
    def identity(self) -> Mapping[str, Any]:
        """What the scores depend on."""
        found: Mapping[str, Any] = self.manifest.get("identity", {})
        return found

    @property
    def sessions(self) -> Sequence[Mapping[str, Any]]:
        """The calls of the search."""
        found: Sequence[Mapping[str, Any]] = self.manifest.get("sessions") or ({},)
        return found

    @property
    def objective(self) -> str:
        """What the score is."""
        return str(self.identity.get("objective") or "score")

    @property
    def best(self) -> TrialRecord | None:
        """Of those trained longest, the trial with the highest score."""
        ranked = best_first(self.records)
        return ranked[0] if ranked else None

    @property
    def winner(self) -> TrialRecord | None:
        """Who won the finals; before these are decided, the best trial of the search."""
        if self.finals is not None:
            for record in self.records:
                if record.number == self.finals.get("winner"):
                    return record
        return self.best

    @property
    def budgets(self) -> list[int]:
        """Epochs at which trials were compared, rising."""
        return sorted({rung.budget for record in self.records for rung in record.rungs})

    def scores_at(self, budget: int) -> dict[int, float]:
        """Trial -> its score after so many epochs: the mean over seeds."""
        return {
            record.number: mean
            for record in self.records
            for rung, mean in zip(record.rungs, record.means, strict=True)
            if rung.budget == budget
        }


@dataclass(frozen=True)
class TableData:
    """A table, shown or only written.

    Attributes:
        name: of its CSV file, without the ending.
        caption: above it.
        head: names of the columns.
        rows: as many cells each.
        most: rows shown on the page, from the first; the file has all.
    """

    name: str
    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    most: int = 20


@dataclass(frozen=True)
class Figure:
    """A drawing, on the page and as a PNG file.

    Attributes:
        name: of the file, without the ending.
        drawing: what is drawn.
        caption: what it shows, in words.
    """

    name: str
    drawing: Drawing
    caption: str


@dataclass(frozen=True)
class Picture:
    """Pixels, or an SVG of its own.

    Attributes:
        name: of the file, without the ending.
        data: the file.
        kind: png or svg.
        caption: what it shows; also for whoever hears it.
    """

    name: str
    data: bytes
    kind: str
    caption: str


@dataclass(frozen=True)
class Gallery:
    """Small pictures side by side."""

    title: str
    pictures: Sequence[Picture]


Part = str | TableData | Figure | Picture | Gallery
"""A string is a paragraph of plain text."""


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        title: its heading.
        parts: what is below it, in order.
        hidden: tables that are written as CSV and not shown.
    """

    title: str
    parts: Sequence[Part]
    hidden: Sequence[TableData] = ()
