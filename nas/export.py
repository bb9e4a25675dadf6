"""``python -m nas.export best``: the_nas_model.pth, a baseline beside it, and how both do on test.

The winner is written before the baseline is trained: whatever becomes of the baseline, the winner
is there.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from nas import metrics
from nas.baselines.bundled import UNTUNED, as_bundle
from nas.baselines.recipes import Baseline, BaselineKind, train_baseline
from nas.bundle import RESEARCH_USE, Bundle, save
from nas.choosing import choose_run, choose_trial, records_of
from nas.command import Parser, run
from nas.curves_plot import curves_svg
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
from nas.export_files import forget_files, some, write_files
from nas.export_table import comparison, split_title
from nas.exported import DEFAULT_POLICY, Material, collect, make_bundle
from nas.files import write_bytes, write_json
from nas.finals_folder import FinalsFolder
from nas.images import Pixels
from nas.judging import probabilities
from nas.paired_text import paired_lines
from nas.predictions import compare, images_told, write_predictions
from nas.predictor import Predictor
from nas.runfolder import DEFAULT_RUNS, now
from nas.sealed import Model, Scored, megabytes, note_reading, score_test
from nas.thresholds import NAMES, ThresholdPolicy

BEST = "best"
MODEL_FILE = "the_nas_model.pth"
WINNER = "the_nas_model"
EVALUATION_FORMAT = 2
EVALUATION, PREDICTIONS, CURVES = "evaluation.json", "predictions.csv", "curves.svg"


@dataclass(frozen=True)
class Exporting:
    """What the steps of an export share.

    Attributes:
        material: what the model is made of.
        policy: how its threshold is chosen; None for the usual way.
        device: that evaluates and trains the baseline.
        console: where the user is told.
    """

    material: Material
    policy: ThresholdPolicy | None
    device: Device
    console: Console


def main() -> int:
    """Run the command; returns the exit status."""
    return run(_main)


def _main() -> int:
    options = _parser().parse_args()
    console = Console(highlight=False, soft_wrap=True)
    folder = choose_run(options.runs, options.run)
    manifest = folder.read_manifest()
    records = records_of(folder, options.storage)
    # What finals decided is the best, not the luckiest score of the search.
    finals = FinalsFolder(folder.finals).read() if options.trial == BEST else None
    wish = options.trial if finals is None else str(finals["winner"])
    record = choose_trial(records, wish, folder)
    policy = None if options.threshold is None else ThresholdPolicy.parse(options.threshold)
    source = _source(manifest, options.data, options.runs / CACHE)
    if source.synthetic:
        console.print(SYNTHETIC, style="bold red")
    kinds = tuple(
        dict.fromkeys(BaselineKind(name) for name in options.baseline or [BaselineKind.RESNET18])
    )
    device = choose(options.device)
    if BaselineKind.NONE in kinds and len(kinds) > 1:
        raise SettingsError("--baseline none goes with no other one, but has some; leave one out")
    if options.weights is not None and BaselineKind.RESNET18 not in kinds:
        named = " ".join(kinds)
        raise SettingsError(f"--weights is for --baseline resnet18, not {named}; leave it out")
    keep_freed_memory()
    with bars(console) as report:
        material = collect(folder, manifest, source, record, finals, options.runs / CACHE, report)
    material = replace(material, seeds=options.seeds)
    work = Exporting(material, policy, device, console)
    export(work, kinds, options.weights)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m nas.export",
        description="Export a trial of a search as the_nas_model.pth, with a baseline beside it, "
        "and score both on the test split.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("trial", help="a trial's number, or best: the winner of finals, else of the search")
    add("--run", metavar="NAME", help="the run; the newest if not given")
    add("--runs", type=Path, default=DEFAULT_RUNS, metavar="DIR", help="folder of all runs")
    add("--storage", metavar="URL", help="of the search, if it was given one")
    add("--data", metavar="DATA", help="where the run's images are now, if they moved")
    add("--baseline", action="append", choices=[str(kind) for kind in BaselineKind],
        help="what to compare with; may be repeated; resnet18 if not given")  # fmt: skip
    add("--seeds", type=int, metavar="N",
        help="only the finals' networks with the first N seeds: a smaller model")  # fmt: skip
    add("--threshold", metavar="POLICY",
        help=f"how it is chosen on images that the finals' networks did not learn from: {NAMES}; "
        f"{DEFAULT_POLICY} if not given")  # fmt: skip
    add("--weights", type=Path, metavar="PATH",
        help="ImageNet weights of ResNet-18, where they cannot be downloaded")  # fmt: skip
    add("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    return parser


def export(work: Exporting, kinds: Sequence[BaselineKind], weights: Path | None) -> Path:
    """Write model, baselines and how all do into the run's export folder; returns the model.

    Beside the models lie evaluation.json (docs/evaluation.md), predictions.csv, curves.svg, and
    what nas.export_files writes.

    Raises:
        RunError: the trial's weights are missing.
        BundleError: the folder cannot be written, or the ONNX file says something else.
    """
    folder = work.material.run.export
    bundle = make_bundle(work.material, work.policy)
    path = folder / MODEL_FILE
    winner = _score_winner(work, bundle)
    forget_files(path)
    _save(bundle, path, winner.figures, {})
    work.console.print(f"wrote {path}")
    scored, told = {WINNER: winner}, dict[str, Mapping[str, Any]]()
    for kind in kinds:
        if kind is BaselineKind.NONE:
            continue
        baseline = _baseline(work, kind, weights, bundle.card["data"])
        if isinstance(baseline, Scored):
            scored[str(kind)] = baseline
        told[str(kind)] = baseline.figures if isinstance(baseline, Scored) else baseline
        _save(bundle, path, winner.figures, told)
    evaluation = _evaluation(work, bundle, winner, told)
    evaluation["comparisons"] = [
        {"first": WINNER, "second": name, **compare(winner.predictions, other.predictions)}
        for name, other in scored.items()
        if name != WINNER
    ]
    answers = {name: one.predictions for name, one in scored.items()}
    title = f"{work.material.source.name}: {split_title(evaluation)}"
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
    for name, figures in told.items():
        if "missing" in figures:
            text = f"BASELINE MISSING: {name}: {figures['missing']}"
            work.console.print(text, style="bold", markup=False)
    if warning := winner.figures["test_readings"]["warning"]:
        text = f"TEST SPLIT READ AGAIN: {warning}"
        work.console.print(text, style="bold red", markup=False)
    for name in (EVALUATION, PREDICTIONS, CURVES):
        work.console.print(f"wrote {folder / name}")
    write_files(path, evaluation, some(work.material.images), work.console)
    work.console.print("Next:  python -m uvicorn serve.main:app")
    work.console.print(RESEARCH_USE)
    return path


def _evaluation(
    work: Exporting, bundle: Bundle, winner: Scored, others: Mapping[str, Any]
) -> dict[str, Any]:
    answers = winner.predictions
    return {
        "format": EVALUATION_FORMAT,
        "created": now(),
        "run": work.material.run.path.name,
        "trial": work.material.record.number,
        "data": bundle.card["data"],
        "images": images_told(answers),
        "classes": list(bundle.classes),
        "positive": bundle.classes[1] if len(bundle.classes) == 2 else None,
        "device": work.device.to_json(),
        "models": {WINNER: winner.figures, **others},
        "intended_use": RESEARCH_USE,
    }


def _source(manifest: Mapping[str, Any], moved: str | None, cache: Path) -> Source:
    return prepare(moved or manifest["sessions"][-1]["data"], cache).source


def _save(
    bundle: Bundle, path: Path, winner: Mapping[str, Any], baselines: Mapping[str, Any]
) -> None:
    card = {**bundle.card, "created": now(), "test": dict(winner), "baselines": dict(baselines)}
    try:
        save(replace(bundle, card=card), path)
    except OSError as error:
        raise BundleError(
            f"the model must be written to {path}, but that failed ({error.strerror}); "
            "free space or mend the folder's permissions"
        ) from None


def _score_winner(work: Exporting, bundle: Bundle) -> Scored:
    """Figures on the test split by what a server would answer."""
    predictor = Predictor(bundle, name=WINNER, sha256="", device=str(work.device.device))
    model = Model(
        predictor.networks, bundle.preprocessing, predictor.probabilities, bundle.threshold
    )
    scored = score_test(model, work.material.source, work.material.cache, work.device)
    digest = bundle.weights_sha256
    readings = note_reading(
        work.material.run, WINNER, digest, scored.figures, work.material.record.number
    )
    return scored.with_figures(
        parameters=bundle.parameters,
        multiply_adds=bundle.multiply_adds,
        megabytes=megabytes(bundle.tensors()),
        threshold_policy=bundle.threshold_policy,
        training_s=work.material.training_s,
        weights_sha256=digest,
        test_readings=readings,
    )


def _baseline(
    work: Exporting, kind: BaselineKind, weights: Path | None, data: Mapping[str, Any]
) -> Scored | dict[str, Any]:
    """Train and score a baseline; a reason where it cannot be had."""
    with bars(work.console) as report:
        try:
            trained = train_baseline(
                kind,
                work.material.source,
                size=work.material.manifest["identity"]["size"],
                cache=work.material.cache,
                device=work.device,
                weights=weights if kind is BaselineKind.RESNET18 else None,
                report=report,
            )
        except (WeightsError, DataError, TrainingError) as error:
            return {"missing": str(error)}
    return _write_baseline(work, trained, data)


def _write_baseline(work: Exporting, trained: Baseline, data: Mapping[str, Any]) -> Scored:
    """Score a baseline, and write it as a bundle."""
    network, how, device = trained.network, trained.preprocessing, work.device.exact()

    def predict(images: Pixels) -> metrics.Probabilities:
        return probabilities(network, torch.from_numpy(images), how, device)

    material = work.material
    bundle = as_bundle(trained, material.classes, {"data": data, "recipe": trained.recipe})
    model = Model(network, how, predict)
    scored = score_test(model, material.source, material.cache, work.device)
    digest = bundle.weights_sha256
    scored = scored.with_figures(
        parameters=trained.parameters,
        trainable=trained.trainable,
        multiply_adds=trained.multiply_adds,
        megabytes=megabytes(bundle.tensors()),
        threshold_policy=UNTUNED,
        training_s=sum(trained.recipe["seconds"].values()),
        weights_sha256=digest,
        test_readings=note_reading(material.run, str(trained.kind), digest, scored.figures),
        preprocessing=how.to_json(),
        recipe=trained.recipe,
    )
    path = material.run.export / f"{trained.kind}.pth"
    _save(bundle, path, scored.figures, {})
    work.console.print(f"wrote {path}")
    return scored


if __name__ == "__main__":
    import sys

    sys.exit(main())
