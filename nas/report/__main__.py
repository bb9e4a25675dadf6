"""A run as one HTML page, with its figures as PNG and its data as CSV: ``python -m nas.report``."""

import sys
from pathlib import Path

from nas.command import Parser, run
from nas.runfolder import DEFAULT_RUNS, RunFolder, newest


def main() -> int:
    """Run the command; returns the exit status."""
    return run(_main)


def parser() -> Parser:
    """The command's options."""
    options = Parser(prog="python -m nas.report", description="A run as one HTML page.")
    options.add_argument("run", nargs="?", metavar="RUN", help="its name; the newest if left out")
    options.add_argument(
        "--runs", type=Path, default=DEFAULT_RUNS, metavar="DIR", help="folder of all runs"
    )
    options.add_argument(
        "--output", type=Path, metavar="DIR", help="where the report is written (RUN/report)"
    )
    options.add_argument(
        "--data", metavar="PATH", help="where the images are; where the search had them if left out"
    )
    options.add_argument("--cache", type=Path, metavar="DIR", help="decoded images (RUNS/.cache)")
    options.add_argument(
        "--no-images", action="store_true", help="leave out what the images are needed for"
    )
    options.add_argument(
        "--storage", metavar="URL", help="database that holds the study, if one does"
    )
    return options


def _main() -> int:
    options = parser().parse_args()
    # Only now: --help should not wait for Optuna and torch.
    from nas.data.opening import CACHE
    from nas.report.read import read_run
    from nas.report.sections import sections_of
    from nas.report.writing import write_report

    chosen = (
        newest(options.runs) if options.run is None else RunFolder.named(options.runs, options.run)
    )
    cache = None if options.no_images else options.cache or options.runs / CACHE
    data = read_run(chosen, data=options.data, cache=cache, storage=options.storage)
    folder = options.output or chosen.path / "report"
    files = write_report(folder, f"Report of {chosen.path.name}", sections_of(data))
    size = files[0].stat().st_size / 1e6
    print(f"{files[0]}: {size:.1f} MB, with {len(files) - 1} files beside it")
    return 0


if __name__ == "__main__":
    sys.exit(main())
