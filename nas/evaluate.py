"""``python -m nas.evaluate BUNDLE --data DIR``: how an exported model does on other images.

Only the bundle and the images are needed, no run. Images of another hospital may look unlike those
that the model was trained on; where they do, it is said.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from nas.bundle import RESEARCH_USE
from nas.command import Parser, run
from nas.data.likeness import Likeness, likeness
from nas.data.opening import CACHE, SYNTHETIC, bars
from nas.data.sources import open_labelled
from nas.data.table import Source
from nas.devices import choose
from nas.errors import SettingsError
from nas.export_table import figures_table
from nas.files import write_json
from nas.front_plot import number_text
from nas.predictions import images_told, write_predictions
from nas.predictor import Predictor
from nas.runfolder import DEFAULT_RUNS, now
from nas.scoring import Scoring, mapped, of_split, score

FORMAT = 2
"""That of evaluation.json, see docs/evaluation.md."""

UNLIKE = (
    "These images are not like those that the model was trained on: what it was found to be there "
    "need not hold here."
)

SHOWN = 3
"""Files that are told of those that could not be read."""


def main() -> int:
    """Run the command; returns the exit status."""
    return run(_main)


def _main() -> int:
    options = _parser().parse_args()
    console = Console(highlight=False, soft_wrap=True)
    device = choose(options.device).exact()
    predictor = Predictor.load(options.bundle, device=str(device.device))
    source = of_split(open_labelled(options.data, options.runs / CACHE), options.split)
    source = mapped(source, predictor.classes, _names(options.map))
    if source.synthetic or predictor.synthetic:
        console.print(SYNTHETIC, style="bold red")
    for note in source.notes:
        console.print(f"note: {note}", markup=False)
    with bars(console) as report:
        scoring = score(predictor, source, lambda *counts: report("reading images", *counts))
    known = predictor.bundle.card.get("data", {}).get("statistics")
    inputs = None if known is None else likeness(scoring.statistics, known)
    evaluation = _evaluation(predictor, source, scoring, inputs)
    _show(console, evaluation, scoring, inputs)
    if options.predictions is not None:
        write_predictions(options.predictions, {predictor.name: scoring.predictions})
        console.print(f"wrote {options.predictions}", markup=False)
    if options.json is not None:
        _write(options.json, evaluation)
        console.print(f"wrote {options.json}", markup=False)
    console.print(RESEARCH_USE)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m nas.evaluate",
        description="Score labelled images with an exported model, by its own preprocessing, "
        "calibration and threshold, and compare what they look like with its training images.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("bundle", type=Path, help="the exported model, such as the_nas_model.pth")
    add("--data", required=True, metavar="DATA",
        help="a folder with a folder for each class, or with test/ or train/ that have them; or "
        "whatever else python -m nas.search --data takes")  # fmt: skip
    add("--map", action="append", default=[], metavar="NAME=CLASS",
        help="a class of the data is this class of the model; may be repeated")  # fmt: skip
    add("--split", choices=("test", "train", "all"),
        help="which images; train is all that is not test; if not given test, or all where there "
        "is no test split")  # fmt: skip
    add("--json", type=Path, metavar="FILE", help="write all figures there, see docs/evaluation.md")
    add("--predictions", type=Path, metavar="FILE", help="write each image's probabilities as CSV")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    add("--runs", type=Path, default=DEFAULT_RUNS, metavar="DIR",
        help="where data sets that are no folder are kept")  # fmt: skip
    return parser


def _names(pairs: list[str]) -> dict[str, str]:
    names: dict[str, str] = {}
    for pair in pairs:
        name, equals, target = pair.rpartition("=")
        if not (name and equals and target) or name in names:
            raise SettingsError(
                f"--map must be NAME=CLASS, once for each NAME, but is {pair!r}; "
                "for example --map normal=NORMAL"
            )
        names[name] = target
    return names


def _evaluation(
    predictor: Predictor,
    source: Source,
    scoring: Scoring,
    inputs: Mapping[str, Likeness] | None,
) -> dict[str, Any]:
    classes = predictor.classes
    figures = {
        **scoring.predictions.evaluation().to_json(),
        "skipped": len(scoring.skipped),
        "threshold_policy": predictor.bundle.threshold_policy,
        "file_sha256": predictor.sha256,
    }
    return {
        "format": FORMAT,
        "created": now(),
        "data": {"name": source.name, "synthetic": source.synthetic},
        "images": images_told(scoring.predictions),
        "classes": list(classes),
        "positive": classes[1] if len(classes) == 2 else None,
        "models": {predictor.name: figures},
        "inputs": None if inputs is None else {k: one.to_json() for k, one in inputs.items()},
        "intended_use": RESEARCH_USE,
    }


def _show(
    console: Console,
    evaluation: Mapping[str, Any],
    scoring: Scoring,
    inputs: Mapping[str, Likeness] | None,
) -> None:
    n = evaluation["images"]["n"]
    console.print(figures_table(evaluation, f"{evaluation['data']['name']}, n = {n}"))
    missing = [name for name, count in evaluation["images"]["classes"].items() if not count]
    if missing:
        console.print(
            f"note: there is no image of {', '.join(missing)}, so what needs every class is not "
            "given",
            markup=False,
        )
    if scoring.skipped:
        told = "; ".join(f"{path}: {why}" for path, why in scoring.skipped[:SHOWN])
        console.print(
            f"warning: {len(scoring.skipped)} files could not be read and are in no figure: {told}",
            markup=False,
        )
    if inputs is None:
        console.print(
            "note: the model's card has no statistics of its training images to compare these with"
        )
        return
    console.print(_inputs_table(inputs))
    for name, one in inputs.items():
        if one.far:
            text = f"warning: {one.warning(name)}"
            console.print(text, style="bold", markup=False)
    if any(one.far for one in inputs.values()):
        console.print(UNLIKE, style="bold")


def _inputs_table(inputs: Mapping[str, Likeness]) -> Table:
    table = Table(title="these images against the training images")
    table.add_column("middle of")
    for name in ("training", "here", "apart", "far images"):
        table.add_column(name, justify="right")
    for name, one in inputs.items():
        apart = ("differs" if one.far else "same") if one.shift is None else f"{one.shift:+.1f}"
        table.add_row(
            name, number_text(one.training), number_text(one.here), apart, f"{one.far_images:.1%}"
        )
    table.caption = "apart: in robust standard deviations of training; far: more than 3 of them"
    return table


def _write(path: Path, evaluation: Mapping[str, Any]) -> None:
    try:
        write_json(path, evaluation)
    except OSError as error:
        raise SettingsError(
            f"--json must be a file that can be written, but {path} cannot "
            f"({error.strerror or error}); give another path"
        ) from None


if __name__ == "__main__":
    import sys

    sys.exit(main())
