"""What a search costs beside training: an evaluator that does nothing, on the chain space.

    python tests/benchmarks/engine.py --trials 1000 5000 --plot docs/engine.svg

A trial's cost is everything from one new genome to the next: proposal, decisions, promotions of
others, all writes to SQLite. The default scheduler promotes nearly all of its trials after the last
new one: their cost is in the mean, the total and the plot, which go to the search's end. Told are
processor seconds of the process, which other work on the machine hardly changes, and wall-clock
seconds.
"""

import argparse
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from xml.sax.saxutils import escape

from nas.files import write_bytes, write_json
from nas.genome import ImageShape
from nas.jobs import Job, Outcome
from nas.samplers import DEFAULT, SAMPLERS
from nas.scheduler import SCHEDULERS
from nas.search import DEFAULT_SCHEDULER, SearchSettings, search
from nas.seeds import derive
from search_spaces import SPACES

WIDTH, HEIGHT, LEFT, BOTTOM = 640, 360, 60, 320
COLOURS = ("#2266aa", "#c2571a", "#2c8a4b", "#8a3ffc", "#b0304f", "#5a6472", "#0b7a75")


@dataclass
class Nothing:
    """Scores at once, by depth and chance, and notes when it was asked to.

    Attributes:
        cpu: processor seconds at each new genome.
        wall: likewise by the clock.
        jobs: processor seconds at every job, those of promoted genomes among them.
    """

    cpu: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)
    jobs: list[float] = field(default_factory=list)

    def evaluate(self, job: Job) -> Outcome:
        """A made-up score."""
        self.jobs.append(time.process_time())
        if job.start_budget == 0:
            self.cpu.append(time.process_time())
            self.wall.append(time.perf_counter())
        noise = random.Random(derive(job.seed, job.budget)).gauss(0, 0.3)
        return Outcome(len(job.genome.blocks) + noise, cost_s=0.0)


def measured(sampler: str, scheduler: str, trials: int) -> dict[str, object]:
    """Milliseconds a trial of one search."""
    space, evaluator = SPACES["chain"](ImageShape(1, 64, 64)), Nothing()
    with tempfile.TemporaryDirectory() as folder:
        settings = SearchSettings(
            run=Path(folder) / "run", trials=trials, sampler=sampler, scheduler=scheduler
        )
        begin = time.process_time()
        search(space, evaluator, settings)
        end = time.process_time()
    jobs = [1e3 * (b - a) for a, b in pairwise([begin, *evaluator.jobs, end])]
    costs = [1e3 * (b - a) for a, b in zip(evaluator.cpu, evaluator.cpu[1:], strict=False)]
    walls = [1e3 * (b - a) for a, b in zip(evaluator.wall, evaluator.wall[1:], strict=False)]
    tail = max(1, trials // 10)
    return {
        "sampler": sampler,
        "scheduler": scheduler,
        "trials": trials,
        "median_ms": statistics.median(costs),
        "mean_ms": 1e3 * (end - begin) / trials,
        "promotions": len(evaluator.jobs) - len(evaluator.cpu),
        "last_tenth_median_ms": statistics.median(costs[-tail:]),
        "median_wall_ms": statistics.median(walls),
        "total_s": end - begin,
        "every_ms": [round(cost, 3) for cost in jobs],
    }


def plot(results: Sequence[dict[str, object]]) -> str:
    """Total seconds against jobs (new genomes and promotions), one line a search, as SVG."""
    most_n = max(len(_costs(result)) for result in results)
    most_s = max(sum(_costs(result)) for result in results) / 1e3
    parts = []
    for number, result in enumerate(results):
        colour, total, points = COLOURS[number % len(COLOURS)], 0.0, []
        for place, cost in enumerate(_costs(result)):
            total += cost / 1e3
            if place % max(1, most_n // 300) == 0:
                x = LEFT + place / most_n * (WIDTH - LEFT - 20)
                points.append(f"{x:.1f},{BOTTOM - total / most_s * (BOTTOM - 40):.1f}")
        name = (
            f"{result['sampler']}, {result['scheduler']}, {result['trials']:,} trials: "
            f"{result['median_ms']:.1f} ms a trial (median), {result['total_s']:.0f} s in all"
        )
        parts.append(
            f'<polyline fill="none" stroke="{colour}" points="{" ".join(points)}"/>'
            f'<text x="{LEFT + 12}" y="{56 + 16 * number}" fill="{colour}">{escape(name)}</text>'
        )
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        x, y = LEFT + share * (WIDTH - LEFT - 20), BOTTOM - share * (BOTTOM - 40)
        parts.append(
            f'<text x="{x:.0f}" y="{BOTTOM + 18}" text-anchor="middle">{share * most_n:.0f}</text>'
            f'<text x="{LEFT - 8}" y="{y + 4:.0f}" text-anchor="end">{share * most_s:.0f} s</text>'
        )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="system-ui, sans-serif" font-size="12"><rect width="100%" height="100%" '
        'fill="#fff"/><text x="60" y="24" font-size="14">'
        "The engine's own time against jobs: new genomes, then promotions"
        f"</text>{''.join(parts)}</svg>\n"
    )


def _costs(result: dict[str, object]) -> list[float]:
    costs = result["every_ms"]
    assert isinstance(costs, list)
    return costs


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; see the module."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--trials", type=int, nargs="+", default=[1000])
    parser.add_argument("--samplers", nargs="+", default=[DEFAULT], choices=list(SAMPLERS))
    parser.add_argument(
        "--schedulers", nargs="+", default=[DEFAULT_SCHEDULER], choices=list(SCHEDULERS)
    )
    parser.add_argument("--json", type=Path, help="write the results here")
    parser.add_argument("--plot", type=Path, help="draw total time against trials here, as SVG")
    options = parser.parse_args(arguments)
    results = []
    for sampler in options.samplers:
        for scheduler in options.schedulers:
            for trials in options.trials:
                result = measured(sampler, scheduler, trials)
                results.append(result)
                told = {name: value for name, value in result.items() if name != "every_ms"}
                print(json.dumps(told), flush=True)
    if options.json is not None:
        write_json(options.json, results)
    if options.plot is not None:
        write_bytes(options.plot, plot(results).encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
