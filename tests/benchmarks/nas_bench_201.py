"""Samplers and policies on NAS-Bench-201, a table of 15,625 trained networks.

    python tests/benchmarks/nas_bench_201.py --table nb201_compact.csv.gz --jobs 2 --json out.jsonl

The table is one row per network: ``code`` (six digits, the operation on each edge) and accuracies
in percent, such as ``val12_c10``, ``val200_c10``, ``test200_c10`` (Dong and Yang 2020,
arXiv:2001.00326). A search sees validation accuracy only; what is told is the test accuracy of the
network that it would hand out. Studies are driven as nas.search drives them: a fresh sampler for
every trial, seeded by the trial's number, and trials that pause shown as stopped ones.

With ``--json`` every result is added to that file as one line as soon as it is there, and what the
file has already is not computed again.
"""

import argparse
import copy
import csv
import gzip
import json
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial, TrialState

from nas.belief import Belief
from nas.observations import observe
from nas.samplers import SAMPLERS, make_sampler
from nas.scheduler import Expecting, Field, Promotion, Standing, explores, promote
from nas.seeds import derive

OPERATIONS = ("none", "skip", "conv1", "conv3", "pool")
EDGES = 6
DATA = ("c10", "c100", "in16")
LOW, HIGH = 12, 200
CHEAP = LOW / HIGH
"""Cost of training to LOW, in full trainings. A promoted network still costs a whole one: the
table's 12 epochs had a schedule of their own and cannot be continued."""

LEAST = 2
"""Lowest total cost: half of it is spent on cheap trainings, the other must pay for a whole one."""

TOP = 10
IDLE = 50
"""Proposals in a row that are not new, after which a sampler has ended."""


@dataclass(frozen=True)
class Run:
    """What is computed: one policy with one sampler on one data set from one seed."""

    data: str
    policy: str
    sampler: str
    seed: int


@dataclass(frozen=True)
class Result:
    """Test accuracy, in percent, that a run reaches after so many full trainings, or their cost.

    Attributes:
        run: which one.
        scores: number of full trainings, or total cost in full trainings -> accuracy.
        proposal_ms: median time of a proposal.
    """

    run: Run
    scores: Mapping[float, float]
    proposal_ms: float


class Table:
    """Accuracies by code, of one data set."""

    def __init__(self, path: Path, data: str) -> None:
        self._rows: dict[str, dict[str, float]] = {}
        names = (f"val{LOW}", f"val{HIGH}", f"test{HIGH}")
        with gzip.open(path, "rt", newline="") as file:
            for row in csv.DictReader(file):
                self._rows[row["code"]] = {name: float(row[f"{name}_{data}"]) for name in names}

    def validation(self, code: str, epochs: int) -> float:
        """Validation accuracy after ``epochs``, LOW or HIGH."""
        return self._rows[code][f"val{epochs}"]

    def test_of_best(self, codes: Sequence[str]) -> float:
        """Full test accuracy of the one with the best full validation accuracy."""
        return self._rows[max(codes, key=lambda c: self.validation(c, HIGH))][f"test{HIGH}"]


class Search:
    """A study in memory with a fresh sampler for every trial, as nas.search makes them."""

    def __init__(self, table: Table, sampler: str, seed: int) -> None:
        self.study = optuna.create_study(direction="maximize")
        self._table, self._sampler, self._seed = table, sampler, seed
        self.proposals_s: list[float] = []

    @property
    def proposal_ms(self) -> float:
        """Median time of a proposal."""
        return 1e3 * statistics.median(self.proposals_s)

    def ask(self) -> tuple[optuna.Trial, str]:
        """The next trial and its code."""
        number = len(self.study.get_trials(deepcopy=False))
        self.study.sampler = make_sampler(self._sampler, derive(self._seed, "sampler", number))
        start = time.perf_counter()
        trial = self.study.ask()
        for edge in range(1, EDGES + 1):
            trial.suggest_categorical(f"edge_{edge}", OPERATIONS)
        self.proposals_s.append(time.perf_counter() - start)
        return trial, _code(trial)

    def explore(self) -> str:
        """Propose a network and train it to LOW, where it pauses; returns its code."""
        trial, code = self.ask()
        trial.report(self._table.validation(code, LOW), LOW)
        self.study.tell(trial, state=TrialState.PRUNED)
        return code


def _code(trial: optuna.Trial | FrozenTrial) -> str:
    chosen = (trial.params[f"edge_{edge}"] for edge in range(1, EDGES + 1))
    return "".join(str(OPERATIONS.index(operation)) for operation in chosen)


def _finish(study: optuna.Study, number: int, table: Table) -> str:
    """Train a paused trial in full, as nas.ledger shows it; returns its code."""
    trial = copy.copy(study.get_trials(deepcopy=False)[number])
    score = table.validation(_code(trial), HIGH)
    trial.state, trial.value = TrialState.COMPLETE, score
    trial.intermediate_values = {**trial.intermediate_values, HIGH: score}
    study._storage._set_trial(trial._trial_id, trial)  # type: ignore[attr-defined]
    return _code(trial)


def full(table: Table, sampler: str, seed: int, at: Sequence[float]) -> tuple[list[float], float]:
    """Every proposal trained in full: test accuracy after each count, and median ms a proposal.

    What was evaluated before is looked up and not counted, as nas.search does.
    """
    search = Search(table, sampler, seed)
    codes: dict[str, None] = {}
    repeats = 0
    while len(codes) < max(at) and repeats < IDLE:
        trial, code = search.ask()
        search.study.tell(trial, table.validation(code, HIGH))
        repeats = repeats + 1 if code in codes else 0
        codes[code] = None
    return [table.test_of_best(list(codes)[: int(n)]) for n in at], search.proposal_ms


def budgets(
    table: Table, sampler: str, seed: int, at: Sequence[float]
) -> tuple[list[float], float]:
    """Many trained to LOW, then those expected to do best to HIGH, for each total cost.

    A search with a lower total explores as one with a higher does, but ends exploring earlier, so
    one exploration serves all totals. Who is promoted is asked of nas.scheduler.Expecting.
    """
    search = Search(table, sampler, seed)
    for _ in range(_explored(max(at))):
        search.explore()
    trials = search.study.get_trials(deepcopy=False)
    return [_promoted(table, trials[: _explored(n)], n) for n in at], search.proposal_ms


def _explored(total: float) -> int:
    """How many are trained to LOW before anything is promoted."""
    count = 0
    while explores(count * CHEAP, total, CHEAP):
        count += 1
    return count


def _promoted(table: Table, trials: Sequence[FrozenTrial], total: float) -> float:
    """Test accuracy of the best of those promoted after exploring."""
    study = optuna.create_study(direction="maximize")
    study.add_trials(trials)
    codes: dict[int, str] = {}

    def expected(numbers: Sequence[int]) -> list[float]:
        values, _ = Belief.of(observe(study, -1)).predict([trials[n].params for n in numbers])
        return [float(value) for value in values]

    while True:
        field = Field(
            standings=[
                Standing(n, (float(trial.intermediate_values[LOW]),), n not in codes)
                for n, trial in enumerate(trials)
            ],
            rungs=2,
            coming=False,
            settled=True,
            idle=True,
            explored=len(trials) * CHEAP,
            promoted=float(len(codes)),
            total=total,
            price=CHEAP,
            climb=1.0,
            timed=False,
            repeats=0,
            spread=lambda _: None,
            expected=expected,
        )
        step = Expecting().next(field)
        if not isinstance(step, Promotion):
            return table.test_of_best(list(codes.values()))
        codes[step.number] = _finish(study, step.number, table)


def halving(
    table: Table, sampler: str, seed: int, at: Sequence[float]
) -> tuple[list[float], float]:
    """Asynchronous successive halving, one in three promoted by rank; see nas.scheduler.promote."""
    search = Search(table, sampler, seed)
    standings: list[Standing] = []
    spent, found = 0.0, list[tuple[float, str]]()
    while spent <= max(at):
        step = promote(standings, 2)
        if step is None:
            code = search.explore()
            standings.append(Standing(len(standings), (table.validation(code, LOW),), True))
            spent += CHEAP
        else:
            code = _finish(search.study, step.number, table)
            scores = (*standings[step.number].scores, table.validation(code, HIGH))
            standings[step.number] = Standing(step.number, scores, False)
            spent += 1
            found.append((spent, code))
    reached = [[code for cost, code in found if cost <= n + 1e-9] for n in at]
    return [table.test_of_best(codes) for codes in reached], search.proposal_ms


def top(table: Table, sampler: str, seed: int, at: Sequence[float]) -> tuple[list[float], float]:
    """All but TOP full trainings spent on LOW, then the TOP best there trained in full."""
    search = Search(table, sampler, seed)
    counts = [round((n - TOP) / CHEAP - 0.5) for n in at]
    codes = [search.explore() for _ in range(max(counts))]
    best = [
        sorted(dict.fromkeys(codes[:count]), key=lambda c: -table.validation(c, LOW))[:TOP]
        for count in counts
    ]
    return [table.test_of_best(chosen) for chosen in best], search.proposal_ms


Policy = Callable[[Table, str, int, Sequence[float]], tuple[list[float], float]]
POLICIES: Mapping[str, Policy] = {
    "full": full, "budgets": budgets, "halving": halving, "top": top,
}  # fmt: skip
PLANS = (
    *(f"full:{name}" for name in SAMPLERS),
    *(f"budgets:{name}" for name in SAMPLERS),
    "halving:random",
    "top:local",
)


@dataclass(frozen=True)
class Bench:
    """Computes runs.

    Attributes:
        table: the file.
        counts: full trainings at which the policy ``full`` is told.
        costs: at which the others are.
    """

    table: Path
    counts: tuple[float, ...]
    costs: tuple[float, ...]

    def at(self, policy: str) -> tuple[float, ...]:
        """Where results of a policy are told."""
        if policy == "full":
            return self.counts
        return tuple(n for n in self.costs if policy != "top" or n > TOP + CHEAP)

    def result(self, run: Run) -> Result:
        """Compute a run."""
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        at = self.at(run.policy)
        policy = POLICIES[run.policy]
        scores, ms = policy(_table(self.table, run.data), run.sampler, run.seed, at)
        return Result(run, dict(zip(at, scores, strict=True)), round(ms, 2))

    def results(self, runs: Sequence[Run], jobs: int) -> Iterator[Result]:
        """Compute runs, in ``jobs`` processes, in their order."""
        if jobs == 1:
            yield from map(self.result, runs)
            return
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(jobs, mp_context=context) as pool:
            yield from pool.map(partial(_result, self), runs)


def _result(bench: Bench, run: Run) -> Result:
    return bench.result(run)


_TABLES: dict[tuple[Path, str], Table] = {}


def _table(path: Path, data: str) -> Table:
    """Read once a process."""
    if (path, data) not in _TABLES:
        _TABLES[path, data] = Table(path, data)
    return _TABLES[path, data]


def read(path: Path) -> dict[Run, Result]:
    """Results of a file that ``--json`` wrote; a line that was not written whole is left out."""
    found: dict[Run, Result] = {}
    for line in path.read_text().splitlines() if path.is_file() else ():
        try:
            kept = json.loads(line)
        except json.JSONDecodeError:
            continue
        run = Run(**kept["run"])
        scores = {float(n): score for n, score in kept["scores"].items()}
        found[run] = Result(run, scores, kept["proposal_ms"])
    return found


def append(path: Path, result: Result) -> None:
    """Write one more line to a file for ``read``."""
    before = path.read_bytes()[-1:] if path.is_file() else b""
    with path.open("a") as file:
        file.write("\n" * (before not in (b"", b"\n")) + json.dumps(asdict(result)) + "\n")


def told(results: Sequence[Result], at: Sequence[float]) -> str:
    """One line: mean and standard deviation over seeds at each point."""
    columns = [[result.scores[n] for result in results] for n in at]
    points = (f"{n:g}: {statistics.fmean(c):.2f} ± {statistics.pstdev(c):.2f}"
              for n, c in zip(at, columns, strict=True))  # fmt: skip
    run, ms = results[0].run, statistics.median(result.proposal_ms for result in results)
    return (
        f"{run.data:5}{run.policy:8} {run.sampler:10} {'   '.join(points)}   "
        f"(n = {len(results)}, {ms:.1f} ms a proposal)"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; see the module."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--table", type=Path, required=True, help="nb201_compact.csv.gz")
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--plans", nargs="+", default=PLANS, metavar="POLICY:SAMPLER",
                        choices=[f"{p}:{s}" for p in POLICIES for s in SAMPLERS])  # fmt: skip
    parser.add_argument("--data", nargs="+", default=DATA, choices=DATA)
    parser.add_argument("--evaluations", type=float, nargs="+", default=[50, 100, 150])
    parser.add_argument("--costs", type=float, nargs="+", default=[10, 15, 20, 27])
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--json", type=Path, default=None, help="keep results here, line by line")
    options = parser.parse_args(arguments)
    if min(options.costs) < LEAST:
        parser.error(f"--costs must be at least {LEAST}, so that something is trained in full")
    bench = Bench(options.table, tuple(options.evaluations), tuple(options.costs))
    known = {} if options.json is None else read(options.json)
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    for data in options.data:
        for plan in options.plans:
            policy, _, sampler = plan.partition(":")
            at = bench.at(policy)
            runs = [Run(data, policy, sampler, seed) for seed in seeds]
            there = [run for run in runs if run in known and known[run].scores.keys() >= set(at)]
            found = [known[run] for run in there]
            for result in bench.results([run for run in runs if run not in there], options.jobs):
                found.append(result)
                if options.json is not None:
                    append(options.json, result)
            if found and at:
                print(told(found, at), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
