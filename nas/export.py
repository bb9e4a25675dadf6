"""``python -m nas.export best``: the_nas_model.pth, a baseline beside it, and how both do on test.

The winner is written before the baseline is trained: whatever becomes of the baseline, the winner
is there.
"""

import argparse
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import nn

from nas import metrics, tensorfile
from nas.baselines.recipes import Baseline, BaselineKind, train_baseline
from nas.bundle import RESEARCH_USE, Bundle, save
from nas.choosing import choose_run, choose_trial, records_of
from nas.command import Parser, run
from nas.cost import measure_latency
from nas.data.cache import Images, load_images
from nas.data.opening import CACHE, SYNTHETIC, bars
from nas.data.prepare import prepare
from nas.data.table import Source
from nas.devices import Device, choose, keep_freed_memory
from nas.errors import (
    BundleError,
    DataError,
    RunError,
    SettingsError,
    TrainingError,
    WeightsError,
)
from nas.evaluator import WEIGHTS, read_weights
from nas.export_files import forget_files, some, write_files
from nas.export_table import comparison
from nas.files import write_json
from nas.genome import Genome
from nas.judging import probabilities
from nas.preprocessing import Preprocessing
from nas.runfolder import DEFAULT_RUNS, RunFolder, now
from nas.study import TrialRecord
from nas.training import state_of

MODEL_FILE = "the_nas_model.pth"
WINNER = "the_nas_model"


@dataclass(frozen=True)
class Exporting:
    """What the steps of an export share.

    Attributes:
        run: the run folder.
        manifest: of the run.
        source: the run's data.
        record: of the exported trial.
        device: that evaluates and trains the baseline.
        cache: of decoded images.
        console: where the user is told.
    """

    run: RunFolder
    manifest: Mapping[str, Any]
    source: Source
    record: TrialRecord
    device: Device
    cache: Path
    console: Console


def main() -> int:
    """Run the command; returns the exit status."""
    return run(_main)


def _main() -> int:
    options = _parser().parse_args()
    console = Console(highlight=False, soft_wrap=True)
    folder = choose_run(options.runs, options.run)
    manifest = folder.read_manifest()
    record = choose_trial(records_of(folder, options.storage), options.trial, folder)
    source = _source(manifest, options.data, options.runs / CACHE)
    if source.synthetic:
        console.print(SYNTHETIC, style="bold red")
    kind, device = BaselineKind(options.baseline), choose(options.device)
    if options.weights is not None and kind is not BaselineKind.RESNET18:
        raise SettingsError(f"--weights is for --baseline resnet18, not {kind}; leave it out")
    keep_freed_memory()
    work = Exporting(folder, manifest, source, record, device, options.runs / CACHE, console)
    _check_data(work)
    export(work, kind, options.weights)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m nas.export",
        description="Export a trial of a search as the_nas_model.pth, with a baseline beside it, "
        "and score both on the test split.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("trial", help="best, or a trial's number")
    add("--run", metavar="NAME", help="the run; the newest if not given")
    add("--runs", type=Path, default=DEFAULT_RUNS, metavar="DIR", help="folder of all runs")
    add("--storage", metavar="URL", help="of the search, if it was given one")
    add("--data", metavar="DATA", help="where the run's images are now, if they moved")
    add("--baseline", default="resnet18", choices=[str(kind) for kind in BaselineKind],
        help="what to compare with")  # fmt: skip
    add("--weights", type=Path, metavar="PATH",
        help="ImageNet weights of ResNet-18, where they cannot be downloaded")  # fmt: skip
    add("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    return parser


def export(work: Exporting, kind: BaselineKind, weights: Path | None) -> Path:
    """Write model, baseline and evaluation.json into the run's export folder; returns the model.

    Beside them lie what nas.export_files writes.

    Raises:
        RunError: the trial's weights are missing.
        BundleError: the folder cannot be written, or the ONNX file says something else.
    """
    bundle = _bundle(work)
    path = work.run.export / MODEL_FILE
    winner = _score_winner(work, bundle)
    forget_files(path)
    _save(bundle, path, winner, None)
    work.console.print(f"wrote {path}")
    baseline = _baseline(work, kind, weights)
    _save(bundle, path, winner, baseline)
    models: dict[str, Any] = {WINNER: winner}
    if baseline is not None:
        models[str(kind)] = baseline
    evaluation = {
        "format": 1,
        "created": now(),
        "run": work.run.path.name,
        "trial": work.record.number,
        "data": bundle.card["data"],
        "classes": list(bundle.classes),
        "positive": bundle.classes[1] if len(bundle.classes) == 2 else None,
        "device": work.device.to_json(),
        "models": models,
        "intended_use": RESEARCH_USE,
    }
    write_json(work.run.export / "evaluation.json", evaluation)
    work.console.print(comparison(evaluation))
    if baseline is not None and "missing" in baseline:
        work.console.print(f"BASELINE MISSING: {baseline['missing']}", style="bold", markup=False)
    work.console.print(f"wrote {work.run.export / 'evaluation.json'}")
    seen = _images(work, ("train", "val"), bundle.preprocessing)
    write_files(path, evaluation, some(seen), work.console)
    work.console.print("Next:  python -m uvicorn serve.main:app")
    work.console.print(RESEARCH_USE)
    return path


def _source(manifest: Mapping[str, Any], moved: str | None, cache: Path) -> Source:
    return prepare(moved or manifest["sessions"][-1]["data"], cache).source


def _check_data(work: Exporting) -> None:
    known = work.manifest["identity"]
    how = Preprocessing.from_json(known["preprocessing"])
    images = _images(work, ("train", "val"), how)
    if images.checksum != known["data_checksum"]:
        raise RunError(
            f"an export needs the data that {work.run.path} was searched with, but "
            f"{work.source.spec} has changed since; restore it, or search again"
        )


def _images(work: Exporting, splits: tuple[str, ...], how: Preprocessing) -> Images:
    return load_images(
        work.source,
        splits,
        size=how.size,
        channels=how.channels,
        resize=how.resize,
        cache=work.cache,
    )


def _bundle(work: Exporting) -> Bundle:
    path = work.run.trial(work.record.number) / WEIGHTS
    try:
        tensors = read_weights(path)
    except (FileNotFoundError, ValueError) as error:
        raise RunError(
            f"a trial's weights must be in {path}, but they cannot be read "
            f"({type(error).__name__}); export another trial"
        ) from None
    known = work.manifest["identity"]
    rung = work.record.rungs[-1]
    return Bundle.single(
        genome=Genome.from_json(work.record.genome),
        classes=tuple(known["classes"]),
        preprocessing=Preprocessing.from_json(known["preprocessing"]),
        tensors=tensors,
        card={
            "data": {
                "name": work.source.name,
                "synthetic": known["synthetic"],
                "checksum": known["data_checksum"],
                "fold": known["fold"],
                "leaks": known["leaks"],
                "licence": work.source.licence,
            },
            "search": {
                "run": work.run.path.name,
                "trial": work.record.number,
                "space": known["space"],
                "objective": known["objective"],
                "score": rung.score,
                "epochs": rung.budget,
                "validation": {
                    name: value for name, value in rung.metrics.items() if name != "epochs"
                },
                "seed": work.record.seed,
            },
            "training": known["training"],
            "code": work.manifest["sessions"][-1]["versions"],
            "intended_use": RESEARCH_USE,
        },
    )


def _save(
    bundle: Bundle, path: Path, winner: Mapping[str, Any], baseline: Mapping[str, Any] | None
) -> None:
    card = {**bundle.card, "created": now(), "test": dict(winner), "baseline": baseline}
    try:
        save(replace(bundle, card=card), path)
    except OSError as error:
        raise BundleError(
            f"the model must be written to {path}, but that failed ({error.strerror}); "
            "free space or mend the folder's permissions"
        ) from None


def _score_winner(work: Exporting, bundle: Bundle) -> dict[str, Any]:
    figures = _score(work, bundle.members[0].network(len(bundle.classes)), bundle.preprocessing)
    figures |= {
        "parameters": bundle.parameters,
        "multiply_adds": bundle.multiply_adds,
        "weights_sha256": bundle.weights_sha256,
    }
    reading = {name: figures[name] for name in ("weights_sha256", "n", "auroc", "accuracy")}
    times = work.run.note_test_reading({"trial": work.record.number, **reading})
    figures["test_readings"] = times
    if times > 1:
        work.console.print(
            f"note: the test split was read {times} times for this model; choose nothing by it"
        )
    return figures


def _score(work: Exporting, network: nn.Module, how: Preprocessing) -> dict[str, Any]:
    """Figures on the test split, in float32, as a server computes them."""
    device = work.device.exact()
    placed = network.to(device.device).to(memory_format=device.memory_format).eval()
    test = _images(work, ("test",), how)
    pixels = torch.from_numpy(test.pixels)
    chances = probabilities(placed, pixels, how, device)
    latency = measure_latency(placed, (how.channels, how.size, how.size), device)
    return {
        **metrics.evaluate(chances, test.labels).to_json(),
        "skipped": len(test.skipped),
        "latency": asdict(latency),
    }


def _baseline(work: Exporting, kind: BaselineKind, weights: Path | None) -> dict[str, Any] | None:
    """Train and score the baseline; a reason where it cannot be had; None if none is wanted."""
    if kind is BaselineKind.NONE:
        return None
    with bars(work.console) as report:
        try:
            trained = train_baseline(
                kind,
                work.source,
                size=work.manifest["identity"]["size"],
                cache=work.cache,
                device=work.device,
                weights=weights,
                report=report,
            )
        except (WeightsError, DataError, TrainingError) as error:
            return {"missing": str(error)}
    return _write_baseline(work, trained)


def _write_baseline(work: Exporting, trained: Baseline) -> dict[str, Any]:
    path = work.run.export / f"{trained.kind}.pth"
    tensorfile.write(path, state_of(trained.network))
    work.console.print(f"wrote {path}")
    return {
        **_score(work, trained.network, trained.preprocessing),
        "parameters": trained.parameters,
        "trainable": trained.trainable,
        "multiply_adds": trained.multiply_adds,
        "preprocessing": trained.preprocessing.to_json(),
        "recipe": trained.recipe,
    }


if __name__ == "__main__":
    import sys

    sys.exit(main())
