"""All sections of a report, in order."""

from nas.report.history import genomes, history
from nas.report.provenance import provenance
from nas.report.summary import summary
from nas.report.values import RunData, Section


def sections_of(data: RunData) -> list[Section]:
    """Every section; one that cannot be drawn says why."""
    past = history(data)
    return [
        summary(data),
        Section(past.title, past.parts, [*past.hidden, genomes(data)]),
        provenance(data),
    ]
