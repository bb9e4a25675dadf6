"""The report's files: the page, a PNG of each figure, a CSV of each table."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from nas.errors import RunError
from nas.files import write_bytes
from nas.report.page import page
from nas.report.raster import png
from nas.report.values import Figure, Gallery, Picture, Section, TableData


def write_report(folder: Path, title: str, sections: Sequence[Section]) -> list[Path]:
    """Write everything; returns the files, the page first.

    Files of an earlier report with the same names are replaced.

    Raises:
        RunError: the folder cannot be written.
    """
    files = {"report.html": page(title, sections).encode(errors="replace")}
    for part in [part for one in sections for part in (*one.parts, *one.hidden)]:
        match part:
            case Figure():
                files[f"figures/{part.name}.png"] = png(part.drawing)
            case Picture():
                files[f"figures/{part.name}.{part.kind}"] = part.data
            case Gallery():
                for one in part.pictures:
                    files[f"figures/{one.name}.{one.kind}"] = one.data
            case TableData():
                files[f"data/{part.name}.csv"] = csv_bytes(part)
    try:
        for name, content in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            write_bytes(folder / name, content)
    except OSError as error:
        raise RunError(
            f"a report must be written to {folder}, but that failed ({error.strerror or error}); "
            "free space, mend its permissions, or name another folder with --output"
        ) from None
    return [folder / name for name in files]


def csv_bytes(table: TableData) -> bytes:
    """A table as CSV; numbers with all their digits, nothing where there is no value."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table.head)
    for row in table.rows:
        writer.writerow(["" if cell is None else cell for cell in row])
    return text.getvalue().encode(errors="surrogateescape")
