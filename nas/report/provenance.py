"""Where everything is from: the command, versions, seeds, settings, checksums."""

from collections.abc import Iterator, Mapping
from typing import Any

from nas.report.values import Cell, Part, RunData, Section, TableData


def provenance(data: RunData) -> Section:
    """All of run.json, as tables."""
    parts: list[Part] = [
        "What makes the scores of this run comparable; a search that goes on keeps to it.",
        TableData("identity", "Identity", ["setting", "value"], _rows(data.identity), most=400),
    ]
    for number, session in enumerate(data.sessions, 1):
        if session:
            name = f"session-{number}"
            caption = f"Call {number} of {len(data.sessions)} of the search"
            parts.append(TableData(name, caption, ["setting", "value"], _rows(session), most=400))
    readings = data.manifest.get("test_readings") or ()
    if readings:
        names = ("date", "model", "trial", "n", "auroc", "weights_sha256")
        rows: list[list[Cell]] = [[reading.get(name) for name in names] for reading in readings]
        parts.append(
            TableData("test-readings", "Openings of the test split", list(names), rows, most=100)
        )
    else:
        parts.append("The test split was never opened.")
    return Section("Provenance", parts)


def _rows(values: Mapping[str, Any]) -> list[list[Cell]]:
    return [[name, value] for name, value in _flat("", values)]


def _flat(before: str, values: Mapping[str, Any]) -> Iterator[tuple[str, Cell]]:
    for name, value in values.items():
        own = f"{before}{name}"
        if isinstance(value, Mapping) and value:
            yield from _flat(f"{own} / ", value)
        elif isinstance(value, list | tuple):
            yield own, ", ".join(map(str, value)) or "none"
        else:
            yield own, "none" if value is None or value == {} else str(value)
