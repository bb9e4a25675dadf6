"""``python -m nas.genome show``: a network's layers in figures, and drawn."""

import argparse
import sys
from pathlib import Path

from nas.command import Parser, run
from nas.errors import SettingsError
from nas.runfolder import DEFAULT_RUNS

WIDEST = 100
"""Characters of a drawing; in wider ones the eye loses the line."""


def main() -> int:
    """Run the command; returns the exit status."""
    return run(_main)


def _main() -> int:
    return _show(_parser().parse_args())


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m nas.genome", description="Look at architectures.")
    commands = parser.add_subparsers(dest="command", required=True, parser_class=Parser)
    show = commands.add_parser(
        "show",
        help="layers in figures, and the network drawn",
        description="Print the layers of a network with output shape, parameters, multiply-adds "
        "for one image and receptive field, and draw it, as text and as SVG.",
    )
    add = show.add_argument
    add("what", metavar="WHAT", help="best, a trial's number, a .json file with a genome, a .pth "
        "file with an exported model, or a known network such as resnet18")  # fmt: skip
    add("--run", metavar="NAME", help="the trial's run; the newest if not given")
    add("--runs", type=Path, default=DEFAULT_RUNS, metavar="DIR", help="folder of all runs")
    add("--storage", metavar="URL", help="of the search, if it was given one")
    add("--size", type=int, metavar="PIXELS", help="side of the images, if not as in the run; "
        "64 for a .json file")  # fmt: skip
    add("--channels", type=int, metavar="N", help="of the images; 1 for a .json file")
    add("--classes", type=int, metavar="N", help="how many; 2 for a .json file")
    add("--all", action="store_true", help="a row for every layer within blocks, too")
    add("--svg", type=Path, metavar="FILE",
        help="where to draw it; for a trial, network.svg in its folder if not given")  # fmt: skip
    return parser


def _show(options: argparse.Namespace) -> int:
    # Only now: --help should not wait for what this needs.
    from rich.console import Console

    from nas.files import write_bytes
    from nas.genome.brief import brief
    from nas.genome.parts import parts_of
    from nas.genome.svg import network_svg
    from nas.genome.table import layer_table, totals
    from nas.genome.text_drawing import text_drawing
    from nas.genome_source import Given, find

    given = Given(
        options.size, options.channels, options.classes, options.run, options.runs, options.storage
    )
    shown = find(options.what, given)
    parts = parts_of(shown.genome, shown.image, shown.classes)
    told = totals(parts, shown.classes)
    console = Console(highlight=False, markup=False, emoji=False)
    for line in (shown.title, brief(shown.genome), f"{told}; key {shown.genome.key}"):
        console.print(line, soft_wrap=True)
    console.print(layer_table(parts, everything=options.all))
    console.print(text_drawing(parts, min(console.width, WIDEST)), soft_wrap=True)
    file = options.svg or shown.drawing
    if file is not None:
        svg = network_svg(parts, shown.title, f"{brief(shown.genome)}: {told}.")
        try:
            write_bytes(file, svg.encode())
        except OSError as error:
            raise SettingsError(
                f"the drawing must be written to {file}, but that failed "
                f"({error.strerror or error}); give another file with --svg"
            ) from None
        console.print(f"wrote {file}", soft_wrap=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
