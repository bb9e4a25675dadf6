"""All sections of a report, in order."""

from nas.report.architecture import architecture
from nas.report.audited import audited
from nas.report.costs import costs
from nas.report.figures import figures
from nas.report.heat import looks
from nas.report.history import genomes, history
from nas.report.importance import importance
from nas.report.learning import learning
from nas.report.mistakes import baselines, mistakes
from nas.report.parallel import parallel
from nas.report.provenance import provenance
from nas.report.rungs import rungs
from nas.report.summary import summary
from nas.report.values import RunData, Section


def sections_of(data: RunData) -> list[Section]:
    """Every section; one that cannot be drawn says why."""
    past = history(data)
    filters, heat = looks(data)
    return [
        summary(data),
        Section(past.title, past.parts, [*past.hidden, genomes(data)]),
        parallel(data),
        importance(data),
        rungs(data),
        costs(data),
        learning(data),
        architecture(data),
        filters,
        figures(data),
        heat,
        mistakes(data),
        baselines(data),
        audited(data),
        provenance(data),
    ]
