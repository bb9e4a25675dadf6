"""``python -m nas.baselines compare``: the reference networks side by side, trained alike."""

import argparse
import sys
from pathlib import Path

from nas.command import Parser, run
from nas.runfolder import DEFAULT_RUNS


def main() -> int:
    """Run the command; returns the exit status."""
    return run(_main)


def _main() -> int:
    options = _parser().parse_args()
    # Only now: --help should not wait for torch.
    from rich.console import Console

    from nas.baselines.compare_session import run_comparison

    return run_comparison(options, Console(highlight=False, soft_wrap=True))


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m nas.baselines",
        description="Train known networks by one recipe and put them side by side. The same "
        "command goes on with a comparison that was interrupted. The test split is not read.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("what", choices=("compare",), help="compare")
    add("--data", metavar="DATA", help="as for python -m nas.search")
    add("--only", nargs="+", metavar="NAME", help="some of the networks; all by default")
    add("--run", metavar="NAME", help="put the best genome of this run beside them")
    add("--runs", type=Path, default=DEFAULT_RUNS, metavar="DIR", help="folder of all runs")
    add("--out", type=Path, metavar="DIR", help="where results go; named after the data if not "
        "given")  # fmt: skip
    add("--size", type=int, default=64, help="side of the images in pixels")
    add("--channels", type=int, default=1, choices=(1, 3), help="1 for grayscale, 3 for RGB")
    add("--epochs", type=int, default=6, help="of every training")
    add("--seeds", type=int, default=1, metavar="N", help="trainings of every network")
    add("--fold", metavar="NAME", help="what is validated on, as for python -m nas.search")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    return parser


if __name__ == "__main__":
    sys.exit(main())
