"""The command line ``python -m nas.search``."""

import argparse
from pathlib import Path

from nas.command import (
    Parser,
    count,
    count_or_none,
    duration_s,
    run,
)
from nas.errors import SettingsError
from nas.runfolder import DEFAULT_RUNS

CPU_MULTIPLY_ADDS = 60_000_000
"""Default limit on CPUs for 64×64 images (more for larger ones, by area): 58 % of the genomes of
the chain space are below it, and 50 trials on 5,216 images end within half an hour on 2 cores."""


def main() -> int:
    """Run the command; returns the exit status."""
    return run(_main)


def _main() -> int:
    options = _parser().parse_args()
    # Only now: --help should not wait for torch.
    from rich.console import Console

    from nas.search_session import run_search

    return run_search(options, Console(highlight=False, soft_wrap=True))


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m nas.search",
        description="Search a small CNN for a folder of labelled images. The same command goes on "
        "with a search that was interrupted.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--trials", type=int, default=50, help="total of genomes to train")
    add("--data", metavar="DATA",
        help="DIR/train/<CLASS>/*, DIR/test/<CLASS>/*, or DIR/<CLASS>/*; a CSV file; an .npz file; "
        "medmnist:NAME@SIZE, mnist, fashion-mnist, cifar10, demo; without it data/chestxrays, or "
        "else synthetic demo images")  # fmt: skip
    add(
        "--allow-leaks",
        action="store_true",
        help="go on although splits share patients or images; the model's card says so",
    )
    add("--fold", metavar="NAME",
        help="what is validated on: val, patients-1 to patients-6, or domain-NAME; by default the "
        "first of these that there is")  # fmt: skip
    add(
        "--run", metavar="NAME", help="name of the run; made from data, space and size if not given"
    )
    add("--runs", type=Path, default=DEFAULT_RUNS, metavar="DIR", help="folder of all runs")
    add("--space", default="chain", help="search space")
    add("--size", type=int, default=64, help="side of the images in pixels")
    add(
        "--resize",
        default="squash",
        choices=("squash", "crop", "letterbox"),
        help="what becomes of the aspect ratio: ignored, cut off, filled up with black",
    )
    add("--channels", type=int, default=1, choices=(1, 3), help="1 for grayscale, 3 for RGB")
    add("--epochs", type=int, default=6, help="full training; poor genomes stop at a third of it")
    add("--objective", default="robust", choices=("robust", "auroc"),
        help="score: balanced accuracy under acquisition shifts, or clean AUROC")  # fmt: skip
    add("--augment", action="append", default=[], metavar="NAME=VALUE",
        help="an augmentation's strength, such as rotation_degrees=5, or none")  # fmt: skip
    add("--imbalance", default="weights",
        choices=("none", "weights", "sampling", "logit_adjustment"),
        help="what is done where classes are not equally frequent")  # fmt: skip
    add(
        "--sampler",
        default="tpe",
        help="who proposes genomes: tpe, surrogate, local, evolution, gp, nsga2, random",
    )
    add("--seed", type=int, default=0, help="of everything random")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    add("--timeout", type=duration_s, metavar="TIME", help="stop after this time: 90s, 30m, 2h")
    add("--max-params", type=count, metavar="N", help="refuse larger networks, as in 500k")
    add("--max-macs", type=_limit, default="auto", metavar="N",
        help="refuse networks with more multiply-adds per image, as in 60M; none for no limit; "
        f"auto is {CPU_MULTIPLY_ADDS // 10**6}M at 64 pixels on a CPU and no limit "
        "elsewhere")  # fmt: skip
    return parser


def _limit(text: str) -> int | str | None:
    return text if text == "auto" else count_or_none(text)


def multiply_adds_limit(wish: int | str | None, device: str, size: int) -> int | None:
    """The limit that ``--max-macs`` means on a device, for square images of ``size`` pixels."""
    if wish != "auto":
        if isinstance(wish, str):
            raise SettingsError(f"--max-macs must be a number, none or auto, but is {wish!r}")
        return wish
    return round(CPU_MULTIPLY_ADDS * (size / 64) ** 2) if device == "cpu" else None
