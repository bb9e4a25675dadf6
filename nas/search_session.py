"""One session of the search command: from options to data, run folder, search and last words."""

import argparse
import json
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rich.console import Console

from nas.bundle import RESEARCH_USE
from nas.command import StopRequest, stop_on_signals
from nas.data.audit import audit, brief
from nas.data.augmentation import Augmentation
from nas.data.cache import Images, load_images
from nas.data.folds import choose_division, divisions, make_fold
from nas.data.opening import CACHE, bars, opened, shown
from nas.data.prepare import Prepared
from nas.data.reopening import FoldSource
from nas.data.table import Source
from nas.devices import Device, HalfPrecision, choose, keep_freed_memory
from nas.errors import DataError
from nas.evaluator import Objective, TrainingEvaluator
from nas.events import finite
from nas.files import write_bytes
from nas.front_plot import Dot, front_svg
from nas.genome import ImageShape
from nas.learnt_weights import weights_of
from nas.preprocessing import check_resize, check_size
from nas.progress import SearchProgress, best_table, duration_text, network_text
from nas.progress_view import View
from nas.recipe import Imbalance, TrainingSettings
from nas.runfolder import DEFAULT_RUNS, RunFolder, plain_name
from nas.scheduler import rungs
from nas.search import Finish, SearchResult, search
from nas.search_finals import Search, finals_settings, hold_finals, planned
from nas.search_plan import DEFINITION, limits_of, pareto, plan_search
from nas.self_test import SelfTest, kept_file, self_test
from nas.storage import Place
from nas.study import earlier_records
from nas.trackers import check_tracked, make_trackers
from search_spaces.base import LearntSpace
from search_spaces.loading import LoadedSpace, load

GOING_ON = (Finish.INTERRUPTED, Finish.TIMEOUT)


def run_search(options: argparse.Namespace, console: Console) -> int:
    """Run one session; returns the exit status: 0, or 128 + the signal that stopped it."""
    check_tracked(options.track)
    with ExitStack() as stack:
        return _run(options, console, stack)


def _run(options: argparse.Namespace, console: Console, stack: ExitStack) -> int:
    stop, begin = StopRequest(), time.monotonic()
    budgets, finals = rungs(options.epochs), finals_settings(options)
    device = choose(options.device)
    keep_freed_memory()
    size = check_size(options.size)
    space = load(options.space, ImageShape(options.channels, size, size))
    if isinstance(space.space, LearntSpace):  # a search should not end half-way for want of weights
        for name in space.space.learnt():
            weights_of(name)
    tested = _self_test(device, console)
    prepared, images = _data(options, console)
    source = prepared.source
    found = divisions(images, options.seed)
    division = choose_division(found, options.fold)
    fold = make_fold(images, source.classes, division)
    counts = f"{len(fold.train)} to train, {len(fold.validation)} to validate ({division.name})"
    console.print(f"{shown(source.spec)}: {' / '.join(source.classes)}; {counts}, whole patients")
    half = " in bfloat16" if device.bf16 and (tested is None or tested.half.plain) else ""
    stages = " and ".join(str(budget) for budget in budgets)
    console.print(f"on {device.name}{half}; genomes are compared after {stages} epochs")
    run = _run_folder(options, source, space)
    objective, aims = pareto(options)
    training = TrainingSettings(
        epochs=options.epochs,
        augmentation=Augmentation.parsed(options.augment),
        imbalance=Imbalance(options.imbalance),
    )
    reopen = FoldSource(
        spec=source.spec,
        cache=(options.runs / CACHE).resolve(),
        size=options.size,
        channels=options.channels,
        resize=check_resize(options.resize),
        seed=options.seed,
        division=division.name,
        checksum=images.checksum,
    )
    evaluator = TrainingEvaluator(
        fold,
        training,
        objective,
        reopen=reopen,
        half=HalfPrecision() if tested is None else tested.half,
    )
    if options.workers is None and tested is not None and options.executor in ("auto", "processes"):
        options.workers = tested.workers
    run.begin(
        _identity(options, prepared, images, evaluator, space)
        | {
            "fold": division.name,
            "divisions": {division.name: division.checksum(images) for division in found},
            "objective": str(objective),
            "pareto": list(aims) or None,
        },
        {
            "data": source.spec,
            "space": options.space,
            "device": device.to_json(),
            "self_test": None if tested is None else tested.to_json(),
            "sampler": options.sampler,
            "scheduler": options.scheduler,
            "workers": options.workers,
            "executor": options.executor,
            "storage": Place(options.storage).shown if options.storage else None,
            "limits": limits_of(options, device),
        },
    )
    if space.code is not None:
        run.keep_space(space.code)
    elapsed_s = time.monotonic() - begin
    settings = plan_search(options, run, budgets, device, evaluator, space, elapsed_s=elapsed_s)
    before = earlier_records(settings.place)
    if before:
        done = sum(record.counts for record in before)
        console.print(f"going on in {run.path}: {done} of {options.trials} trials are done")
    tracker = stack.enter_context(make_trackers(run, options.track))
    trainings = 0 if finals is None else planned(finals, [one.name for one in found], division.name)
    view = View(
        budgets=budgets,
        images=len(fold.train),
        # Of the AUROC alone this is no interval.
        validated=fold.validated if objective is Objective.ROBUST else (),
        finals_epochs=0 if finals is None else finals.epochs * trainings,
        workers=options.workers or 1,
        timeout_s=None if options.timeout is None else options.timeout - elapsed_s,
    )
    with (
        SearchProgress(console, options.trials, before, view=view) as progress,
        stop_on_signals(stop),
    ):
        result = search(
            space.space, evaluator, settings, listener=progress, tracker=tracker, stop=stop
        )
    _tell(console, run, result, options)
    decided, summary = True, None
    if finals is not None and result.best and result.finish is not Finish.INTERRUPTED:
        taken = Search(run, images, found, division, evaluator, settings.running, tracker)

        def over() -> bool:
            late = options.timeout is not None and time.monotonic() - begin >= options.timeout
            return stop() or late

        with stop_on_signals(stop):
            summary = hold_finals(
                taken,
                finals,
                result.trials,
                seed=options.seed,
                console=console,
                stop=over,
                clock=time.monotonic,
            )
        decided = summary is not None
    if result.best:
        _next(console, run, options, going_on=result.finish in GOING_ON or not decided)
    if options.json:
        print(json.dumps(finite(result_json(run, result, summary))))
    interrupted = result.finish is Finish.INTERRUPTED or not decided
    return 128 + stop.signal if stop.signal and interrupted else 0


def _self_test(device: Device, console: Console) -> SelfTest | None:
    """What trains fastest here, on a CPU."""
    if device.device.type != "cpu":
        return None
    return self_test(kept_file(), lambda text: console.print(text, markup=False))


def _data(options: argparse.Namespace, console: Console) -> tuple[Prepared, Images]:
    """The source, audited, and its images to train and validate on."""
    check_size(options.size)
    cache = options.runs / CACHE
    prepared = opened(options.data, cache, console)
    if not options.allow_leaks:
        prepared.refuse_leaks()
    with bars(console) as report:
        found = audit(prepared, cache, report, size=options.size)
        images = load_images(
            prepared.source,
            ("train", "val"),
            size=options.size,
            channels=options.channels,
            resize=check_resize(options.resize),
            cache=cache,
            report=lambda *counts: report("decoding images", *counts),
        )
    for line in brief(found):
        console.print(line, markup=False)
    if images.skipped:
        console.print(f"note: {len(images.skipped)} broken images are skipped:")
        for path, reason in images.skipped:
            console.print(f"  {path}: {reason}", markup=False)
    return prepared, images


def _run_folder(options: argparse.Namespace, source: Source, space: LoadedSpace) -> RunFolder:
    name = options.run or f"{plain_name(source.name)}-{space.label}-{options.size}"
    return RunFolder.named(options.runs, name)


def _identity(
    options: argparse.Namespace,
    prepared: Prepared,
    images: Images,
    evaluator: TrainingEvaluator,
    space: LoadedSpace,
) -> dict[str, Any]:
    """What scores depend on: a run keeps to one value of each."""
    return {
        "data_checksum": images.checksum,
        "leaks": [str(leak) for leak in prepared.leaks],
        "synthetic": prepared.source.synthetic,
        "classes": list(prepared.source.classes),
        "space": space.space.name,
        DEFINITION: space.definition,
        "size": options.size,
        "channels": options.channels,
        "epochs": options.epochs,
        "seed": options.seed,
        "preprocessing": evaluator.fold.preprocessing.to_json(),
        "training": evaluator.settings.to_json() | ({"inherit": True} if options.inherit else {}),
    }


def _front(run: RunFolder, result: SearchResult, options: argparse.Namespace) -> list[Path]:
    """Draw the score against every other aim; the front is that of these two alone."""
    objective, aims = pareto(options)
    written = []
    for name in aims:
        dots = [
            Dot(record.number, record.score, record.facts[name])
            for record in result.trials
            if record.score is not None and record.budget == options.epochs
        ]
        path = run.path / f"front-{name}.svg"
        write_bytes(path, front_svg(dots, str(objective), name).encode())
        written.append(path)
    return written


def _tell(
    console: Console, run: RunFolder, result: SearchResult, options: argparse.Namespace
) -> None:
    """What the search found."""
    if result.best is None:
        if result.finish in GOING_ON:
            console.print(f"{result.finish}: no genome is scored yet; the same command goes on.")
            return
        raise DataError(
            f"a search must score at least one genome, but {run.path} has none "
            f"({result.finish}); raise --max-params, --max-macs, --max-memory-mb or "
            "--max-latency-ms"
        )
    console.print(best_table(result.trials))
    for path in _front(run, result, options):
        console.print(f"wrote {path}")
    if len(result.front) > 1:
        numbers = ", ".join(str(record.number) for record in result.front)
        console.print(f"on the front, by falling score: trials {numbers}")
    console.print(f"trial {result.best.number}: {network_text(result.best.genome)}")
    seconds = sum(record.seconds for record in result.trials)
    done = sum(record.counts for record in result.trials)
    console.print(
        f"{result.finish}: {done} trials, {duration_text(seconds)} of training in {run.path}"
    )


def result_json(
    run: RunFolder, result: SearchResult, summary: dict[str, Any] | None
) -> dict[str, Any]:
    """A search's result in plain values, for --json.

    Args:
        run: its folder.
        result: what was found.
        summary: what finals.json holds; None where finals were not decided.
    """
    best = result.best
    return {
        "run": str(run.path),
        "finish": str(result.finish),
        "trials": sum(record.counts for record in result.trials),
        "seconds": sum(record.seconds for record in result.trials),
        "best": None
        if best is None
        else {
            "trial": best.number,
            "score": best.score,
            "epochs": best.budget,
            "facts": dict(best.facts),
            "genome": best.genome,
        },
        "front": [record.number for record in result.front],
        "finals": None
        if summary is None
        else {"winner": summary["winner"], "standings": summary["standings"]},
    }


def _next(console: Console, run: RunFolder, options: argparse.Namespace, *, going_on: bool) -> None:
    """What to do now."""
    if going_on:
        console.print("The same command goes on where this stopped.")
    where = "" if options.runs == DEFAULT_RUNS else f" --runs {options.runs}"
    console.print(f"Next:  python -m nas.export best --run {run.path.name}{where}")
    console.print("       python -m uvicorn serve.main:app")
    console.print(RESEARCH_USE)
