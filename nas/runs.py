"""Runs, looked at and cleaned: ``python -m nas.runs list | show RUN | compare A B | clean``."""

import argparse
import json
import sys
from pathlib import Path

from nas.command import Parser, run
from nas.errors import RunError, SettingsError
from nas.runfolder import DEFAULT_RUNS, RunFolder


def main() -> int:
    """Run the command; returns the exit status."""
    return run(_main)


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    shared = Parser(add_help=False)
    shared.add_argument(
        "--runs", type=Path, default=DEFAULT_RUNS, metavar="DIR", help="folder of all runs"
    )
    shared.add_argument("--json", action="store_true", help="print JSON instead of tables")
    top = Parser(prog="python -m nas.runs", description="Look at runs, compare and clean them.")
    parts = top.add_subparsers(dest="what", required=True)
    parts.add_parser("list", parents=[shared], help="all runs, the newest first")
    show = parts.add_parser("show", parents=[shared], help="one run")
    show.add_argument("run", metavar="RUN")
    show.add_argument("--storage", metavar="URL", help="database that holds its study, if one does")
    compare = parts.add_parser("compare", parents=[shared], help="two runs side by side")
    compare.add_argument("one", metavar="A")
    compare.add_argument("other", metavar="B")
    clean = parts.add_parser("clean", parents=[shared], help="remove what no run needs any more")
    clean.add_argument("run", metavar="RUN", nargs="*", help="only these; all if none is named")
    clean.add_argument(
        "--keep", type=int, default=5, metavar="K",
        help="keep the checkpoints of the best K trials of a run (5)",
    )  # fmt: skip
    clean.add_argument("--caches", action="store_true", help="also caches that nobody uses")
    clean.add_argument(
        "--days", type=float, default=30.0,
        help="with --caches: those that were not used for so many days (30)",
    )  # fmt: skip
    clean.add_argument("--yes", action="store_true", help="remove it; without, only tell what")
    return top


def _main() -> int:
    options = parser().parse_args()
    # Only now: --help should not wait for Optuna.
    from nas.runs_session import clean, compare, show, show_list

    match options.what:
        case "list":
            told = show_list(options.runs, as_json=options.json)
        case "show":
            told = show(_named(options.runs, options.run), options.storage, as_json=options.json)
        case "compare":
            one, other = (_named(options.runs, name) for name in (options.one, options.other))
            told = compare(one, other, as_json=options.json)
        case _:
            if options.keep < 0 or options.days < 0:
                raise SettingsError(
                    "--keep and --days must be at least 0, but are "
                    f"{options.keep} and {options.days:g}; leave them out for 5 and 30"
                )
            told = clean(
                options.runs,
                [_named(options.runs, name) for name in options.run],
                keep=options.keep,
                cache_days=options.days if options.caches else None,
                yes=options.yes,
                as_json=options.json,
            )
    if told is not None:
        print(json.dumps(told, indent=2))
    return 0


def _named(runs: Path, name: str) -> RunFolder:
    found = RunFolder.named(runs, name)
    if not found.manifest.is_file():
        there = ", ".join(sorted(path.parent.name for path in runs.glob("*/run.json"))[:10])
        raise RunError(
            f"a run must be in {runs}, but {name!r} is not; there are: {there or 'none'}"
        )
    return found


if __name__ == "__main__":
    sys.exit(main())
