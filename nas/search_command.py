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
"""Default limit on CPUs for 64×64 images (more for larger ones, by area): a third of the genomes of
the chain space are below it (59 % of those that repeat no block, of which 50 trials on 5,216 images
end within half an hour on 2 cores)."""

LIST = "list"
"""In place of a search space: tell which there are."""


def main() -> int:
    """Run the command; returns the exit status."""
    return run(_main)


def _main() -> int:
    options = _parser().parse_args()
    # Only now: --help should not wait for torch.
    if options.space == LIST:
        from search_spaces.loading import listing

        print(listing())
        return 0
    from rich.console import Console

    from nas.search_session import run_search

    console = Console(highlight=False, soft_wrap=True, stderr=options.json, quiet=options.quiet)
    return run_search(options, console)


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
    add("--space", default="chain", metavar="SPACE",
        help=f"which networks there are: a name ({LIST} shows them and what they choose from), "
        "my_space.toml or my_space.py:CLASS")  # fmt: skip
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
        help="an augmentation's strength, such as noise=4; none or strong for all")  # fmt: skip
    add("--imbalance", default="weights",
        choices=("none", "weights", "sampling", "logit_adjustment"),
        help="what is done where classes are not equally frequent")  # fmt: skip
    add("--seed", type=int, default=0, help="of everything random")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    _add_deciding(parser)
    _add_finals(parser)
    _add_limits(parser)
    _add_running(parser)
    _add_showing(parser)
    return parser


def _add_deciding(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("who is tried, and who trains further").add_argument
    add(
        "--sampler",
        default="surrogate",
        help="who proposes genomes: surrogate, local, evolution, tpe, gp, nsga2, random",
    )
    add("--scheduler", default="expecting", choices=("expecting", "halving"),
        help="who trains further: after half of the search whatever is expected to be best, or "
        "the best third at each rung")  # fmt: skip
    add("--repeats", type=int, default=2,
        help="most trainings from another seed, where two scores are too near to tell")  # fmt: skip
    add("--pareto", metavar="SCORE,COST",
        help="search for a front: score, robust or auroc, and then some of params, macs, memory, "
        "latency")  # fmt: skip
    add("--warm-start", nargs="+", default=[], metavar="RUN",
        help="earlier runs of the same space whose best genomes are tried first")  # fmt: skip
    add("--inherit", action="store_true",
        help="a genome that differs in one choice from a trained one begins with its "
        "weights")  # fmt: skip
    add("--screen", type=int, default=0, metavar="N",
        help="draw N random genomes, discard the quarter that looks worst untrained, and try the "
        "others first")  # fmt: skip


def _add_finals(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("finals: the best are trained again").add_argument
    add("--finals", type=_whole, default=5, metavar="N",
        help="so many of the best genomes, on other divisions than the search's; 0 for "
        "none")  # fmt: skip
    add("--finals-epochs", type=_whole, metavar="N",
        help="of every training; twice --epochs if not given")  # fmt: skip
    add("--finals-seeds", type=_whole, default=3, metavar="N",
        help="with which the winner is trained on every division by patient")  # fmt: skip


def _add_limits(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("limits, decided before any training").add_argument
    add("--timeout", type=duration_s, metavar="TIME",
        help="stop after this time and the epoch under way: 90s, 30m, 2h")  # fmt: skip
    add("--finals-share", type=float, metavar="SHARE",
        help="share of --timeout that is left for finals; half of it if not given")  # fmt: skip
    add("--max-params", type=count, metavar="N", help="refuse larger networks, as in 500k")
    add("--max-macs", type=_limit, default="auto", metavar="N",
        help="refuse networks with more multiply-adds per image, as in 60M; none for no limit; "
        f"auto is {CPU_MULTIPLY_ADDS // 10**6}M at 64 pixels on a CPU and no limit "
        "elsewhere")  # fmt: skip
    add("--max-latency-ms", type=_positive, metavar="MS",
        help="refuse networks that answer one image more slowly on this device")  # fmt: skip
    add("--max-memory-mb", type=_positive, metavar="MB",
        help="refuse networks that hold more memory at once for one image")  # fmt: skip


def _add_running(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("where it runs").add_argument
    add("--workers", type=_workers, default="auto", metavar="N",
        help="trainings at once; auto is as many as the memory of the GPUs holds, and on a CPU "
        "one, or one for each core where a self-test found that faster")  # fmt: skip
    add("--executor", default="auto", choices=("auto", "inline", "processes", "ray"),
        help="what runs them: this process, several of them, or a Ray cluster")  # fmt: skip
    add("--ray-address", metavar="ADDRESS",
        help="of a Ray cluster: auto, HOST:PORT or ray://HOST:PORT; by default one on this "
        "machine")  # fmt: skip
    add("--gpus-per-job", type=float, default=0.0, metavar="SHARE", help="GPUs of a job on Ray")
    add("--cpus-per-job", type=float, default=1.0, metavar="N", help="cores of a job on Ray")
    add("--storage", metavar="URL",
        help="database that several searches of one run share, such as "
        "postgresql://user@host/name")  # fmt: skip


def _add_showing(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("what is told").add_argument
    add("--track", action="append", default=[], choices=("tensorboard", "mlflow", "wandb"),
        help="tell this tracker too, beside events.jsonl in the run folder")  # fmt: skip
    add("--quiet", action="store_true", help="print nothing but errors")
    add("--json", action="store_true",
        help="print the result as one JSON object; everything else goes to stderr")  # fmt: skip


def _whole(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 0, but is {text!r}")
    return int(text)


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a number above 0, but is {text!r}")
    return value


def _workers(text: str) -> int | None:
    if text == "auto":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(
            f"must be a whole number of at least 1, or auto, but is {text!r}"
        )
    return int(text)


def _limit(text: str) -> int | str | None:
    return text if text == "auto" else count_or_none(text)


def multiply_adds_limit(wish: int | str | None, device: str, size: int) -> int | None:
    """The limit that ``--max-macs`` means on a device, for square images of ``size`` pixels."""
    if wish != "auto":
        if isinstance(wish, str):
            raise SettingsError(f"--max-macs must be a number, none or auto, but is {wish!r}")
        return wish
    return round(CPU_MULTIPLY_ADDS * (size / 64) ** 2) if device == "cpu" else None
