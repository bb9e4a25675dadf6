"""The audit of the run's data, in short."""

from nas.data.audit import audit, brief
from nas.data.prepare import prepare
from nas.errors import NasError
from nas.report.values import Cell, Part, RunData, Section, TableData

TITLE = "The data"


def audited(data: RunData) -> Section:
    """Splits and findings; python -m nas.data audit has all of it."""
    if data.data is None or data.cache is None:
        return Section(TITLE, ["The report was made without the images, so they are not audited."])
    try:
        prepared = prepare(data.data, data.cache)
        found = audit(prepared, data.cache, size=data.identity.get("size"))
    except NasError as error:
        return Section(TITLE, [f"The images could not be opened: {error}"])
    splits: list[list[Cell]] = [
        [
            one.name, one.images, one.patients,
            ", ".join(f"{domain or 'unknown'} {count}" for domain, count in one.domains.items()),
            one.unreadable,
        ]
        for one in found.splits
    ]  # fmt: skip
    findings: list[list[Cell]] = [
        [str(one.level), one.rule, one.value, one.remedy] for one in found.findings
    ]
    parts: list[Part] = [
        found.verdict,
        *(line[:1].upper() + line[1:] + "." for line in brief(found)[:3]),
        TableData("splits", "Splits", ["split", "images", "known patients", "domains",
                                       "unreadable"], splits),
        TableData("findings", "Findings of the audit",
                  ["level", "rule", "but", "what to do"], findings, most=12),
        "python -m nas.data audit --page FILE writes all of it.",
    ]  # fmt: skip
    return Section(TITLE, parts)
