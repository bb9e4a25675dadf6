"""How fast training is: the usual loop, ours and the bare step, in turn, on this machine.

    python -m tests.benchmarks.training --data data/chestxrays
    python -m tests.benchmarks.training --data data/chestxrays --sizes 64 --networks small

Every contender runs in a process of its own (tests/benchmarks/contenders.py), and they take turns:
a round is some steps of each, so that a machine which is slow for a while is slow for all, and
ratios are of one round. Told are medians over rounds and, in brackets, the lowest and the highest.
Memory is the most that a process held, the loop's loaders included. The usual loop has as many
loader processes as served it best on the small network, of 0, 1, 2 and 4 (8 on a GPU).
Decoding, which ours does once, is told apart. Only the train split is read.
"""

import argparse
import json
import multiprocessing
import os
import platform
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
import torchvision
from rich.console import Console
from rich.table import Table

from nas.data.cache import load_images
from nas.data.sources import open_source
from nas.devices import choose, keep_freed_memory
from nas.files import write_json
from nas.genome import ConvBlock, Genome, Order, Pool
from nas.references import REFERENCES
from nas.workers import usable_cores
from tests.benchmarks.contenders import BATCH, CONTENDERS, Contender, Task

LOADERS = {"cpu": (0, 1, 2, 4), "cuda": (8,)}

MIB = 1 << 20


def _chain(*filters: int) -> Genome:
    blocks = [ConvBlock(n, 3, pool=Pool.MAX, order=Order.POOL_BEFORE_NORM) for n in filters]
    return Genome(tuple(blocks))


NETWORKS: Mapping[str, Genome] = {
    "tiny": _chain(8, 16, 32),
    "small": _chain(32, 64, 64, 128),
    "original": REFERENCES["original"].genome,
    "resnet18": REFERENCES["resnet18"].genome,
}
"""From 6 thousand parameters to 11 million."""


def _serve(line: Connection, name: str, task: Task) -> None:
    """Be a contender: told a number of steps, answer seconds; told None, answer peak memory."""
    if name != "usual":  # nobody's usual loop does this
        keep_freed_memory()
    contender: Contender = CONTENDERS[name](task)
    while (count := line.recv()) is not None:
        line.send(contender.steps(count))
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    del contender  # its loaders end, and are counted
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    if choose(task.device).device.type == "cuda":
        held = torch.cuda.max_memory_allocated()
    line.send((held + children * (task.workers if name == "usual" else 0)) / MIB)


@contextmanager
def _contender(name: str, task: Task) -> Iterator[Connection]:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there, name, task))
    process.start()
    there.close()
    try:
        yield here
    finally:
        here.close()
        process.join()


def _asked(line: Connection, what: int | None) -> float:
    line.send(what)
    return float(line.recv())


def best_workers(task: Task, steps: int) -> int:
    """The number of loader processes with which the usual loop is fastest."""
    seconds = {}
    for workers in LOADERS["cuda" if task.device.startswith("cuda") else "cpu"]:
        with _contender("usual", replace(task, workers=workers)) as line:
            _asked(line, 4 + 2 * workers)
            seconds[workers] = _asked(line, steps)
            _asked(line, None)
    return min(seconds, key=lambda workers: seconds[workers])


def measured(task: Task, rounds: int, budget_s: float) -> dict[str, Any]:
    """One network at one size.

    Args:
        rounds: of all contenders in turn.
        budget_s: roughly, of one contender in one round.
    """
    with (
        _contender("usual", task) as usual,
        _contender("ours", task) as ours,
        _contender("bare", task) as bare,
    ):
        lines = {"usual": usual, "ours": ours, "bare": bare}
        steps = {}
        for name, line in lines.items():
            _asked(line, 3)
            steps[name] = max(2, min(64, round(3 * budget_s / _asked(line, 3))))
        seconds: dict[str, list[float]] = {name: [] for name in lines}
        for _ in range(rounds):
            for name, line in lines.items():
                # What loaders prepared while others were running is not counted.
                _asked(line, 2 * task.workers + 1 if name == "usual" else 1)
                seconds[name].append(_asked(line, steps[name]) / steps[name])
        memory = {name: _asked(line, None) for name, line in lines.items()}
    return {
        "images_per_s": {name: [BATCH / s for s in times] for name, times in seconds.items()},
        "usual_over_ours": _ratios(seconds["usual"], seconds["ours"]),
        "ours_over_bare": _ratios(seconds["ours"], seconds["bare"]),
        "steps": steps,
        "peak_mib": memory,
    }


def _ratios(one: Sequence[float], other: Sequence[float]) -> list[float]:
    return [a / b for a, b in zip(one, other, strict=True)]


def decoding(folder: Path, size: int) -> dict[str, float]:
    """What preparing the data takes that is done once: decoding into an empty cache."""
    with tempfile.TemporaryDirectory() as empty:
        source = open_source(str(folder), Path(empty))
        started = time.perf_counter()
        images = load_images(source, ("train", "val"), size=size, channels=1, cache=Path(empty))
        seconds = time.perf_counter() - started
    return {"images": len(images), "seconds": seconds, "images_per_s": len(images) / seconds}


def _text(values: Sequence[float], form: str) -> str:
    middle, low, high = (f(values) for f in (statistics.median, min, max))
    return f"{middle:{form}} [{low:{form}}, {high:{form}}]"


def table(results: Sequence[Mapping[str, Any]]) -> Table:
    """For people."""
    made = Table(title="images per second: median over rounds [lowest, highest]")
    for name in ("size", "network", "usual", "ours", "bare", "usual / ours", "ours / bare", "MiB"):
        made.add_column(name, justify="right")
    for result in results:
        speed, memory = result["images_per_s"], result["peak_mib"]
        made.add_row(
            str(result["size"]),
            result["network"],
            *(_text(speed[name], ".0f") for name in CONTENDERS),
            _text(result["usual_over_ours"], ".2f"),
            _text(result["ours_over_bare"], ".3f"),
            " / ".join(f"{memory[name]:.0f}" for name in CONTENDERS),
        )
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; see the module."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="DIR/train/<CLASS>/*")
    parser.add_argument("--cache", type=Path, default=Path("runs/.cache"), help="decoded images")
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 128, 224])
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="of a contender in a round")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--loaders", type=int, help="of the usual loop; the best by default")
    parser.add_argument("--json", type=Path, help="write the results here")
    options = parser.parse_args(arguments)
    console, device = Console(), choose(options.device)
    folder = options.data.resolve()
    results, prepared, loaders = [], [], {}
    for size in options.sizes:
        prepared.append({"size": size, **decoding(folder, size)})
        console.print(f"decoding once at {size}: {prepared[-1]['images_per_s']:.0f} images/s")
        start = Task(NETWORKS["small"], size, folder, options.cache, device.name, 0)
        load_images(
            open_source(str(folder), options.cache),
            ("train", "val"),
            size=size,
            channels=1,
            cache=options.cache,
        )
        loaders[size] = options.loaders
        if options.loaders is None:
            loaders[size] = best_workers(start, max(4, round(20 * 64 / size)))
        for network in options.networks:
            task = replace(start, genome=NETWORKS[network], workers=loaders[size])
            result = measured(task, options.rounds, options.seconds)
            results.append({"size": size, "network": network, **result})
            console.print(table(results[-1:]))
    console.print(table(results))
    machine = {
        "device": device.to_json(),
        "processor": platform.processor() or platform.machine(),
        "cores": usable_cores(),
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "batch": BATCH,
        "rounds": options.rounds,
        "loaders": loaders,
    }
    console.print_json(json.dumps(machine))
    if options.json is not None:
        write_json(options.json, {"machine": machine, "decoding": prepared, "results": results})
    return 0


if __name__ == "__main__":
    sys.exit(main())
