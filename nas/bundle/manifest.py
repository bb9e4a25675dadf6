"""A bundle's manifest: JSON beside the tensors, written in format 2, read in 1 and 2."""

import hashlib
from collections.abc import Mapping
from typing import Any

import torch

from nas import tensorfile
from nas.bundle.limits import MAX_MEMBERS, check_cost, check_tensors
from nas.bundle.values import Bundle, Calibration, Member
from nas.errors import BundleError
from nas.genome import Genome
from nas.preprocessing import Preprocessing

FORMAT = "nas-bundle"
VERSION = 2

COMBINATION = "mean of softmax(logits / temperature)"
"""The one way to put networks together that there is so far; another one gets another text."""

ENTRIES = {
    *("format", "version", "classes", "members", "combination", "calibration"),
    *("threshold", "card", "tensors"),
}


def manifest_of(bundle: Bundle, tensors: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """The manifest of a bundle, as plain values.

    Args:
        tensors: all of them as they will be in the file, on the CPU.
    """
    return {
        "format": FORMAT,
        "version": VERSION,
        "classes": list(bundle.classes),
        "members": [
            {"genome": one.genome.to_json(), "preprocessing": one.preprocessing.to_json()}
            for one in bundle.members
        ],
        "combination": COMBINATION,
        "calibration": bundle.calibration.to_json(),
        "threshold": {"value": bundle.threshold, "policy": bundle.threshold_policy},
        "card": dict(bundle.card),
        "tensors": {name: describe(tensor) for name, tensor in tensors.items()},
    }


def bundle_of(manifest: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> Bundle:
    """The bundle of a manifest and tensors, neither of which is trusted.

    Raises:
        NasError: a check that fails; says which.
        KeyError, TypeError, AttributeError, RuntimeError: another kind of value than there should
            be.
    """
    given = manifest["format"], manifest["version"]
    if given == (FORMAT, 1) and type(given[1]) is int:
        parts = _version_1(manifest, tensors)
    elif given == (FORMAT, VERSION) and type(given[1]) is int:
        parts = _version_2(manifest, tensors)
    else:
        raise BundleError(f"format must be {FORMAT} 1 or {VERSION}, but is {given[0]} {given[1]}")
    members, names, calibration = parts
    bundle = Bundle(
        members,
        classes=tuple(manifest["classes"]),
        threshold=manifest["threshold"]["value"],
        threshold_policy=manifest["threshold"]["policy"],
        calibration=calibration,
        card=manifest["card"],
    )
    check(bundle, names)
    for name, tensor in tensors.items():
        if manifest["tensors"].get(name) != describe(tensor):
            raise BundleError(f"tensor {name!r} does not match its checksum")
    return bundle


def check(bundle: Bundle, prefixes: tuple[str, ...]) -> None:
    """Refuse networks that cost too much, or tensors that are not theirs.

    Args:
        prefixes: before the names of each member's tensors, for messages.

    Raises:
        BundleError: says which.
    """
    classes = len(bundle.classes)
    check_cost([(member.genome, member.image) for member in bundle.members], classes)
    for member, prefix in zip(bundle.members, prefixes, strict=True):
        check_tensors(member.genome, member.image, classes, member.tensors, prefix)


def prefixes_of(count: int) -> tuple[str, ...]:
    """What the names of each member's tensors begin with in a file."""
    return tuple(f"member{number}." for number in range(count))


def describe(tensor: torch.Tensor) -> dict[str, Any]:
    """Shape, type and SHA-256 of a tensor's values, little-endian and in order."""
    return {
        "shape": list(tensor.shape),
        "dtype": str(tensor.dtype).removeprefix("torch."),
        "sha256": hashlib.sha256(tensorfile.raw(tensor)).hexdigest(),
    }


Parts = tuple[tuple[Member, ...], tuple[str, ...], Calibration]


def _version_1(manifest: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> Parts:
    """One network under plain names, and never a calibration."""
    member = Member(
        Genome.from_json(manifest["genome"]),
        Preprocessing.from_json(manifest["preprocessing"]),
        tensors,
    )
    return (member,), ("",), Calibration()


def _version_2(manifest: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> Parts:
    if odd := sorted(set(manifest) ^ ENTRIES):
        raise KeyError(odd[0])
    entries = manifest["members"]
    if not isinstance(entries, list) or not 1 <= len(entries) <= MAX_MEMBERS:
        said = len(entries) if isinstance(entries, list) else "no list of them"
        raise BundleError(f"a bundle has 1 to {MAX_MEMBERS} networks, but this one {said}")
    if manifest["combination"] != COMBINATION:
        raise BundleError(
            f"networks are combined by {COMBINATION!r}, but not by {manifest['combination']!r}"
        )
    prefixes = prefixes_of(len(entries))
    sorted_out: list[dict[str, torch.Tensor]] = [{} for _ in prefixes]
    for name, tensor in tensors.items():
        number, _, inner = name.partition(".")
        if f"{number}." not in prefixes:
            raise BundleError(f"the tensors are not those of the genome: {[name]}")
        sorted_out[prefixes.index(f"{number}.")][inner] = tensor
    members = tuple(
        Member(
            Genome.from_json(entry["genome"]),
            Preprocessing.from_json(entry["preprocessing"]),
            mine,
        )
        for entry, mine in zip(entries, sorted_out, strict=True)
    )
    return members, prefixes, Calibration(**manifest["calibration"])
