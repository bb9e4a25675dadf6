"""What an exported model is made of: one trial of a search, or the winner of its finals."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nas.bundle import RESEARCH_USE, Bundle, Calibration, Member
from nas.calibration import TemperatureFit, fit_temperature, softmax
from nas.data.cache import Images, load_images
from nas.data.folds import Fold, choose_division, divisions, make_fold
from nas.data.likeness import summary
from nas.data.prepare import Report
from nas.data.statistics import statistics
from nas.data.table import Source
from nas.errors import DataError, RunError, SettingsError
from nas.evaluation import evaluate
from nas.evaluator import WEIGHTS, read_weights
from nas.finals_folder import FinalsFolder
from nas.finals_session import members_of, trainings_of
from nas.genome import Genome
from nas.metrics import Labels
from nas.predictor import Floats, Predictor
from nas.preprocessing import Preprocessing
from nas.recipe import Imbalance
from nas.runfolder import RunFolder
from nas.study import TrialRecord
from nas.thresholds import Threshold, ThresholdPolicy, choose_threshold

DEFAULT_POLICY = "sensitivity-0.95"
"""Healthy patients of another archive look more different from those of training than sick ones do
(runs/LOG.md), so a threshold should be as high as the sensitivity allows."""


@dataclass(frozen=True)
class Material:
    """Everything that a model is made of.

    Attributes:
        run: the run folder.
        manifest: of the run.
        source: the run's data.
        record: of the trial.
        finals: what finals.json holds; None to take the trial as the search left it.
        seeds: networks of the finals with the first so many seeds are taken; None for all.
        images: of the splits train and val.
        statistics: what they look like.
        cache: of decoded images.
    """

    run: RunFolder
    manifest: Mapping[str, Any]
    source: Source
    record: TrialRecord
    finals: dict[str, Any] | None
    images: Images
    statistics: Mapping[str, Any]
    cache: Path
    seeds: int | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        """Names."""
        return tuple(self.manifest["identity"]["classes"])

    @property
    def training_s(self) -> float:
        """Seconds that training the model's own networks took, without what decided for them."""
        if self.finals is None:
            return self.record.seconds
        told = trainings_of(self.finals)
        return sum(float(told[final]["seconds"]) for final in members_of(self.finals, self.seeds))

    @property
    def genome(self) -> Genome:
        """The trial's."""
        return Genome.from_json(self.record.genome)


def collect(
    run: RunFolder,
    manifest: Mapping[str, Any],
    source: Source,
    record: TrialRecord,
    finals: dict[str, Any] | None,
    cache: Path,
    report: Report,
) -> Material:
    """Open what is needed.

    Raises:
        RunError: the data are not those that the run was searched with.
    """
    known = manifest["identity"]
    how = Preprocessing.from_json(known["preprocessing"])
    images = load_images(
        source,
        ("train", "val"),
        size=how.size,
        channels=how.channels,
        resize=how.resize,
        cache=cache,
    )
    if images.checksum != known["data_checksum"]:
        raise RunError(
            f"an export needs the data that {run.path} was searched with, but "
            f"{source.spec} has changed since; restore it, or search again"
        )
    frame = statistics(source, cache, report)
    learned = source.table["split"][frame.index] != "test"
    return Material(run, manifest, source, record, finals, images, summary(frame[learned]), cache)


def make_bundle(material: Material, policy: ThresholdPolicy | None) -> Bundle:
    """The model, with what is known of it before the test split is read.

    A trial of the search has a threshold of 0.5 and no calibration: the images that it was
    validated on are those that it was chosen by. The winner of finals has both, from images that
    the networks which judge them did not learn from.

    Args:
        material: of what.
        policy: how the threshold is chosen; None is DEFAULT_POLICY, or 0.5 where there are too few
            images for it.

    Raises:
        RunError: weights are missing or damaged.
        DataError: too few images for the policy.
        SettingsError: a policy without finals.
    """
    if material.finals is None:
        if policy is not None:
            raise SettingsError(
                f"--threshold is chosen by finals, but trial {material.record.number} of "
                f"{material.run.path} is exported without; search with --finals and export best, "
                "or leave it out"
            )
        return _trial(material)
    return _finals(material, material.finals, policy)


def _trial(material: Material) -> Bundle:
    tensors = _weights(material.run.trial(material.record.number))
    how = Preprocessing.from_json(material.manifest["identity"]["preprocessing"])
    return Bundle.single(
        genome=material.genome,
        classes=material.classes,
        preprocessing=how,
        tensors=tensors,
        card=_card(material),
    )


def _finals(material: Material, finals: dict[str, Any], policy: ThresholdPolicy | None) -> Bundle:
    identity = material.manifest["identity"]
    found = divisions(material.images, identity["seed"])
    members: list[Member] = []
    parts: dict[str, list[Floats]] = {}
    held: dict[str, tuple[Labels, np.ndarray[Any, Any]]] = {}
    folds: dict[str, Fold] = {}
    chosen, folder = members_of(finals, material.seeds), FinalsFolder(material.run.finals)
    for final in chosen:
        name = final.division
        if name not in folds:
            division = choose_division(found, name)
            folds[name] = make_fold(material.images, material.classes, division)
            labels = folds[name].validation.labels.numpy()
            held[name] = labels, material.images.groups[division.held]
        fold = folds[name]
        member = Member(material.genome, fold.preprocessing, _weights(folder.training(final)))
        members.append(member)
        predictor = Predictor(Bundle((member,), material.classes), name=name, sha256="")
        parts.setdefault(name, []).append(predictor.logits(fold.validation.images.numpy())[0])
    fit = _fitted(identity["training"]["imbalance"], parts, held)
    temperature = 1.0 if fit is None else fit.temperature
    # Where a training failed a division has fewer seeds; each counts its own mean.
    said = np.concatenate(
        [
            np.mean([softmax(logits, temperature) for logits in logits_of], axis=0)
            for logits_of in parts.values()
        ]
    )
    labels = np.concatenate([labels for labels, _ in held.values()])
    groups = np.concatenate([groups for _, groups in held.values()])
    where = f"out of fold on {len(labels)} images of {', '.join(held)}"
    threshold, why = _threshold(policy, said, labels, identity["training"]["imbalance"])
    value = 0.5 if threshold is None else threshold.value
    outside = evaluate(said, labels, material.classes, threshold=value, groups=groups)
    card = _card(material)
    card["finals"] = {
        "standings": finals["standings"],
        "divisions": finals["divisions"],
        "epochs": finals["epochs"],
        "seeds": finals["seeds"],
        "members": [final.name for final in chosen],
        "calibration": None if fit is None else fit.to_json(),
        "threshold": None if threshold is None else threshold.to_json(),
        "out_of_fold": outside.to_json(),
    }
    return Bundle(
        members=tuple(members),
        classes=material.classes,
        threshold=value,
        threshold_policy=why if threshold is None else f"{threshold.policy}, {where}",
        calibration=Calibration()
        if fit is None
        else Calibration(
            temperature=fit.temperature,
            method=f"one temperature (Guo et al. 2017), {where}, classes weighed as in training",
            n=len(labels),
            nll_before=fit.nll_before,
            nll_after=fit.nll_after,
        ),
        card=card,
    )


def _fitted(
    imbalance: str,
    parts: Mapping[str, list[Floats]],
    held: Mapping[str, tuple[Labels, np.ndarray[Any, Any]]],
) -> TemperatureFit | None:
    """A temperature for all networks: one is told by the images that each did not learn from.

    Networks whose training evens out classes assume them equally frequent. None where there are too
    few images to tell.
    """
    logits = np.concatenate([one for logits_of in parts.values() for one in logits_of])
    labels = np.concatenate([held[name][0] for name, all_of in parts.items() for _ in all_of])
    classes = logits.shape[1]
    equal = None if Imbalance(imbalance) is Imbalance.NONE else (1 / classes,) * classes
    try:
        return fit_temperature(logits, labels, equal)
    except DataError:
        return None


def _threshold(
    policy: ThresholdPolicy | None, said: Floats, labels: Labels, imbalance: str
) -> tuple[Threshold | None, str]:
    """The threshold; None, and why, where 0.5 stays."""
    if said.shape[1] != 2:
        return None, "not used: the most probable class is predicted"
    wish = ThresholdPolicy.parse(DEFAULT_POLICY) if policy is None else policy
    assumed = None if Imbalance(imbalance) is Imbalance.NONE else 0.5
    try:
        return choose_threshold(wish, said[:, 1], labels, prevalence=assumed), ""
    except DataError as error:
        if policy is not None:
            raise
        return None, f"0.5, not tuned: {error}"


def _weights(folder: Path) -> dict[str, Any]:
    path = folder / WEIGHTS
    try:
        return read_weights(path)
    except (FileNotFoundError, ValueError) as error:
        raise RunError(
            f"a trial's weights must be in {path}, but they cannot be read "
            f"({type(error).__name__}); export another trial"
        ) from None


def _card(material: Material) -> dict[str, Any]:
    known, record = material.manifest["identity"], material.record
    rung = record.rungs[-1]
    return {
        "data": {
            "name": material.source.name,
            "synthetic": known["synthetic"],
            "checksum": known["data_checksum"],
            "fold": known["fold"],
            "leaks": known["leaks"],
            "licence": material.source.licence,
            "statistics": dict(material.statistics),
        },
        "search": {
            "run": material.run.path.name,
            "trial": record.number,
            "space": known["space"],
            "objective": known["objective"],
            "score": rung.score,
            "epochs": rung.budget,
            "validation": {name: value for name, value in rung.metrics.items() if name != "epochs"},
            "seed": record.seed,
        },
        "training": known["training"],
        "code": material.manifest["sessions"][-1]["versions"],
        "intended_use": RESEARCH_USE,
    }
