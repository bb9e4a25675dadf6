"""Train reference networks by one recipe on one division of the data, and say how each does.

Every network sees the same images in the same shape, and is judged on the same validation images;
the test split is not read. What is done is kept, so a comparison that was interrupted goes on.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from nas.devices import choose
from nas.errors import GenomeError, SettingsError, TrainingError, WeightsError
from nas.evaluation import evaluate
from nas.evaluator import WEIGHTS, TrainingEvaluator, read_weights
from nas.files import write_json
from nas.genome import Genome
from nas.genome.summary import summary
from nas.jobs import Job
from nas.judging import judged_all
from nas.network import build
from nas.references import Reference

FORMAT = 1


@dataclass(frozen=True)
class Comparing:
    """What all trainings of a comparison share.

    Attributes:
        evaluator: trains and scores; its fold has the images.
        folder: where rows are kept.
        device: that trains.
        identity: what rows depend on; others are refused.
        tell: called with a line for the user.
    """

    evaluator: TrainingEvaluator
    folder: Path
    device: str
    identity: Mapping[str, Any]
    tell: Callable[[str], None]

    def __post_init__(self) -> None:
        file = self.folder / "comparison.json"
        if not file.is_file():
            return
        known = json.loads(file.read_text())["identity"]
        for name, value in self.identity.items():
            if known.get(name) != value:
                raise SettingsError(
                    f"a comparison keeps to one {name.replace('_', ' ')}, but {self.folder} was "
                    f"made with {known.get(name)!r} and is now asked for {value!r}; give another "
                    "--out"
                )


def compare(work: Comparing, networks: Mapping[str, Reference], seeds: int) -> dict[str, Any]:
    """Train every network from every seed that is not done yet; all rows, as plain values.

    A network that does not fit the images, whose weights cannot be had, or that cannot be trained
    has a row that says why.
    """
    _write(work, {})
    for name, reference in networks.items():
        for seed in range(seeds):
            file = _file(work, name, seed)
            if not file.is_file() or "missing" in json.loads(file.read_text()):
                work.tell(f"{name}, seed {seed}")
                row = _trained(work, reference, seed, file)
                write_json(file, row)
                work.tell(f"  {_said(row)}")
    rows = {
        name: [json.loads(_file(work, name, seed).read_text()) for seed in range(seeds)]
        for name in networks
    }
    return _write(work, rows)


def _file(work: Comparing, name: str, seed: int) -> Path:
    return work.folder / "rows" / f"{name}-{seed}.json"


def _write(work: Comparing, rows: Mapping[str, Any]) -> dict[str, Any]:
    told = {"format": FORMAT, "identity": dict(work.identity), "rows": dict(rows)}
    write_json(work.folder / "comparison.json", told)
    return told


def _trained(work: Comparing, reference: Reference, seed: int, file: Path) -> dict[str, Any]:
    evaluator, genome = work.evaluator, reference.genome
    classes = len(evaluator.fold.classes)
    row: dict[str, Any] = {"genome": genome.to_json(), "source": reference.source, "seed": seed}
    if reference.learning_rate is not None:
        rate = reference.learning_rate
        evaluator = replace(evaluator, settings=replace(evaluator.settings, learning_rate=rate))
    row["learning_rate"] = evaluator.settings.learning_rate
    try:
        row["network"] = asdict(summary(genome, evaluator.image, classes))
        checkpoint = file.with_suffix("") / "checkpoint.pt"
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
        job = Job(genome, 0, evaluator.settings.epochs, seed, 0, work.device, checkpoint)
        outcome = evaluator.evaluate(job)
    except (GenomeError, WeightsError, TrainingError) as error:
        return {**row, "missing": str(error)}
    row["seconds"] = sum(epoch["seconds"] for epoch in outcome.metrics["epochs"])
    row["robust"] = outcome.metrics["robust"]
    row["validation"] = _validated(work, genome, checkpoint.with_name(WEIGHTS))
    checkpoint.unlink()  # it has the optimizer's state as well, three times the weights
    return row


def _validated(work: Comparing, genome: Genome, weights: Path) -> dict[str, Any]:
    """All figures on the clean validation images."""
    evaluator, device = work.evaluator, choose(work.device)
    fold = evaluator.fold
    network = build(genome, evaluator.image, len(fold.classes))
    network.load_state_dict(read_weights(weights))
    placed = network.eval().to(device.device).to(memory_format=device.memory_format)
    chances = judged_all(placed, fold.validation, fold.preprocessing, device)
    return evaluate(chances, fold.validation.labels.numpy(), fold.classes).to_json()


def _said(row: Mapping[str, Any]) -> str:
    if "missing" in row:
        return f"not trained: {row['missing']}"
    figures = row["validation"]
    return (
        f"AUROC {figures['auroc']:.4f}, accuracy {figures['accuracy']:.4f}, robust "
        f"{row['robust']:.4f}, {row['seconds']:.0f} s"
    )
