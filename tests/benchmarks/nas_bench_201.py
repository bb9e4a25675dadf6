"""Samplers and policies on NAS-Bench-201, a table of 15,625 trained networks.

    python tests/benchmarks/nas_bench_201.py --table nb201_compact.csv.gz --seeds 100

The table is one row per network: ``code`` (six digits, the operation on each edge) and accuracies
in percent, such as ``val12_c10``, ``val200_c10``, ``test200_c10`` (Dong and Yang 2020,
arXiv:2001.00326). A search sees validation accuracy only; what is told is the test accuracy of the
network that it would hand out. Studies are driven as nas.search drives them: a fresh sampler for
every trial, seeded by the trial's number.
"""

import argparse
import csv
import gzip
import json
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import optuna

from nas.belief import Belief
from nas.observations import Observations, observe
from nas.promotion import Waiting, next_step
from nas.samplers import SAMPLERS, make_sampler
from nas.seeds import derive

OPERATIONS = ("none", "skip", "conv1", "conv3", "pool")
EDGES = 6
LOW, HIGH = 12, 200
CHEAP = LOW / HIGH
"""Cost of training to LOW, in full trainings. A promoted network still costs a whole one: the
table's 12 epochs had a schedule of their own and cannot be continued."""

LEAST = 2
"""Lowest total cost: half of it is spent on cheap trainings, the other must pay for a whole one."""


@dataclass(frozen=True)
class Result:
    """Test accuracy that one sampler reaches after ``at`` full trainings, or at that total cost."""

    name: str
    data: str
    kind: str
    at: float
    mean: float
    sd: float
    seeds: int
    proposal_ms: float


class Table:
    """Accuracies by code, of one data set: ``c10``, ``c100`` or ``in16``."""

    def __init__(self, path: Path, data: str) -> None:
        with gzip.open(path, "rt", newline="") as file:
            rows = list(csv.DictReader(file))
        self.data = data
        self._rows: Mapping[str, Mapping[str, float]] = {
            row["code"]: {
                name: float(row[f"{name}_{data}"])
                for name in (f"val{LOW}", f"val{HIGH}", f"test{HIGH}")
            }
            for row in rows
        }

    def validation(self, code: str, epochs: int) -> float:
        """Validation accuracy after ``epochs``, LOW or HIGH."""
        return self._rows[code][f"val{epochs}"]

    def test_of_best(self, codes: Sequence[str]) -> float:
        """Full test accuracy of the one with the best full validation accuracy."""
        return self._rows[max(codes, key=lambda c: self.validation(c, HIGH))][f"test{HIGH}"]


class Search:
    """A study in memory with a fresh sampler for every trial, as nas.search makes them."""

    def __init__(self, sampler: str, seed: int) -> None:
        self.study = optuna.create_study(direction="maximize")
        self._sampler, self._seed = sampler, seed
        self.proposals_s: list[float] = []

    def ask(self) -> tuple[optuna.Trial, str]:
        """The next trial and its code."""
        number = len(self.study.get_trials(deepcopy=False))
        self.study.sampler = make_sampler(self._sampler, derive(self._seed, "sampler", number))
        start = time.perf_counter()
        trial = self.study.ask()
        chosen = [
            trial.suggest_categorical(f"edge_{edge}", OPERATIONS) for edge in range(1, EDGES + 1)
        ]
        self.proposals_s.append(time.perf_counter() - start)
        return trial, "".join(str(OPERATIONS.index(operation)) for operation in chosen)


def full(table: Table, sampler: str, seed: int, counts: Sequence[int]) -> tuple[list[float], float]:
    """Every proposal trained in full: test accuracy after each count, and median ms a proposal.

    What was evaluated before is looked up and not counted, as nas.search does; a sampler that
    proposes nothing new for 50 times in a row has ended.
    """
    search = Search(sampler, seed)
    codes: list[str] = []
    known: set[str] = set()
    repeats = 0
    while len(codes) < max(counts) and repeats < 50:
        trial, code = search.ask()
        search.study.tell(trial, table.validation(code, HIGH))
        repeats = repeats + 1 if code in known else 0
        if code not in known:
            codes.append(code)
            known.add(code)
    return [table.test_of_best(codes[:n]) for n in counts], _median_ms(search)


def budgets(
    table: Table, sampler: str, seed: int, costs: Sequence[float]
) -> tuple[list[float], float]:
    """Many trained to LOW, some promoted to HIGH: test accuracy at each total cost, and median ms.

    A search with a lower total explores as one with a higher does, but ends exploring earlier, so
    one exploration serves all totals. Promotions follow nas.promotion on nas.surrogate's belief.
    """
    search = Search(sampler, seed)
    codes: list[str] = []
    while len(codes) < _explored(max(costs)):
        trial, code = search.ask()
        trial.report(table.validation(code, LOW), LOW)
        codes.append(code)
    known = observe(search.study, -1)
    return [_promoted(table, known, codes, cost) for cost in costs], _median_ms(search)


def _explored(total: float) -> int:
    """How many are trained to LOW before anything is promoted."""
    waiting, count = [Waiting(0, 0.0)], 0
    while next_step(waiting, count * CHEAP, total, CHEAP).promote is None:
        count += 1
    return count


def _promoted(table: Table, known: Observations, codes: Sequence[str], total: float) -> float:
    """Test accuracy of the best of those promoted after exploring for a share of ``total``."""
    count = _explored(total)
    trials, done = list(known.every[:count]), list[int]()
    while count * CHEAP + len(done) + 1 <= total + 1e-9:
        belief = Belief.of(Observations(tuple(trials), known.space))
        waiting = [n for n in range(count) if n not in done]
        expected, _ = belief.predict([trials[n].point for n in waiting])
        queue = [Waiting(n, float(e)) for n, e in zip(waiting, expected, strict=True)]
        chosen = next_step(queue, count * CHEAP, total, CHEAP).promote
        assert chosen is not None
        done.append(chosen)
        scores = {**trials[chosen].scores, HIGH: table.validation(codes[chosen], HIGH)}
        trials[chosen] = replace(trials[chosen], scores=scores, pending=False)
    return table.test_of_best([codes[n] for n in done])


def measure(
    table: Table, name: str, seeds: Sequence[int], at: Sequence[float], *, cheap: bool
) -> list[Result]:
    """A result per count of full trainings, or per total cost if ``cheap`` ones are allowed."""
    runs = [
        budgets(table, name, seed, at) if cheap else full(table, name, seed, [int(n) for n in at])
        for seed in seeds
    ]
    kind = "budgets" if cheap else "full"
    milliseconds = round(statistics.median(ms for _, ms in runs), 1)
    return [
        Result(name, table.data, kind, point, round(statistics.fmean(scores), 3),
               round(statistics.pstdev(scores), 3), len(scores), milliseconds)
        for point, scores in zip(at, zip(*(r for r, _ in runs), strict=True), strict=True)
    ]  # fmt: skip


def _median_ms(search: Search) -> float:
    return 1e3 * statistics.median(search.proposals_s)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; see the module."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--table", type=Path, required=True, help="nb201_compact.csv.gz")
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--samplers", nargs="*", default=list(SAMPLERS), choices=list(SAMPLERS))
    parser.add_argument("--data", nargs="+", default=["c10"], choices=["c10", "c100", "in16"])
    parser.add_argument("--evaluations", type=int, nargs="*", default=[50, 100, 150])
    parser.add_argument("--costs", type=float, nargs="*", default=[10, 15, 20, 27])
    parser.add_argument("--budget-samplers", nargs="*", default=["surrogate"])
    parser.add_argument("--json", type=Path, default=None, help="write the results here, too")
    options = parser.parse_args(arguments)
    if min(options.costs, default=LEAST) < LEAST:
        parser.error(f"--costs must be at least {LEAST}, so that something is trained in full")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    results: list[Result] = []
    for data in options.data:
        table = Table(options.table, data)
        plans = [(name, options.evaluations, False) for name in options.samplers]
        plans += [(name, options.costs, True) for name in options.budget_samplers]
        for name, at, cheap in plans:
            for result in measure(table, name, seeds, at, cheap=cheap) if at else []:
                results.append(result)
                print(
                    f"{result.data:5} {result.kind:8} {result.name:10} at {result.at:6.1f}: "
                    f"{result.mean:6.2f} ± {result.sd:4.2f}  (n = {result.seeds}, "
                    f"{result.proposal_ms:.1f} ms a proposal)",
                    flush=True,
                )
    if options.json is not None:
        options.json.write_text(json.dumps([asdict(result) for result in results], indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
