"""``python -m nas.export best``: the_nas_model.pth, a baseline beside it, and how both do on test.

The winner is written before the baseline is trained: whatever becomes of the baseline, the winner
is there.
"""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from nas import metrics, tensorfile
from nas.baselines.recipes import Baseline, BaselineKind, train_baseline
from nas.bundle import RESEARCH_USE, Bundle, save
from nas.choosing import choose_run, choose_trial, records_of
from nas.command import Parser, run
from nas.curves_plot import curves_svg
from nas.data.cache import Images, load_images
from nas.data.likeness import summary
from nas.data.opening import CACHE, SYNTHETIC, bars
from nas.data.prepare import prepare
from nas.data.statistics import statistics
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
from nas.export_table import comparison, paired_lines, split_title
from nas.files import write_bytes, write_json
from nas.genome import Genome
from nas.images import Pixels
from nas.judging import batch_size, probabilities
from nas.predictions import compare, images_told, in_batches, write_predictions
from nas.predictor import Predictor
from nas.preprocessing import Preprocessing
from nas.runfolder import DEFAULT_RUNS, RunFolder, now
from nas.sealed import Model, Scored, digest_of, megabytes, note_reading, score_test
from nas.study import TrialRecord
from nas.training import state_of

MODEL_FILE = "the_nas_model.pth"
WINNER = "the_nas_model"
EVALUATION_FORMAT = 2
EVALUATION, PREDICTIONS, CURVES = "evaluation.json", "predictions.csv", "curves.svg"
UNTUNED = "0.5, not tuned"
"""The threshold of a baseline: its recipe chooses none."""


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
    """Write model, baseline and how both do into the run's export folder; returns the model.

    Beside the models lie evaluation.json (docs/evaluation.md), predictions.csv and curves.svg.

    Raises:
        RunError: the trial's weights are missing, or the folder cannot be written.
    """
    folder = work.run.export
    bundle = _bundle(work)
    path = folder / MODEL_FILE
    winner = _score_winner(work, bundle)
    _save(bundle, path, winner.figures, None)
    work.console.print(f"wrote {path}")
    baseline = _baseline(work, kind, weights)
    told = baseline.figures if isinstance(baseline, Scored) else baseline
    _save(bundle, path, winner.figures, told)
    scored = {WINNER: winner} | ({str(kind): baseline} if isinstance(baseline, Scored) else {})
    evaluation = _evaluation(work, bundle, winner, None if told is None else {str(kind): told})
    evaluation["comparisons"] = [
        {"first": WINNER, "second": name, **compare(winner.predictions, other.predictions)}
        for name, other in scored.items()
        if name != WINNER
    ]
    answers = {name: one.predictions for name, one in scored.items()}
    title = f"{work.source.name}: {split_title(evaluation)}"
    write_predictions(folder / PREDICTIONS, answers)
    try:
        write_bytes(folder / CURVES, curves_svg(answers, title).encode())
        write_json(folder / EVALUATION, evaluation)
    except OSError as error:
        raise RunError(
            f"figures must be written to {folder}, but that failed ({error.strerror or error}); "
            "free space or mend the folder's permissions"
        ) from None
    work.console.print(comparison(evaluation))
    for line in paired_lines(evaluation):
        work.console.print(line, markup=False)
    if told is not None and "missing" in told:
        work.console.print(f"BASELINE MISSING: {told['missing']}", style="bold", markup=False)
    if warning := winner.figures["test_readings"]["warning"]:
        text = f"TEST SPLIT READ AGAIN: {warning}"
        work.console.print(text, style="bold red", markup=False)
    for name in (EVALUATION, PREDICTIONS, CURVES):
        work.console.print(f"wrote {folder / name}")
    work.console.print("Next:  python -m uvicorn serve.main:app")
    work.console.print(RESEARCH_USE)
    return path


def _evaluation(
    work: Exporting, bundle: Bundle, winner: Scored, others: Mapping[str, Any] | None
) -> dict[str, Any]:
    answers = winner.predictions
    return {
        "format": EVALUATION_FORMAT,
        "created": now(),
        "run": work.run.path.name,
        "trial": work.record.number,
        "data": bundle.card["data"],
        "images": images_told(answers),
        "classes": list(bundle.classes),
        "positive": bundle.classes[1] if len(bundle.classes) == 2 else None,
        "device": work.device.to_json(),
        "models": {WINNER: winner.figures, **(others or {})},
        "intended_use": RESEARCH_USE,
    }


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
    return Bundle(
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
                "statistics": _statistics(work),
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


def _statistics(work: Exporting) -> dict[str, Any]:
    """What the images look like that the model was searched and trained on."""
    with bars(work.console) as report:
        frame = statistics(work.source, work.cache, report)
    learned = work.source.table["split"][frame.index] != "test"
    return summary(frame[learned])


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


def _score_winner(work: Exporting, bundle: Bundle) -> Scored:
    """Figures on the test split by what a server would answer."""
    shape = bundle.image
    classes = len(bundle.classes)
    predictor = Predictor(bundle, name=WINNER, sha256="", device=str(work.device.device))
    predict = in_batches(predictor.probabilities, batch_size(work.device))
    model = Model(bundle.network(), bundle.preprocessing, predict, bundle.threshold)
    scored = score_test(model, work.source, work.cache, work.device)
    digest = digest_of(bundle.tensors)
    readings = note_reading(work.run, WINNER, digest, scored.figures, work.record.number)
    return scored.with_figures(
        parameters=bundle.genome.parameters(shape, classes),
        multiply_adds=bundle.genome.multiply_adds(shape, classes),
        megabytes=megabytes(bundle.tensors),
        threshold_policy=bundle.threshold_policy,
        weights_sha256=digest,
        test_readings=readings,
    )


def _baseline(
    work: Exporting, kind: BaselineKind, weights: Path | None
) -> Scored | dict[str, Any] | None:
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


def _write_baseline(work: Exporting, trained: Baseline) -> Scored:
    path = work.run.export / f"{trained.kind}.pth"
    tensors = state_of(trained.network)
    tensorfile.write(path, tensors)
    work.console.print(f"wrote {path}")
    network, how, device = trained.network, trained.preprocessing, work.device.exact()

    def predict(images: Pixels) -> metrics.Probabilities:
        return probabilities(network, torch.from_numpy(images), how, device)

    scored = score_test(Model(network, how, predict), work.source, work.cache, work.device)
    digest = digest_of(tensors)
    return scored.with_figures(
        parameters=trained.parameters,
        trainable=trained.trainable,
        multiply_adds=trained.multiply_adds,
        megabytes=megabytes(tensors),
        threshold_policy=UNTUNED,
        weights_sha256=digest,
        test_readings=note_reading(work.run, str(trained.kind), digest, scored.figures),
        preprocessing=how.to_json(),
        recipe=trained.recipe,
    )


if __name__ == "__main__":
    import sys

    sys.exit(main())
