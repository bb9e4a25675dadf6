"""``python -m nas.data``: look at data before trusting anything that was learned from it.

audit     counts, copies, leaks between splits, shortcuts: table, JSON, page
augment   a picture of augmented samples
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from nas.command import Parser, run
from nas.errors import DataError
from nas.runfolder import DEFAULT_RUNS

FOUND_ERRORS = 1
"""Exit status of an audit that found what a search would refuse."""

SAMPLES = 32


def main() -> int:
    """Run the command; returns the exit status."""
    return run(_main)


def _main() -> int:
    options = _parser().parse_args()
    return _audit(options) if options.command == "audit" else _augment(options)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m nas.data", description="Look at data before learning from it.")
    commands = parser.add_subparsers(dest="command", required=True, parser_class=Parser)
    audit = commands.add_parser("audit", help="counts, copies, leaks between splits, shortcuts")
    audit.add_argument("--json", type=Path, metavar="FILE", help="write everything found as JSON")
    audit.add_argument("--page", type=Path, metavar="FILE",
                       help="write one HTML page with example images")  # fmt: skip
    sheet = commands.add_parser("augment", help=f"a picture of {SAMPLES} augmented samples")
    sheet.add_argument("--out", type=Path, default=Path("augmented.png"), metavar="FILE")
    sheet.add_argument("--size", type=int, default=64, help="side of the images in pixels")
    sheet.add_argument("--seed", type=int, default=0, help="of images and strengths")
    sheet.add_argument("--augment", action="append", default=[], metavar="NAME=VALUE",
                       help="a strength, such as noise=4; none or strong for all")  # fmt: skip
    for command in (audit, sheet):
        command.add_argument("data", nargs="?", help="as the search's --data")
        command.add_argument("--runs", type=Path, default=DEFAULT_RUNS, metavar="DIR",
                             help="folder of all runs, where decoded images are kept")  # fmt: skip
    return parser


def _audit(options: argparse.Namespace) -> int:
    # Only now: --help should not wait for what this needs.
    from rich.console import Console

    from nas.data.audit import audit
    from nas.data.audit_page import page
    from nas.data.audit_table import tables
    from nas.data.opening import CACHE, bars, opened
    from nas.files import write_bytes, write_json

    console, cache = Console(highlight=False, soft_wrap=True), options.runs / CACHE
    prepared = opened(options.data, cache, console)
    with bars(console) as report:
        found = audit(prepared, cache, report)
    for table in tables(found):
        console.print(table)
    if options.json is not None:
        _written(options.json, lambda: write_json(options.json, found.to_json()))
        console.print(f"wrote {options.json}")
    if options.page is not None:
        html = page(found, prepared, cache)
        _written(options.page, lambda: write_bytes(options.page, html.encode()))
        console.print(f"wrote {options.page}")
    return FOUND_ERRORS if found.errors else 0


def _augment(options: argparse.Namespace) -> int:
    import io

    import numpy as np
    import torch
    from rich.console import Console

    from nas.data.augmentation import Augmentation
    from nas.data.cache import load_images
    from nas.data.opening import CACHE, bars, opened
    from nas.data.samples import sample_sheet
    from nas.files import write_bytes
    from nas.preprocessing import check_size

    strengths = Augmentation.parsed(options.augment)
    size, cache = check_size(options.size), options.runs / CACHE
    console = Console(highlight=False, soft_wrap=True)
    source = opened(options.data, cache, console).source
    with bars(console) as report:
        images = load_images(
            source,
            ("train",),
            size=size,
            channels=1,
            cache=cache,
            report=lambda *counts: report("decoding images", *counts),
        )
    chosen = np.random.default_rng(options.seed).permutation(len(images))[:SAMPLES]
    pixels = torch.from_numpy(images.mapped[images.rows[chosen]])
    picture = io.BytesIO()
    sample_sheet(pixels, strengths, options.seed).save(picture, "PNG")
    _written(options.out, lambda: write_bytes(options.out, picture.getvalue()))
    console.print(f"wrote {options.out}")
    return 0


def _written(file: Path, write: Callable[[], None]) -> None:
    try:
        write()
    except OSError as error:
        raise DataError(
            f"{file} must be writable, but is not ({error.strerror or error}); give another file"
        ) from None


if __name__ == "__main__":
    sys.exit(main())
