"""Where everything is from: the command, versions, seeds, settings, checksums."""

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from nas.report.values import Cell, Part, RunData, Section, TableData
from nas.runfolder import now, versions


def provenance(data: RunData) -> Section:
    """All of run.json, as tables."""
    parts: list[Part] = [
        f"The search as a command, as far as run.json tells it: {command(data)}",
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
    own = {"made": now(), "run": data.run.path.name, "versions": versions()}
    parts.append(TableData("this-page", "This page", ["setting", "value"], _rows(own), most=40))
    return Section("Provenance", parts)


def command(data: RunData) -> str:
    """The search's options anew, from what was resolved of them; those that are not kept are not
    there."""
    identity, last = data.identity, data.sessions[-1]
    limits = last.get("limits") or {}
    training, finals = identity.get("training") or {}, data.finals or {}
    counted = sum(record.counts for record in data.records)
    options = {
        "run": data.run.path.name,
        "data": data.data,
        "space": last.get("space") or identity.get("space"),
        "trials": counted or None,
        "fold": identity.get("fold"),
        "size": identity.get("size"),
        "channels": identity.get("channels"),
        "resize": (identity.get("preprocessing") or {}).get("resize"),
        "epochs": identity.get("epochs"),
        "objective": identity.get("objective"),
        "imbalance": training.get("imbalance"),
        "seed": identity.get("seed"),
        "sampler": last.get("sampler"),
        "scheduler": last.get("scheduler"),
        "max-params": limits.get("parameters"),
        "max-macs": limits.get("multiply_adds"),
        "finals-epochs": finals.get("epochs"),
        "finals-seeds": finals.get("seeds"),
        "workers": last.get("workers"),
    }
    words = [f"--{name} {shlex.quote(str(v))}" for name, v in options.items() if v is not None]
    return " ".join(["python -m nas.search", *words])


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
