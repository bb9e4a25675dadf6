"""One session of ``python -m nas.baselines compare``: from options to data, table and plot."""

import argparse
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console

from nas.baselines.compare import Comparing, compare
from nas.baselines.compare_plot import compare_svg
from nas.baselines.compare_table import LEGEND, lines, markdown, table
from nas.bundle import RESEARCH_USE
from nas.data.cache import load_images
from nas.data.folds import choose_division, divisions, make_fold
from nas.data.opening import CACHE, bars, opened, shown
from nas.devices import choose, keep_freed_memory
from nas.errors import RunError, SettingsError
from nas.evaluator import TrainingEvaluator
from nas.files import write_bytes
from nas.genome import Genome, ImageShape
from nas.preprocessing import check_size
from nas.recipe import TrainingSettings
from nas.references import REFERENCES, Reference
from nas.runfolder import RunFolder, plain_name
from nas.study import best_first, read_records

FOUND = "found"
"""How the genome of a run is called."""

SPLIT_SEED = 0
"""Of the folds by patient; that of a search by default, so the same images are validated on."""


def run_comparison(options: argparse.Namespace, console: Console) -> int:
    """Run one session; returns the exit status."""
    if options.seeds < 1:
        raise SettingsError(f"--seeds must be at least 1, but is {options.seeds}; 3 is good")
    networks = _networks(options)
    device = choose(options.device)
    keep_freed_memory()
    cache = options.runs / CACHE
    source = opened(options.data, cache, console).source
    with bars(console) as report:
        images = load_images(
            source,
            ("train", "val"),
            size=check_size(options.size),
            channels=options.channels,
            cache=cache,
            report=lambda *counts: report("decoding images", *counts),
        )
    division = choose_division(divisions(images, SPLIT_SEED), options.fold)
    fold = make_fold(images, source.classes, division)
    evaluator = TrainingEvaluator(fold, TrainingSettings(epochs=options.epochs))
    folder = options.out or options.runs / f"compare-{plain_name(source.name)}-{options.size}"
    identity = {
        "data_checksum": images.checksum,
        "fold": division.name,
        "size": options.size,
        "channels": options.channels,
        "epochs": options.epochs,
        "synthetic": source.synthetic,
    }
    console.print(
        f"{shown(source.spec)}, {len(fold.train)} images to train, {len(fold.validation)} to "
        f"validate ({division.name}); {options.epochs} epochs on {device.name}"
    )

    def tell(line: str) -> None:
        console.print(line, markup=False)

    work = Comparing(evaluator, folder, device.name, identity, tell)
    found = lines(compare(work, networks, options.seeds))
    seeds = f"{options.seeds} seeds (mean ± sd)" if options.seeds > 1 else "one seed"
    title = (
        f"{source.name} at {options.size}×{options.size}, {options.epochs} epochs, {seeds}, "
        f"validated on {len(fold.validation)} images of {division.name}"
    )
    console.print(table(found, title))
    console.print(LEGEND)
    for line in found:
        if line.missing is not None:
            console.print(f"{line.name} was not trained: {line.missing}", markup=False)
    for name, text in (("md", markdown(found, title)), ("svg", compare_svg(found, title))):
        path = folder / f"comparison.{name}"
        write_bytes(path, text.encode())
        console.print(f"wrote {path}")
    console.print(RESEARCH_USE)
    return 0


def _networks(options: argparse.Namespace) -> Mapping[str, Reference]:
    names = list(REFERENCES) if options.only is None else options.only
    for name in names:
        if name not in REFERENCES:
            raise SettingsError(
                f"--only takes some of {', '.join(REFERENCES)}, but was given {name!r}; choose of "
                "these"
            )
    networks = {name: REFERENCES[name] for name in names}
    if options.run is not None:
        networks[FOUND] = _found(options.runs, options.run)
    return networks


def _found(runs: Path, name: str) -> Reference:
    """The best genome of a run; here it is trained anew, like the others."""
    folder = RunFolder.named(runs, name)
    manifest = folder.read_manifest()
    ranked = best_first(read_records(folder.study))
    if not ranked:
        raise RunError(
            f"--run needs a run with a scored genome, but {folder.path} has none; let the search "
            "go on"
        )
    genome = Genome.from_json(ranked[0].genome)
    known = manifest["identity"]
    shape = ImageShape(known["channels"], known["size"], known["size"])
    return Reference(genome, shape, len(known["classes"]), f"trial {ranked[0].number} of {name}")
