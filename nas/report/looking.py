"""The winner's network beside images that it has not learned from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nas.data.folds import Fold
from nas.data.reopening import FoldSource
from nas.errors import DataError, GenomeError, RunError
from nas.evaluator import WEIGHTS, read_weights
from nas.finals import Final
from nas.finals_folder import FinalsFolder
from nas.genome import Genome
from nas.images import Resize
from nas.network import build
from nas.report.architecture import shape_of
from nas.report.values import RunData

BATCH = 128


@dataclass(frozen=True)
class Learnt:
    """One training of the winner.

    Attributes:
        network: in evaluation mode, on the CPU.
        what: which training it is, in words.
        division: of the data, whose validation images it has not seen.
    """

    network: nn.Sequential
    what: str
    division: str


@dataclass(frozen=True)
class Seen:
    """What the network says of the validation images of its division.

    Attributes:
        fold: the division.
        probabilities: (N, K) float32.
    """

    fold: Fold
    probabilities: torch.Tensor

    @property
    def predicted(self) -> torch.Tensor:
        """(N,) int64 of the class with the highest probability."""
        return self.probabilities.argmax(1)

    @property
    def right(self) -> torch.Tensor:
        """(N,) bool."""
        return self.predicted == self.fold.validation.labels


def learnt(data: RunData) -> Learnt:
    """The winner's network of one training: of its finals if there were any, else of the search.

    Raises:
        RunError: no weights are kept, or they are not of this network.
    """
    winner, shape = data.winner, shape_of(data)
    if winner is None or shape is None:
        raise RunError(
            "filters need a trial with a score, but there is none; go on with the search"
        )
    path, division, what = _place(data, winner.number)
    try:
        network = build(Genome.from_json(winner.genome), *shape)
        network.load_state_dict(read_weights(path))
    except FileNotFoundError:
        raise RunError(
            f"filters and heat maps need the winner's weights, but {path} is not there; they are "
            "kept until a run is cleaned"
        ) from None
    except (OSError, ValueError, RuntimeError, GenomeError) as error:
        why = str(error).partition("\n")[0]
        raise RunError(
            f"{path} must hold the winner's weights, but does not ({why}); go on with the search"
        ) from None
    return Learnt(network.eval(), what, division)


def _place(data: RunData, winner: int) -> tuple[Path, str, str]:
    """Weights, division, and the training in words; of finals one by patients, if there is one."""
    results: Sequence[Mapping[str, Any]] = [
        one for one in data.final_results if one.get("trial") == winner
    ]
    ordered = sorted(results, key=lambda one: (not str(one["division"]).startswith("patients"),
                                               one["seed"], str(one["division"])))  # fmt: skip
    for one in ordered:
        final = Final(winner, str(one["division"]), int(one["seed"]))
        path = FinalsFolder(data.run.finals).training(final) / WEIGHTS
        if path.is_file():
            told = f"trial {winner}, trained in the finals for {final.division}, seed {final.seed}"
            return path, final.division, told
    path = data.run.trial(winner) / WEIGHTS
    return path, str(data.identity.get("fold")), f"trial {winner}, as the search trained it"


def seen(data: RunData, own: Learnt) -> Seen:
    """Open the images and let the network say what it sees.

    Raises:
        DataError: the images are not there, or are not those of the run.
    """
    if data.data is None or data.cache is None:
        raise DataError("heat maps need the images, but the report was made without them")
    identity = data.identity
    how = identity.get("preprocessing") or {}
    try:
        source = FoldSource(
            spec=data.data,
            cache=data.cache.resolve(),
            size=int(identity["size"]),
            channels=int(identity["channels"]),
            resize=Resize(how.get("resize", Resize.SQUASH)),
            seed=int(identity["seed"]),
            division=own.division,
            checksum=str(identity["data_checksum"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"run.json must say how images were read, but does not ({error})") from None
    fold = source()
    return Seen(fold, said_of(own.network, fold))


@torch.inference_mode()
def said_of(network: nn.Sequential, fold: Fold) -> torch.Tensor:
    """(N, K) float32: probabilities of the validation images."""
    images = fold.validation.images
    parts = [
        network(fold.preprocessing.normalize(images[start : start + BATCH])).softmax(1)
        for start in range(0, len(images), BATCH)
    ]
    return torch.cat(parts)
